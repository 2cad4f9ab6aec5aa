"""Weak supervision: what a label model, label spreading and named clusters are worth, on real images.

    python benchmarks/weak.py nuclei         python benchmarks/weak.py fashion

nuclei: three labelling functions vote on the 8 pool tiles: Otsu's threshold with a watershed, a labeler that learned
briefly from one or two seed tiles, and a bad one, Otsu moved by 10 px both ways. The label model sees no truth; the
truth that was kept aside scores it, majority vote and each function alone. An object counts from 0.5 on.

fashion: 1, 4, 10 and 25 labels per class, the pool of 4,000 without labels, accuracy on the 2,000 test images by the
same frozen features of EfficientNet-Lite0: logistic regression on the labels alone, label spreading, named clusters,
and logistic regression on labels and spread labels. Settings are the functions' defaults, or chosen by cross-validation
on the labels (regularisation); none on the test.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from synthgen import plugins
from synthgen.formats import Reading
from synthgen.formats.detect import open_dataset
from synthgen.geometry import decode, labels_from_masks
from synthgen.metrics.accuracy import columns, score_image, value_of
from synthgen.metrics.bounds import clopper_pearson, paired_difference, ratio_interval
from synthgen.metrics.features import one_path
from synthgen.seeds import rng_of
from synthgen.types import Context, Dataset, Labels, Mixture, Sample
from synthgen.votes.cluster import cluster, name, purity
from synthgen.votes.model import fitted
from synthgen.votes.propagate import induced, spread

ASSETS = Path(__file__).parents[1] / "assets"
SEED = 5


def dataset(folder: str, classes: Sequence[str], form: str, limit: int | None = None) -> list[Sample]:
    found = open_dataset(ASSETS / folder, form, classes, Reading(), limit, limit is not None)
    return [s for s in found if isinstance(s, Sample)]


def trained(samples: Dataset, steps: int) -> Callable[[Sample], Labels]:
    """What a labeler that learned from so few samples would accept."""
    mix = Mixture(samples, np.ones(len(samples), bool), np.full(len(samples), 1 / len(samples)))
    with tempfile.TemporaryDirectory() as folder:
        context = Context(SEED, "instances", ("nucleus",), Path(folder))
        labeler = plugins.build("trainers", "labeler", {"steps": steps}).fit(mix, [], [], context)
    return lambda sample: accepted(next(iter(labeler.label([sample.image]))))


def accepted(labels: Labels, bar: float = 0.5) -> Labels:
    stay = np.flatnonzero(labels.scores >= bar)
    return replace(labels, classes=labels.classes[stay], boxes=labels.boxes[stay], scores=labels.scores[stay],
                   masks=tuple(labels.masks[k] for k in stay), visible=labels.visible[stay],
                   truncated=labels.truncated[stay], states=tuple(labels.states[k] for k in stay))


def moved(labels: Labels, by: int = 10) -> Labels:
    masks = np.roll(decode(labels.masks, labels.size), (by, by), (1, 2))
    return labels_from_masks(masks, labels.classes.tolist())


def nuclei(steps: int) -> None:
    pool = dataset("nuclei/pool-truth", ("nucleus",), "coco")
    seed = dataset("nuclei/seed", ("nucleus",), "coco")
    otsu = plugins.build("functions", "otsu", {})
    print(f"nuclei: {len(pool)} pool tiles, {sum(len(s.labels) for s in pool)} nuclei; labelers of {steps} steps; "
          "values with 95 % intervals over tiles\n")
    for tiles in ([0], [0, 1]):
        labeler = trained([seed[k] for k in tiles], steps)
        found = [[otsu(s.image), labeler(s), moved(otsu(s.image))] for s in pool]
        names = ("otsu", "labeler", "moved")
        models = {c: fitted(((row, s.labels.size) for row, s in zip(found, pool, strict=True)), "instances", 1, names,
                            c) for c in ("dawid-skene", "majority")}
        said = {n: [row[f] for row in found] for f, n in enumerate(names)}
        said |= {c: [accepted(m.labels(row, s.labels.size)) for row, s in zip(found, pool, strict=True)]
                 for c, m in models.items()}
        records = {n: [score_image(a, s.labels) for a, s in zip(rows, pool, strict=True)] for n, rows in said.items()}
        best = max(names, key=lambda n: value_of(records[n], "ap50"))
        print(f"seed tile{'s' if len(tiles) > 1 else ''} {' and '.join(str(k) for k in tiles)}")
        print(f"{'':12}{'AP50':<24}{'Dice':<24}precision: learned, true    recall: learned, true")
        for n, rows in records.items():
            fact = models["dawid-skene"].facts.get(n)
            learned = "" if fact is None else (f"{fact['precision']:.2f}, {value_of(rows, 'precision'):.2f}"
                                               f"{'':17}{fact['recall']:.2f}, {value_of(rows, 'recall'):.2f}")
            print(f"{n:12}{shown(rows, 'ap50'):<24}{shown(rows, 'dice'):<24}{learned}".rstrip())
        for other in ("majority", best):
            for metric in ("ap50", "dice"):
                pair = [columns(records[n], metric) for n in ("dawid-skene", other)]
                gap, (low, high) = paired_difference(*pair[0], *pair[1], rng_of(SEED))
                word = "no difference shown" if low <= 0 <= high else "better" if gap > 0 else "worse"
                print(f"label model − {other} ({metric}): {gap:+.3f} [{low:+.3f}, {high:+.3f}], {word}")
        print()


def shown(records: list, metric: str) -> str:
    value, (low, high) = ratio_interval(*columns(records, metric), rng_of(SEED))
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def fashion() -> None:
    classes = class_names()
    truth, test = (dataset(f"fashion/{part}", classes, "shards") for part in ("pool-truth", "test"))
    every = dataset("fashion/seed", classes, "shards", 25)
    extractor = plugins.build("features", "imagenet", {})
    raw = {n: extractor.features([one_path(s.image, 64) for s in part]) for n, part in
           (("seed", every), ("pool", truth), ("test", test))}
    middle, sd = raw["pool"].mean(0), raw["pool"].std(0) + 1e-6
    X = {n: (x - middle) / sd / np.sqrt(x.shape[1]) for n, x in raw.items()}
    y = {n: np.array([s.labels.image_class for s in part])
         for n, part in (("seed", every), ("pool", truth), ("test", test))}
    print(f"fashion: accuracy on {len(test)} test images, 95 % exact intervals over images, one draw of the labels; "
          f"pool of {len(truth)}\n")
    print(f"{'per class':<11}{'logistic regression':<24}{'spreading':<24}{'clusters':<24}{'regression on both':<24}")
    notes = []
    for count in (1, 4, 10, 25):
        chosen = np.concatenate([np.flatnonzero(y["seed"] == c)[:count] for c in range(len(classes))])
        few, known = X["seed"][chosen], y["seed"][chosen]
        both = np.concatenate([few, X["pool"]])
        labels = np.concatenate([known, np.full(len(truth), -1)])
        soft = spread(both, labels, len(classes))
        groups = cluster(both, 5 * len(classes), rng_of(SEED))
        named = name(groups.home, labels, len(classes))
        nearest = ((X["test"][:, None] - groups.centres[None]) ** 2).sum(2).argsort(1)
        # A cluster that nobody named: the next nearest that has a name.
        by_cluster = [next(named.classes[c] for c in row if named.classes[c] >= 0) for row in nearest]
        C = strength(few, known)
        rows = {"logistic": regression(few, known, C, X["test"]),
                "spread": induced(X["test"], both, soft).argmax(1), "cluster": np.array(by_cluster),
                "both": regression(both, soft.argmax(1), C, X["test"])}
        cells = [interval(int((got == y["test"]).sum()), len(test)) for got in rows.values()]
        print(f"{count:<11}" + "".join(f"{cell:<24}" for cell in cells).rstrip())
        audit = rng_of(SEED + count).permutation(len(truth))[:100]
        mine = named.labels[len(few):]
        share, (low, high), n = purity(mine, audit, y["pool"][audit])
        everywhere = (mine == y["pool"])[mine >= 0].mean()
        notes.append(f"{count} per class: {int((named.classes >= 0).sum())} of {len(named.classes)} clusters have a "
                     f"name; purity on an audit of {n} named images {share:.2f} [{low:.2f}, {high:.2f}]; in the "
                     f"whole pool {everywhere:.2f}")
    groups = cluster(X["pool"], 5 * len(classes), rng_of(SEED))
    asked = np.full(len(truth), -1)
    asked[groups.typical] = y["pool"][groups.typical]
    named = name(groups.home, asked, len(classes))
    nearest = ((X["test"][:, None] - groups.centres[None]) ** 2).sum(2).argmin(1)
    print("\n" + "\n".join(notes))
    print(f"{len(groups.typical)} clusters named by asking once each (the pool's truth answers): "
          + interval(int((named.classes[nearest] == y["test"]).sum()), len(test)))


def strength(few: np.ndarray, known: np.ndarray) -> float:
    """How strong a logistic regression should be by cross-validation on labelled rows; 1 where they are too few."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    folds = int(min(np.bincount(known).min(), 5))
    if folds < 2:
        return 1.0
    search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [1.0, 10.0, 100.0, 1000.0]},
                          cv=StratifiedKFold(folds, shuffle=True, random_state=SEED))
    return float(search.fit(few, known).best_params_["C"])


def regression(rows: np.ndarray, classes: np.ndarray, C: float, new: np.ndarray) -> np.ndarray:
    """Classes of new rows."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C, max_iter=500).fit(rows, classes).predict(new)


def interval(right: int, n: int) -> str:
    low, high = clopper_pearson(right, n)
    return f"{right / n:.3f} [{low:.3f}, {high:.3f}]"


def class_names() -> tuple[str, ...]:
    from synthgen.recipe.load import load

    return load("fashion").recipe.classes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("nuclei", "fashion"))
    parser.add_argument("--steps", type=int, default=60, help="of each labeler's training (nuclei)")
    arguments = parser.parse_args()
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    start = time.monotonic()
    nuclei(arguments.steps) if arguments.what == "nuclei" else fashion()
    print(f"{time.monotonic() - start:.0f} s, {time.process_time():.0f} s of one core", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Is the promise kept? Audits are drawn again and again from a run's real predictions and truths.

    python benchmarks/certificate.py RUN [--draws 500]
    python benchmarks/certificate.py [RUN] --looks [--draws 500]
    python benchmarks/certificate.py RUN --pixels [--draws 500]

RUN is a run whose recipe names pool_truth and asks for a certificate. The pool is the run's own, each label with its
doubt and its true loss; from a pool of fewer than 1,000 images 1,000 are drawn with replacement. For each size of the
audit and each error asked for it prints, of a first look, in how many draws the accepted labels were worse than
promised (at most 1 − confidence is allowed), in how many anything was certified, and the mean share that was accepted.

With --looks somebody looks ten times, at 40, 80, … 400 images of the same draw, until a certificate is given, and it
prints how often that one is broken: with the whole risk at every look, and with the risk spent over the looks. It asks
the run's labels, and stated ones: of a pool of 4,000, 11 % are wrong in an order that knows nothing, and 10 % are
asked for; the same at every look, and of a model that was trained anew before each.

With --pixels it is the second promise: of the pixels that eroded masks keep of an image at most so many are wrong, on
average over images. Printed are the share of audits that found a margin, and of these the mean margin and the share
of pixels that it keeps; `at best` is the smallest margin that is true.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen.images import hash_image
from synthgen.metrics.accuracy import score_image
from synthgen.metrics.bounds import clopper_pearson
from synthgen.metrics.certificate import certify
from synthgen.metrics.core import core_pixels, smallest_margin
from synthgen.metrics.looks import confidence_at
from synthgen.report.source import load_run
from synthgen.stages import Job, ingest, label
from synthgen.stages import doubt as asked
from synthgen.stages.certify import loss_of
from synthgen.types import Labels

CONFIDENCE, SMALL = 0.9, 1000
SIZES, ERRORS, PIXELS = (20, 50, 100, 200, 400), (0.05, 0.1, 0.2), (0.02, 0.05, 0.1)
GROWING = range(40, 401, 40)
STATED, WRONG, ASKED = 4000, 440, 0.1  # images, of which wrong, and what is asked for

Rows = tuple[NDArray[np.float64], NDArray[np.float64]]  # doubt and loss of each image


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--looks", action="store_true", help="look again at a growing audit until it passes")
    parser.add_argument("--pixels", action="store_true", help="the promise about pixels of eroded masks")
    args = parser.parse_args()
    if args.run is None and (args.pixels or not args.looks):
        parser.error("RUN is needed, but for --looks")
    rng = np.random.default_rng(0)
    if args.pixels:
        print_pixels(args.run, args.draws, rng)
        return
    rows = None if args.run is None else of_run(args.run, rng)
    if args.looks:
        print_looks(rows, args.draws)
    elif rows is not None:
        print_sizes(*rows, args.draws, rng)


def pairs_of(job: Job) -> list[tuple[int, Labels, Labels]]:
    """Of the run's pool, where the truth is known: the index, the labels as they go out, and the truth."""
    truth, pool = ingest.part(job, "pool_truth"), label.labelled(job)
    if not len(truth) or not len(pool):
        raise SystemExit(f"{job.base}: the run must have labelled a pool whose truth is kept aside (data.pool_truth)")
    known = {hash_image(sample.image): sample.labels for sample in truth}
    found = [(k, sample.labels, known.get(hash_image(sample.image))) for k, sample in enumerate(pool)]
    return [(k, label.settled(mine), right) for k, mine, right in found if mine is not None and right is not None]


def of_run(folder: Path, rng: np.random.Generator) -> Rows:
    """Doubt and true loss of each label of a run's pool."""
    job = load_run(folder)
    doubts = asked.doubts(job)
    doubt, losses = np.array([(doubts[k], loss_of(score_image(mine, right), job.recipe.task))
                              for k, mine, right in pairs_of(job)]).T
    picks = _enough(len(doubt), rng)
    return doubt[picks], losses[picks]


def _enough(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of all images, or of SMALL drawn with replacement where there are fewer."""
    if count >= SMALL:
        return np.arange(count)
    print(f"{count} images; a pool of {SMALL} was drawn from them with replacement")
    return rng.integers(count, size=SMALL)


def print_sizes(doubt: NDArray[np.float64], losses: NDArray[np.float64], draws: int, rng: np.random.Generator) -> None:
    """One look at audits of several sizes."""
    order = np.argsort(doubt, kind="stable")
    print(f"pool of {len(doubt)}, mean error {losses.mean():.3f}; {draws} audits each; "
          f"allowed to be broken: {1 - CONFIDENCE:.2f}")
    print(f"{'error asked':<12}{'audit':<8}{'broken [95 %]':<22}{'certified':<11}{'accepted':<10}at best")
    for error in ERRORS:
        mean = np.cumsum(losses[order]) / np.arange(1, len(order) + 1)
        best = np.flatnonzero(mean <= error)
        for n in SIZES:
            broken, shares = 0, []
            for _ in range(draws):
                audit = rng.permutation(len(doubt))[:n]
                found = certify(doubt, audit, losses[audit], error, confidence_at(1, CONFIDENCE)).best
                shares.append(found.coverage if found else 0.0)
                broken += found is not None and mean[found.accepted - 1] > error
            print(f"{error:<12}{n:<8}{_broken(broken, draws)}"
                  f"{np.mean(np.array(shares) > 0):<11.2f}{np.mean(shares):<10.2f}"
                  f"{(best.max() + 1) / len(order) if len(best) else 0:.2f}", flush=True)


def print_looks(rows: Rows | None, draws: int) -> None:
    """Ten looks at a growing audit, with the risk whole at each and with the risk spent."""
    print(f"{draws} draws each, of {len(GROWING)} looks at {GROWING[0]} to {GROWING[-1]} images, until one passes; "
          f"allowed to be broken: {1 - CONFIDENCE:.2f}")
    print(f"{'labels':<34}{'error asked':<13}{'risk':<8}{'broken [95 %]':<22}{'at look 1':<11}{'ever':<7}images seen")
    cases: list[tuple[str, float, Callable[[np.random.Generator], Rows], bool]] = [
        ("11 % wrong, the same", ASKED, _stated, False), ("11 % wrong, trained anew", ASKED, _stated, True)]
    if rows is not None:
        cases = [(f"the run's, {rows[1].mean():.3f} wrong", error, lambda _: rows, False) for error in ERRORS] + cases
    for name, error, labels, anew in cases:
        for risk in ("whole", "spent"):
            rng = np.random.default_rng(1)
            ends = [look_again(labels, error, risk == "spent", anew, rng) for _ in range(draws)]
            passed = [look for look, _ in ends if look]
            seen = np.mean([GROWING[look - 1] if look else GROWING[-1] for look, _ in ends])
            print(f"{name:<34}{error:<13}{risk:<8}{_broken(sum(b for _, b in ends), draws)}"
                  f"{passed.count(1) / draws:<11.2f}{len(passed) / draws:<7.2f}{seen:.0f}", flush=True)


def print_pixels(folder: Path, draws: int, rng: np.random.Generator) -> None:
    """The margin by which masks must be eroded, by audits of several sizes."""
    counts = np.array([core_pixels(mine, right) for _, mine, right in pairs_of(load_run(folder))])  # (N, 2, M)
    counts = counts[_enough(len(counts), rng)]
    pixels, share = counts[:, 0], counts[:, 1] / np.maximum(counts[:, 0], 1)
    mean = np.array([share[pixels[:, m] > 0, m].mean() if pixels[:, m].any() else 0 for m in range(pixels.shape[1])])
    kept = pixels.sum(0) / pixels[:, 0].sum()
    print(f"pool of {len(pixels)}; wrong at margins of 0, 1, … px: {', '.join(f'{x:.3f}' for x in mean[:6])}, …; "
          f"{draws} audits each; allowed to be broken: {1 - CONFIDENCE:.2f}")
    print(f"{'error asked':<12}{'audit':<8}{'broken [95 %]':<22}{'found':<8}{'margin':<9}{'kept':<7}at best")
    for error in PIXELS:
        for n in SIZES[1:4]:
            found = []
            for _ in range(draws):
                audit = rng.permutation(len(pixels))[:n]
                trials = smallest_margin(pixels, audit, share[audit], error, confidence_at(1, CONFIDENCE))
                found += [t.margin for t in trials if t.passed][-1:]
            print(f"{error:<12}{n:<8}{_broken(int((mean[found] > error).sum()), draws)}{len(found) / draws:<8.2f}"
                  + (f"{np.mean(found):<9.1f}{kept[found].mean():<7.2f}" if found else f"{'-':<9}{'-':<7}")
                  + f"{int(np.argmax(mean <= error))}", flush=True)


def look_again(labels: Callable[[np.random.Generator], Rows], error: float, spent: bool, anew: bool,
               rng: np.random.Generator) -> tuple[int, bool]:
    """The look at which a certificate was given, 0 where none was, and whether it is broken. spent: the risk, over the
    looks. anew: other labels at each look."""
    doubt, losses = labels(rng)
    drawn, counted = rng.permutation(len(doubt)), 1
    for look, n in enumerate(GROWING, 1):
        if anew and look > 1:
            doubt, losses = labels(rng)
        sure = confidence_at(counted, CONFIDENCE) if spent else CONFIDENCE
        found = certify(doubt, drawn[:n], losses[drawn[:n]], error, sure)
        if found.best is not None:
            surest = np.argsort(doubt, kind="stable")[: found.best.accepted]
            return look, bool(losses[surest].mean() > error)
        counted += bool(found.steps)  # else nothing could have passed: no look, as in the stage
    return 0, False


def _stated(rng: np.random.Generator) -> Rows:
    return rng.random(STATED), (rng.permutation(STATED) < WRONG).astype(np.float64)


def _broken(broken: int, draws: int) -> str:
    low, high = clopper_pearson(broken, draws)
    return f"{broken / draws:.3f} [{low:.3f}, {high:.3f}]  "


if __name__ == "__main__":
    main()

"""The card of an export: what a person must know of a dataset that they find without its run.

Everything in it follows from the recipe and the data. No time and no path stands in it, so that the same recipe gives
the same bytes in any folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from synthgen import __version__
from synthgen.formats import Loss
from synthgen.recipe.schema import Recipe
from synthgen.stages import Job, certify, evaluate, filter, ingest, label, screen  # noqa: A004
from synthgen.stages.markdown import escaped, table
from synthgen.stages.words import SHORT, counted, headline, number, once, reasons, sentence, span
from synthgen.store import read_json
from synthgen.types import Json, Kind, KnownBy, Sample
from synthgen.work import key_of

FILE = "DATASET_CARD.md"
FEW_SEEDS = 20  # below, real and synthetic images are compared coarsely only
Source: TypeAlias = tuple[Literal["seed", "generator", "pool"], str]  # and its name
TRAINED = {"mixed": "seed + synthetic", "real": "seed alone"}


@dataclass(slots=True)
class Part:
    """What one source gave to an export.

    name: seed, pool, or the generator's in the recipe. kinds, known_by: what its samples are and how their labels are
    known, each way once. images: offered to the format. classes: objects by class index; images by class index where
    whole images have classes.
    """

    source: Source
    kinds: set[Kind] = field(default_factory=set)
    known_by: set[KnownBy] = field(default_factory=set)
    images: int = 0
    classes: Counter[int] = field(default_factory=Counter)

    @property
    def title(self) -> str:
        """The source in words. A seed may itself be an export that holds synthetic images."""
        words: dict[Kind, str] = {"real": "real", "pseudo": "real, labelled by a model", "synthetic": "synthetic"}
        return f"{self.source[1]} ({'; '.join(words[kind] for kind in sorted(self.kinds))})"


class Tally:
    """Counts samples by source while they are written, in the order of the sources."""

    def __init__(self) -> None:
        self.parts: dict[Source, Part] = {}

    def add(self, source: Source, sample: Sample) -> None:
        """Count one sample more."""
        part = self.parts.setdefault(source, Part(source))
        part.images += 1
        part.kinds.add(sample.origin.kind)
        part.known_by.add(sample.origin.known_by)
        if sample.labels is not None and sample.labels.image_class is not None:
            part.classes[sample.labels.image_class] += 1
        elif sample.labels is not None:
            part.classes.update(sample.labels.classes.tolist())

    def of(self, where: str) -> int:
        """Images of the seed, of the generators together, or of the pool."""
        return sum(part.images for part in self.parts.values() if part.source[0] == where)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the card and its twin for machines are written from.

    headline, about: the verdict, and one paragraph. known: for each part, how its labels are known. left_out, limits,
    biases: a sentence each. promise: the certificate's words, or "". data: part → SHA-256 of its files. keys: unit →
    key, those of `recipe.lock.json`.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    format: str
    seed: int
    headline: str
    about: str
    licence: str
    reasons: tuple[str, ...]
    parts: tuple[Part, ...]
    known: tuple[str, ...]
    verdict: Mapping[str, Json]
    left_out: tuple[str, ...]
    losses: tuple[Loss, ...]
    limits: tuple[str, ...]
    biases: tuple[str, ...]
    promise: str
    data: Mapping[str, str]
    keys: Mapping[str, str]


def facts_of(job: Job, format: str, tally: Tally, losses: Sequence[Loss]) -> Facts:  # noqa: A002
    """The facts of an export whose samples were counted while they were written."""
    recipe, verdict = job.recipe, evaluate.verdict(job)
    pool = recipe.data.pool is not None
    sources = "; ".join(f"{counted(part.images, 'image')} from {part.title}" for part in tally.parts.values())
    total = sum(part.images for part in tally.parts.values())
    about = (
        f"{counted(total, 'image')} for the task {recipe.task} with {counted(len(recipe.classes), 'class', 'es')}, "
        f"written as {format} by synthgen {__version__}: {sources}. The locked test images are not among them."
    )
    return Facts(
        recipe.name, recipe.task, recipe.classes, format, recipe.seed, headline(verdict), about,
        f"The licence of the seed{' and pool' if pool else ''} applies; it is not stated in the recipe.",
        tuple(reason["text"] for reason in reasons(verdict)), tuple(tally.parts.values()),
        tuple(_known(part, recipe) for part in tally.parts.values()), verdict,
        tuple(_left_out(job, tally)), tuple(losses), tuple(_limits(job, tally, verdict)),
        tuple(_biases(job, tally, verdict)), _promise(job),
        {unit.name.split("/")[1]: unit.needs["data"] for unit in ingest.units(job) if "data" in unit.needs},
        # The recipe's own key is not here: it holds the list of formats and where the data lie, and neither
        # changes what was made. The key of the evaluation holds those of all work before it.
        {unit.name: key_of(unit.needs) for unit in evaluate.units(job)},
    )


def _promise(job: Job) -> str:
    """What was certified of the pool's labels, in words; "" where nothing was asked for."""
    found = certify.certificate(job)
    return "" if found is None else str(found["words"])


def _known(part: Part, recipe: Recipe) -> str:
    """How the labels of a part are known, in words."""
    kept = f"kept from a score of {recipe.label.accept:g} on; nobody looked"
    if recipe.label.certify is not None:
        kept = "kept as far as the certificate reaches"
    words: dict[KnownBy, str] = {
        "person": "a person labelled them",
        "simulated": "labels that were kept aside, in place of a person's answer",
        "construction": "by construction: the labels were drawn first, the image was made for them",
        "condition": "the image was generated to fit them",
        "joint": "generated together with the image",
        "model": f"predicted by the trained {recipe.train.use}, {kept}",
    }
    return "; ".join(words[way] for way in sorted(part.known_by))


def _left_out(job: Job, tally: Tally) -> list[str]:
    out = []
    for unit in ingest.units(job):
        path = job.work.path(unit.name) / "summary.json"
        if path.exists():
            found, name = read_json(path), unit.name.split("/")[1].replace("_", " ")
            for n, what in ((found["quarantined"], "could not be used"),
                            (found["repaired"], "had labels mended or left out")):
                if n:
                    out.append(f"{counted(n, 'item')} of the {name} {what}.")
    if filter.units(job):
        found = read_json(job.work.path("2-filter") / "summary.json")
        out.append(f"The filter kept {found['kept']:,} of {counted(found['made'], 'synthetic image')}.")
        out += [f"{n:,} × {reason}." for reason, n in found["reasons"].items()]
    for check, n in Counter(row["check"] for row in screen.quarantined(job)).items():
        out.append(f"{counted(n, 'synthetic image')} taken out after generation, by the check {check}.")
    waiting = len(label.labelled(job)) - tally.of("pool")
    if waiting:
        out.append(f"{counted(waiting, 'pool image')} with labels that are not sure enough: a person must look first.")
    return out


def _limits(job: Job, tally: Tally, verdict: Mapping[str, Json]) -> list[str]:
    """What the numbers cannot show."""
    out = []
    n_test = len(ingest.part(job, "test"))
    if not n_test:
        out.append("There was no labelled test split: how good the labels are was not measured on unseen data.")
    else:
        out.append(f"The scores rest on {counted(n_test, 'test image')}, and each labeler was trained once, from one "
                   "random seed.")
    seeds, labelled = tally.of("seed"), tally.of("pool")
    if tally.of("generator") and seeds < FEW_SEEDS:
        out.append(f"Real and synthetic images were compared with {counted(seeds, 'seed image')}: only coarse "
                   "differences can be seen.")
    if labelled and not certify.units(job):
        share = "how many is known only as far as the test split is like the pool" if n_test else "how many is unknown"
        out.append(f"Labels of {counted(labelled, 'pool image')} are a model's: some may be wrong, and {share}.")
    out += [sentence(f"not decided: {m['check']}, {m['name']}: {once(m)}") for m in verdict["measurements"]
            if m["verdict"] in ("inconclusive", "skipped", "error")]
    return out


def _biases(job: Job, tally: Tally, verdict: Mapping[str, Json]) -> list[str]:
    """What the gate found unlike the real data, and what the making implies."""
    out = []
    if tally.of("generator"):
        out.append(f"The synthetic images were made from {counted(len(ingest.part(job, 'seed')), 'seed image')}: what "
                   "these do not show, they do not show either.")
    if tally.of("pool"):
        out.append("Objects that the labeler finds hard are rarer in the pool's images than in truth, since doubtful "
                   "labels are left out.")
    return out + [sentence(f"{m['check']}, {m['name']}: {once(m)}") for m in verdict["measurements"]
                  if m["verdict"] in ("warn", "fail", "waived")]


def card(facts: Facts) -> str:
    """The card as Markdown (GitHub's, for its tables); nothing in a name is taken for markup."""
    lines = [f"# {escaped(facts.name)}: {escaped(facts.headline)}", "", escaped(facts.about), ""]
    lines += [f"{k}. {escaped(text)}" for k, text in enumerate(facts.reasons, 1)]
    noun = "images" if facts.task == "classify" else "objects"
    lines += ["", "## Where it comes from"]
    lines += table(["source", "images", noun if noun == "objects" else "with a class", "how the labels are known"], [
        [escaped(part.title), f"{part.images:,}", f"{part.classes.total():,}", escaped(known)]
        for part, known in zip(facts.parts, facts.known, strict=True)])
    lines += ["", f"## Classes, by {noun}"]
    lines += table(["class", *(escaped(part.title) for part in facts.parts)], [
        [escaped(name), *(f"{part.classes[k]:,}" for part in facts.parts)] for k, name in enumerate(facts.classes)])
    nothing = ["", "Nothing: there is no synthetic data to judge."]
    lines += ["", "## What was measured", *(_measured(facts.verdict["measurements"]) or nothing)]
    unscored = ["", "Not measured: the recipe names no test split."]
    lines += ["", "## Scores on images that nothing was trained on", *(_scores(facts) or unscored)]
    if facts.promise:
        lines += ["", "## Certificate of the pool's labels", "", escaped(facts.promise)]
    lines += ["", "## Left out, and why", "", *([f"- {escaped(text)}" for text in facts.left_out] or ["Nothing."])]
    if facts.losses:
        lines += ["", f"What {escaped(facts.format)} cannot hold (`losses.json`):"]
        lines += table(["what", "count", "for example"],
                       [[escaped(x.what), f"{x.count:,}", escaped(x.example)] for x in facts.losses])
    lines += ["", "## Limits and known biases", "", *(f"- {escaped(t)}" for t in (*facts.limits, *facts.biases))]
    lines += ["", "## Licence", "", escaped(facts.licence)]
    lines += ["", "## Made by"]
    lines += table(["what", "value"], [
        ["synthgen", escaped(__version__)],
        ["recipe", escaped(facts.name)],
        ["seed of all randomness", str(facts.seed)],
        *([f"SHA-256 of the {escaped(part.replace('_', ' '))}", f"`{digest}`"] for part, digest in facts.data.items()),
        *([f"key of {escaped(unit)}", f"`{key}`"] for unit, key in facts.keys.items())])
    lines += ["", "The key is the one in the run's `recipe.lock.json`. It covers the data, every option, the seed and "
              "the plug-ins' versions up to the verdict."]
    return "\n".join(lines) + "\n"


def _measured(measurements: Sequence[Mapping[str, Json]]) -> list[str]:
    return table(["check", "verdict", "value [95 % interval]", "images", "found"], [
        [escaped(f"{m['check']}: {m['name']}"), m["verdict"], escaped(_value(m)), _n(m), escaped(once(m))]
        for m in measurements])


def _value(m: Mapping[str, Json]) -> str:
    if m["value"] is None:
        return "–"
    interval = "" if m["interval"] is None else f" [{span(m['interval'])}]"
    return f"{number(m['value'])}{interval} {m['unit']}".rstrip()


def _n(m: Mapping[str, Json]) -> str:
    return " / ".join(f"{n:,}" for n in m["n"] if n) or "–"


def _scores(facts: Facts) -> list[str]:
    synthetic = any(part.source[0] == "generator" for part in facts.parts)
    rows = [(f"test; trained on {TRAINED[arm] if synthetic else TRAINED['real']}", row)
            for arm, row in facts.verdict["test"].items() if row["n"]]
    if facts.verdict["pool"]:
        rows.append(("pool, against truth kept aside", facts.verdict["pool"]))
    shown = [m for m in SHORT if any(m in row for _, row in rows)]
    return table(["", "images", *(SHORT[m] for m in shown)], [
        [name, str(row["n"]), *(f"{number(row[m]['value'])} [{span(row[m]['interval'])}]" if m in row else "–"
                                for m in shown)] for name, row in rows])

"""The arms: what each labeler of the comparison learns from. All take the same steps from the same weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from synthgen.augment import STRONG
from synthgen.recipe.schema import ArmName, Recipe
from synthgen.stages import Job, filter, generate, ingest, screen, training  # noqa: A004
from synthgen.stages.weights import augment_of, classes_of, scaled, weights_of
from synthgen.store import Joined, Stored, Subset
from synthgen.types import Mixture

HALF = 0.5  # share of real samples in a batch where the recipe mixes nothing (mix.real: 1)


@dataclass(frozen=True, slots=True)
class Arm:
    """What one labeler is trained on.

    synthetic: none of it, what filter and gate left, or all that was made. teacher: the arm whose labeler labels the
    pool for this one. pool: the trainer's own learning from the pool is on; in all other arms it is off, whatever the
    recipe says. strong: strong augmentation in place of the recipe's. share: of each batch that is real; None =
    the recipe's `mix.real`, or half where that is 1.
    """

    name: str
    words: str
    real: bool = True
    synthetic: Literal["none", "kept", "all"] = "none"
    teacher: ArmName | None = None
    pool: bool = False
    strong: bool = False
    share: float | None = None


ARMS: Mapping[ArmName, Arm] = {
    arm.name: arm  # type: ignore[misc]  # their names are ArmName by construction; a test holds them together
    for arm in (
        Arm("real", "the labelled images alone"),
        Arm("real+augment", "the labelled images with strong augmentation", strong=True),
        Arm("synthetic", "synthetic images alone", real=False, synthetic="kept"),
        Arm("mixed", "labelled and synthetic images", synthetic="kept"),
        Arm("mixed-unfiltered", "the same without the filter", synthetic="all"),
        Arm("pseudo", "labelled images and the pool, labelled by the arm real", teacher="real"),
        Arm("mixed+pseudo", "labelled, synthetic and pool images, labelled by the arm mixed", synthetic="kept",
            teacher="mixed"),
        Arm("self-training", "labelled images, and the pool without labels", pool=True),
        Arm("mixed+self-training", "labelled and synthetic images, and the pool without labels", synthetic="kept",
            pool=True),
    )
}


def wanted(recipe: Recipe) -> tuple[list[Arm], dict[str, str]]:
    """The arms that a recipe's benchmark trains, teachers and `real` before what needs them; and the arms left out,
    with the reason."""
    section, left_out = recipe.benchmark, dict[str, str]()
    makes = any(g.enabled and g.count for g in recipe.generate)
    names: list[ArmName] = ["real"]                       # nothing can be compared without it
    for name in section.arms:
        arm = ARMS[name]
        if arm.synthetic != "none" and not makes:
            left_out[name] = "the recipe makes no synthetic images"
        elif (arm.teacher is not None or arm.pool) and recipe.data.pool is None:
            left_out[name] = "the recipe names no pool"
        elif arm.pool and not training.switches(recipe.train.use):
            left_out[name] = f"the trainer {recipe.train.use} does not learn from unlabelled images"
        else:
            names += [n for n in (arm.teacher, name) if n is not None and n not in names]
    out = [ARMS[name] for name in sorted(names, key=list(ARMS).index)]
    shares = {f"{share:g}": share for share in section.ratios if share != share_of(ARMS["mixed"], recipe)}
    if "mixed" in names:
        out += [replace(ARMS["mixed"], name=f"mixed@{name}", words=f"mixed, {name} of each batch real", share=share)
                for name, share in shares.items()]
    elif shares:
        left_out["ratios"] = left_out.get("mixed", "the arm mixed was not asked for")
    return out, left_out


def share_of(arm: Arm, recipe: Recipe) -> float:
    """The share of each batch that is real."""
    if not arm.real:
        return 0.0
    if arm.synthetic == "none" and arm.teacher is None:
        return 1.0
    return arm.share if arm.share is not None else recipe.mix.real if recipe.mix.real < 1 else HALF


def mixture(job: Job, arm: Arm, pseudo: Stored) -> Mixture:
    """What the arm shows its labeler; pseudo: the pool with the teacher's accepted labels.

    Synthetic and pool images, where there are both, get half each of what is not real.
    """
    parts: list[tuple[Stored | Subset, bool]] = [(ingest.part(job, "seed"), True)] if arm.real else []
    if arm.synthetic != "none":
        parts.append((screen.kept(job) if arm.synthetic == "kept" else generate.made(job), False))
    if arm.teacher is not None and len(pseudo):
        parts.append((pseudo, False))
    others = sum(not real for _, real in parts)
    weights = [weights_of([classes_of(part.labels(k)) for k in range(len(part))], job.recipe.mix)
               / (1 if real else others) for part, real in parts]
    if arm.synthetic == "kept":
        row = int(arm.real)
        whole = weights[row].sum()
        weights[row] = whole * scaled(weights[row], filter.times_shown(job, screen.kept(job)))
    flags = [np.full(len(part), real, bool) for part, real in parts]
    mix = job.recipe.mix
    augment = augment_of(mix)
    if arm.strong:
        augment = STRONG[job.recipe.task]
    return Mixture(Joined(*(part for part, _ in parts)), np.concatenate(flags), np.concatenate(weights),
                   share_of(arm, job.recipe), mix.synthetic_until, augment)


def waves(arms: Sequence[Arm]) -> list[list[Arm]]:
    """The arms in the order of their training: first those that need no teacher."""
    split = [[a for a in arms if a.teacher is None], [a for a in arms if a.teacher is not None]]
    return [wave for wave in split if wave]

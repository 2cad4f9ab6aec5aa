"""Did the generator copy seed images? Re-use that a generator declares is counted, not judged."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgen.checks import FEW_IMAGES, OPTIONS, ids_of, images_needed, judge, settles, skipped
from synthgen.images import hash_image
from synthgen.metrics.bounds import clopper_pearson
from synthgen.metrics.copying import (
    FEWEST,
    Copies,
    Space,
    copies,
    doubles,
    encoded,
    fewest_detectable,
    thumbs,
    whole,
)
from synthgen.metrics.features import evenly_picked
from synthgen.metrics.object_copies import FEWEST as FEWEST_OBJECTS
from synthgen.metrics.object_copies import FEWEST_IMAGES, NEAR, SMALLEST, cut_objects, nearness
from synthgen.store import Stored, Subset
from synthgen.types import Dataset, Evidence, Flag, Image, Measurement, Verdict

MOST = 2000
"""Images of a side that are looked at for doubles, and of the pool for copies; twice the seed's where that is more."""

MORE_DOUBLES = 0.05
"""How much larger the share of near doubles may be than among as many real images."""

OBJECTS_OF = 500
"""Images of a side whose objects are compared."""

MORE_NEAR = 0.1
"""How many more synthetic objects may be near to seed objects than chance lets real ones be to other images'."""

VISIBLE = 0.05
"""Share of copies that must be detectable before their absence says anything."""

NOT_CONTENT = ("spectrum", "handcrafted")
"""Features that say how an image was made rather than what it shows: to share them is no copy."""


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Copying:
    """No synthetic image is a near copy of a seed image; composites, which re-use pixels by design, are counted."""

    EARLY: ClassVar[bool] = True  # needs no labeler: runs after generation too
    FLAGS: ClassVar[bool] = True  # judges single samples, and says which ones to take out

    max_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of synthetic images that may be copies or near copies."""
    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """False discovery rate among the images flagged."""
    show: Annotated[int, Field(ge=0)] = 20
    """How many ids of copies to list."""

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Sequence[Measurement]:
        return [*self._same(evidence), *self._copies(evidence, rng), *self._doubles(evidence, rng)]

    def _same(self, evidence: Evidence) -> list[Measurement]:
        """Images with the pixels of a seed image, whoever made them: no pool is needed to see these. Nothing is said
        where there are none, as is usual."""
        known = {hash_image(sample.image): k for k, sample in enumerate(evidence.seed)}
        hashes = [hash_image(sample.image) for sample in evidence.synthetic]
        ids, seeds = ids_of(evidence.synthetic), ids_of(evidence.seed)
        found = [(ids[k], seeds[known[h]]) for k, h in enumerate(hashes) if h in known]
        m = len(hashes)
        if not found:
            return []
        why = f"{len(found)} of {m} images are {evidence.seed_name} images, pixel by pixel; the first: {found[0][0]}"
        verdict: Verdict = "fail" if len(found) > self.max_share * m else "pass"
        return [Measurement("copying", f"pixels of the {evidence.seed_name}", verdict, len(found) / m,
                            "share of images", why, n=(m, len(known)), hard=True,
                            worst=tuple(name for name, _ in found[: self.show]),
                            remedy="take these images out: they teach and show nothing that the real ones do not",
                            flagged=tuple(Flag(name, f"the pixels of a {evidence.seed_name} image", 0.0, seed)
                                          for name, seed in found))]

    def _copies(self, evidence: Evidence, rng: np.random.Generator) -> list[Measurement]:
        declared, tested = [], []
        # Every rendering is asked about, not one per layout: whatever is a copy has to be found.
        for k, (known_by, sources) in enumerate(_origins(evidence.synthetic)):
            if known_by == "construction":
                declared.append(sources)
            else:
                tested.append(k)
        out = [self._reuse(declared)] if declared else []
        if not tested:
            return out
        out += self._objects(evidence, tested, rng)
        n, N = len(evidence.seed), len(evidence.pool)
        if not n or n + FEWEST > N:
            why = f"near copies of {evidence.seed_name} images are told by {n + FEWEST} pool images or more, not by {N}"
            return [*out, skipped("copying", "near copies of the seed", why, hard=True,
                                  remedy="name a larger pool: data.pool of a recipe, --pool of evaluate")]
        spaces, unused = self._spaces(evidence, np.asarray(tested))
        ids = ids_of(evidence.synthetic)
        return [*out, self._measured(copies(spaces, rng), [ids[k] for k in tested], ids_of(evidence.seed), N, unused)]

    def _spaces(self, evidence: Evidence, tested: NDArray[np.int64]) -> tuple[list[Space], str]:
        """Thumbnails, and as many families of encoders' features as leave a share of VISIBLE to be seen; sizes alone
        decide it. Beside them, in words, which families could not be used, and why."""
        sides = ((evidence.synthetic, tested), (evidence.seed, np.arange(len(evidence.seed))),
                 (evidence.pool, evenly_picked(len(evidence.pool), max(MOST, 2 * len(evidence.seed)))))
        made, seed, pool = (Images(data, picks) for data, picks in sides)
        spaces = [whole(made, seed, pool)]
        ids = [[ids_of(data)[int(k)] for k in picks] for data, picks in sides]
        partial = []
        for family in evidence.features.get("synthetic", {}):
            rows = [_rows_of(evidence, name, family, wanted)
                    for name, wanted in zip(("synthetic", "seed", "pool"), ids, strict=True)]
            if family not in NOT_CONTENT and all(side is not None for side in rows):
                spaces.append(encoded(family, *(side for side in rows if side is not None)))
            elif family not in NOT_CONTENT and family in evidence.features.get("seed", {}):
                partial.append(f"{family} features")
        m, null = len(tested), len(ids[2]) - len(ids[1])
        most = max(k for k in range(1, len(spaces) + 1)
                   if k == 1 or fewest_detectable(m, null, self.rate, k) <= max(1, VISIBLE * m))
        few = [space.name for space in spaces[most:]]
        unused = [f"{_listed(names)}, {why}" for names, why in (
            (partial, "which a part of the images alone has"), (few, "for which the pool is too small")) if names]
        return spaces[:most], "".join(f"; not by {words}" for words in unused)

    def _objects(self, evidence: Evidence, tested: list[int], rng: np.random.Generator) -> list[Measurement]:
        """Objects of the seed in other arrangements; softly, since the bar stands on the seed's objects alone. Nothing
        is said where neither side has any."""
        if evidence.task == "classify":
            return []
        name, ids = "near copies of seed objects", ids_of(evidence.synthetic)
        tested = [tested[int(k)] for k in evenly_picked(len(tested), OBJECTS_OF)]
        ours = cut_objects(evidence.synthetic[k] for k in tested)
        theirs = cut_objects(evidence.seed[int(k)] for k in evenly_picked(len(evidence.seed), OBJECTS_OF))
        if not len(ours.rows) and not len(theirs.rows):
            return []
        images = len(np.unique(theirs.image))
        if not len(ours.rows) or len(theirs.rows) < FEWEST_OBJECTS or images < FEWEST_IMAGES:
            why = (f"it needs whole objects of {SMALLEST} px or more, {FEWEST_OBJECTS} of them in {FEWEST_IMAGES} "
                   f"{evidence.seed_name} images, and there are {len(ours.rows)} synthetic and {len(theirs.rows)} in "
                   f"{images} {evidence.seed_name} images")
            return [skipped("copying", name, why, hard=False)]
        found = nearness(ours, theirs, rng)
        n, limit = (len(np.unique(ours.image)), images), found.chance[1] + MORE_NEAR
        low, high = found.interval
        verdict: Verdict = "fail" if low > limit else "pass" if high <= limit else "inconclusive"
        counts = np.bincount(ours.image, found.near, len(tested)) / np.maximum(
            np.bincount(ours.image, minlength=len(tested)), 1)
        worst = tuple(ids[tested[i]] for i in np.argsort(-counts, kind="stable")[: self.show] if counts[i])
        why = (f"{found.value:.0%} [{low:.0%}, {high:.0%}] of {len(ours.rows)} synthetic objects are as near to one of "
               f"a {evidence.seed_name} image as {NEAR:.0%} of such objects are to those of other images; chance gives "
               f"up to {found.chance[1]:.0%}, and {MORE_NEAR:.0%} more are allowed")
        remedy = {"fail": "stop the generator's training earlier, give it the pool, or draw layouts of another kind",
                  "inconclusive": settles(images_needed(n[0], high - found.value, limit - found.value), n[0],
                                          "synthetic images")}
        return [Measurement("copying", name, verdict, found.value, "share of objects", why, interval=found.interval,
                            null=found.chance, n=n, remedy=remedy.get(verdict, ""), worst=worst)]

    def _doubles(self, evidence: Evidence, rng: np.random.Generator) -> list[Measurement]:
        """How many independent synthetic images have a near double among them, against as many real ones."""
        reference, called = (evidence.pool, "pool") if len(evidence.pool) >= FEW_IMAGES else (
            evidence.seed, evidence.seed_name)
        n = min(len(evidence.independent), len(reference), MOST)
        if n < FEW_IMAGES:
            return []
        sides = []
        for data in (evidence.independent, reference):
            # As many of either: among more images there are more doubles. Sorted: file order decides nothing.
            rows = thumbs(data[int(k)].image for k in evenly_picked(len(data), MOST))
            rows = rows[np.lexsort(rows.T)]
            sides.append(doubles(rows[np.sort(rng.choice(len(rows), n, replace=False))]))
        found, real = (int(side.sum()) for side in sides)
        interval, chance = clopper_pearson(found, n), clopper_pearson(real, n)
        limit = chance[1] + MORE_DOUBLES
        verdict = judge(interval, limit, (n, n))
        why = (f"{found} of {n} synthetic images have a near double among them (correlation of thumbnails), and {real} "
               f"of {n} {called} images; at most {limit:.0%} allowed, what as many real images may show and "
               f"{MORE_DOUBLES:.0%} more")
        remedy = {"fail": "draw more varied layouts and sources, or fewer images",
                  "inconclusive": settles(images_needed(n, interval[1] - found / n, limit - found / n), n)}
        return [Measurement("copying", "near doubles", verdict, found / n, "share of images", why, interval=interval,
                            null=chance, n=(n, n), remedy=remedy.get(verdict, ""))]

    def _measured(self, found: Copies, ids: list[str], seeds: list[str], pool: int,
                  unused: str) -> Measurement:
        flagged = found.q <= self.rate
        m, k, spaces = len(ids), int(flagged.sum()), len(found.spaces)
        fewest = fewest_detectable(m, found.null, self.rate, spaces)
        worst = [i for i in np.lexsort((found.ratio, found.p)) if flagged[i]]
        verdict: Verdict = "pass"
        why = (f"{k} of {m} images are nearer to a seed image than {found.null} real images would let one expect, by "
               f"{_listed(found.spaces)} (false discovery rate {self.rate:g}, over flips, turns, crops and shifts)"
               f"{unused}")
        if found.apart:
            why += f"; not by {_listed(found.apart)}, in which seed and pool differ or too few images are labelled"
        remedy = ""
        if k > self.max_share * m:
            verdict = "fail"
            why += (f"; the nearest: {ids[worst[0]]} to {seeds[found.nearest[worst[0]]]}, by "
                    f"{found.spaces[found.space[worst[0]]]}")
            remedy = ("take these images out, and stop the generator's training earlier or give it the pool; a pool "
                      "that was taken elsewhere than the seed makes images like the seed's look like copies")
        elif fewest > max(1, VISIBLE * m):
            verdict = "inconclusive"
            remedy = (f"fewer than {fewest} copies could not be seen; about "
                      f"{math.ceil(spaces / (self.rate * VISIBLE)) + len(seeds)} pool images (now {pool}) would show "
                      f"{VISIBLE:.0%}")
        return Measurement("copying", "near copies of the seed", verdict, k / m, "share of images", why,
                           detectable=fewest / m, n=(m, pool), remedy=remedy, hard=True,
                           worst=tuple(ids[i] for i in worst[:self.show]),
                           flagged=tuple(Flag(ids[i], f"near copy of a seed image, by {found.spaces[found.space[i]]}",
                                              round(float(found.ratio[i]), 4), seeds[found.nearest[i]])
                                         for i in worst))

    @staticmethod
    def _reuse(declared: list[Sequence[int]]) -> Measurement:
        used = Counter(source for sources in declared for source in set(sources))
        most = used.most_common(1)[0][1] if used else 0
        why = (f"{len(declared)} images are composed of seed objects, as declared: {len(used)} objects, the one met "
               f"most often in {most} of the images")
        return Measurement("copying", "declared re-use", "pass", most / len(declared), "share of images", why,
                           n=(len(declared), len(used)))


def _origins(data: Dataset) -> Iterator[tuple[str, Sequence[int]]]:
    """How each sample's labels are known, and the seed objects that it says it is made of."""
    for k in range(len(data)):
        if isinstance(data, Stored | Subset):
            about = data.about(k)
            yield about["origin"]["known_by"], about["meta"].get("sources", ())
        else:
            yield data[k].origin.known_by, data[k].meta.get("sources", ())


def _rows_of(evidence: Evidence, name: str, family: str, wanted: Sequence[str]) -> NDArray[np.float32] | None:
    """A dataset's features of one family in the order of ids; None where some image has none."""
    rows = evidence.features.get(name, {}).get(family)
    if rows is None:
        return None
    # Of the synthetic images features are made of one rendering per layout; of large datasets, of a part.
    data = evidence.independent if name == "synthetic" else evidence.seed if name == "seed" else evidence.pool
    every = ids_of(data)
    known = {every[int(k)]: row for row, k in enumerate(evenly_picked(len(data), len(rows)))}
    return rows[[known[k] for k in wanted]] if all(k in known for k in wanted) else None


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


class Images(Sequence[Image]):
    """Some images of a dataset, decoded when they are asked for."""

    def __init__(self, data: Dataset, picks: NDArray[np.int64]) -> None:
        self.data, self.picks = data, picks

    def __len__(self) -> int:
        return len(self.picks)

    @overload
    def __getitem__(self, k: int) -> Image: ...
    @overload
    def __getitem__(self, k: slice) -> Sequence[Image]: ...
    def __getitem__(self, k: int | slice) -> Image | Sequence[Image]:
        return Images(self.data, self.picks[k]) if isinstance(k, slice) else self.data[int(self.picks[k])].image

"""What a generator must keep."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synthgen import plugins
from synthgen.checks.integrity import KINDS, defects
from synthgen.seeds import seed_of
from synthgen.store import labels_to_json
from synthgen.testing.promises import no_pickles, untouched_randomness
from synthgen.testing.tiny import digest, tiny_context
from synthgen.types import Generator, Sample, Task


def check_generator(
    generator: Generator, real: Sequence[Sample], task: Task = "instances", *, tolerance: int = 0
) -> None:
    """Assert that a generator keeps its promises on `real`.

    Sample k depends on seed k alone: alone, in a batch, in any order, twice. Labels are sound (every defect that
    the check `integrity` looks for). The origin says synthetic, the seed and the parents. A generator that was
    saved and loaded, and a fresh one with the same options fitted on the same images, make the same samples.
    The global random state and the images given are left as they were, and nothing saved is a pickle.

    generator: not fitted yet. tolerance: grey levels by which pixels may differ between one batch size and
    another, for neural samplers whose batch size is fingerprinted; 0 = same bytes.
    Raises: AssertionError.
    """
    assert isinstance(generator, Generator), (
        f"{type(generator).__name__} lacks one of fit, sample, save, load, so it is no synthgen.types.Generator"
    )
    again = _fresh(generator)
    known = [s.labels for s in real if s.labels is not None]
    classes = 1 + max((int(c) for labels in known for c in [*labels.classes, labels.image_class or 0]), default=0)
    before = [digest(s) for s in real]
    # Two that differ in the low bits only, as renderings of one layout do; and both ends of the range.
    first = seed_of(1, "check", 0) & ~0xFF
    seeds = [first, first | 1, seed_of(1, "check", 1), 0, 2**63 - 1]
    with tempfile.TemporaryDirectory() as scratch, untouched_randomness("the generator"):
        folder = Path(scratch)
        context = tiny_context(folder, task, classes)
        generator.fit(real, [], context)
        batch = list(generator.sample(seeds))
        assert len(batch) == len(seeds), f"{len(seeds)} seeds gave {len(batch)} samples; it must be one each, in order"
        assert list(generator.sample([])) == [], "no seeds must give no samples"
        for seed, sample in zip(seeds, batch, strict=True):
            _sound(sample, seed, classes, task)
        twice = [seed for seed in seeds for _ in range(2)]
        for how, calls in (
            ("one by one", [[s] for s in seeds]),
            ("in reverse", [seeds[::-1]]),
            ("each twice", [twice]),
        ):
            made = [sample for call in calls for sample in generator.sample(call)]
            for seed, sample in zip([seed for call in calls for seed in call], made, strict=True):
                _same(
                    batch[seeds.index(seed)],
                    sample,
                    tolerance,
                    f"seed {seed} made another sample {how} than in a batch; sample k may depend on seed k alone "
                    "(is one random generator shared between samples, or something kept from the last one?)",
                )
        saved = folder / "saved"
        saved.mkdir()
        generator.save(saved)
        no_pickles(saved)
        loaded = _fresh(again)
        loaded.load(saved)
        for old, new in zip(batch, loaded.sample(seeds), strict=True):
            _same(
                old,
                new,
                0,
                f"after save and load, seed {old.origin.seed} makes another sample; "
                "save must keep all that fit learned",
            )
        again.fit(real, [], context)
        for old, new in zip(batch, again.sample(seeds), strict=True):
            _same(
                old,
                new,
                0,
                f"a fresh instance with the same options and images makes another sample of seed "
                f"{old.origin.seed}; "
                "fit may take randomness from context.seed alone",
            )
    assert before == [digest(s) for s in real], "the images it was fitted on were changed; copy before writing"


def _sound(sample: Sample, seed: int, classes: int, task: Task) -> None:
    labels, o = sample.labels, sample.origin
    wrong = sorted(defects(labels, classes, task))
    assert not wrong, f"the sample of seed {seed} has labels with defects: {'; '.join(KINDS[k] for k in wrong)}"
    assert labels is not None
    assert o.kind == "synthetic", f"origin.kind must be 'synthetic', but is {o.kind!r}"
    assert o.seed == seed, f"origin.seed must be the seed it was made from ({seed}), but is {o.seed}"
    assert o.parents, "origin.parents is empty; it must name the samples that this one was made from"
    assert all(isinstance(p, str) and p for p in o.parents), f"origin.parents must be ids, but is {o.parents}"
    assert o.maker not in ("", "user"), "origin.maker must be the plug-in's name"
    json.dumps(dict(sample.meta), allow_nan=False)


def _same(old: Sample, new: Sample, tolerance: int, why: str) -> None:
    if digest(old) == digest(new):
        return
    if tolerance and old.image.shape == new.image.shape:
        far = int(np.abs(old.image.astype(int) - new.image).max())
        assert digest(dataclasses.replace(old, image=new.image)) == digest(new), f"{why}; more than the pixels differ"
        assert far <= tolerance, f"{why}; pixels differ by up to {far} grey levels and {tolerance} were allowed"
        return
    raise AssertionError(f"{why}; {_difference(old, new)}")


def _difference(old: Sample, new: Sample) -> str:
    if old.image.shape != new.image.shape:
        return f"the images are {old.image.shape} and {new.image.shape}"
    pixels = int((old.image != new.image).any(-1).sum())
    a, b = (None if s.labels is None else labels_to_json(s.labels) for s in (old, new))
    parts = [f"{pixels} pixels differ"] if pixels else []
    parts += ["labels differ"] if a != b else []
    parts += [
        f"{name} differs: {x} and {y}"
        for name in ("id", "origin", "meta")
        if (x := getattr(old, name)) != (y := getattr(new, name))
    ]
    return ", ".join(parts)


def _fresh(generator: Generator) -> Generator:
    """Another instance with the same options, not fitted."""
    options = {name: getattr(generator, name) for name in plugins.option_names(type(generator))}
    made: Generator = type(generator)(**options)
    return made

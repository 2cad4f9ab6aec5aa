"""What a feature extractor must keep, as one check that its own tests can call."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen import plugins
from synthgen.errors import SynthgenError
from synthgen.features.labeler import LabelerFeatures
from synthgen.metrics.features import one_path
from synthgen.seeds import rng_of
from synthgen.testing.promises import PICKLES, untouched_randomness
from synthgen.testing.tiny import digest, tiny_context, tiny_real
from synthgen.types import FeatureExtractor, Image, Json, Sample

TEXTS = ("id", "version", "weights", "preprocessing")


def feature_images(side: int = 32) -> list[Image]:
    """Ten (side, side, 3) uint8 images of one size: drawn ones, noise, black, white, and one that stands twice."""
    drawn = [one_path(s.image, side) for s in tiny_real(5, seed=9)]
    noise = rng_of(9).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    return [*drawn, *noise, np.zeros((side, side, 3), np.uint8), np.full((side, side, 3), 255, np.uint8), drawn[0]]


def check_features(extractor: FeatureExtractor, pool: Sequence[Sample] | None = None, *,
                   tolerance: float = 0.0) -> None:
    """Assert that a feature extractor keeps its promises.

    N images give (N, D) float32, finite, no images (0, D); not all rows are alike. The same images give the same bytes
    again. Row k depends on image k alone: alone, in any order, beside others. Fitted again, on the same pool in another
    order, it makes the same features and has the same identity; so does one that was saved and loaded. The identity
    holds id, version, weights and preprocessing as texts. Neither the images and pool given nor the global random state
    are changed, nothing saved is a pickle, and an empty folder is refused with a synthgen error.

    extractor: not fitted yet; its class is built again with the same options. pool: what it is fitted on, by default
    twelve small images. tolerance: largest difference, as a share of a feature's largest absolute value, by which a row
    may depend on its batch; 0 = same bytes, which is what a new extractor should keep.
    Raises: AssertionError.
    """
    assert isinstance(extractor, FeatureExtractor), (
        f"{type(extractor).__name__} lacks one of fit, features, identity, save, load, so it is no "
        "synthgen.types.FeatureExtractor")
    pool = tiny_real(12, seed=8) if pool is None else pool
    images = feature_images()
    before = [digest(s) for s in pool], [i.tobytes() for i in images]
    with tempfile.TemporaryDirectory() as scratch, untouched_randomness("the extractor"):
        folder = Path(scratch)
        again = _fresh(extractor)
        with _untouched_torch():
            extractor.fit(pool, tiny_context(folder))
            rows = _rows(extractor, images)
            known = _identity(extractor)
            _alone(extractor, images, rows, tolerance)
            again.fit(pool[::-1], tiny_context(folder))
            assert _rows(again, images).tobytes() == rows.tobytes(), (
                "fitted again on the same pool, in another order, it makes other features; sort the pool by content, "
                "and draw from a generator with a seed of its own")
        assert _identity(again) == known, "fitted again on the same pool it says to be another; nothing of it changed"
        saved = folder / "saved"
        saved.mkdir()
        extractor.save(saved)
        pickles = [p.name for p in saved.rglob("*") if p.suffix in PICKLES]
        assert not pickles, f"{pickles[0]}: state is kept as safetensors or JSON, never as a pickle, which can run code"
        loaded = _fresh(extractor)
        loaded.load(saved)
        assert _rows(loaded, images).tobytes() == rows.tobytes(), (
            "after save and load it makes other features; save must keep all that fit learned")
        assert _identity(loaded) == known, "after save and load it says to be another"
        empty = folder / "empty"
        empty.mkdir()
        try:
            _fresh(extractor).load(empty)
        except SynthgenError:
            pass
        else:
            raise AssertionError("load took an empty folder; it must refuse it with a synthgen.errors.DataError")
    assert before == ([digest(s) for s in pool], [i.tobytes() for i in images]), (
        "the images it was given were changed; copy before writing")


def _rows(extractor: FeatureExtractor, images: Sequence[Image]) -> NDArray[np.float32]:
    rows = extractor.features(images)
    assert rows.ndim == 2, f"features must be (N, D), but are {rows.shape}"
    assert len(rows) == len(images), f"{len(images)} images gave {len(rows)} rows"
    assert rows.shape[1], "features must be (N, D) with D of at least 1"
    assert rows.dtype == np.float32, f"features must be float32, but are {rows.dtype}"
    assert np.isfinite(rows).all(), "features must be finite, of a black image too"
    assert len(np.unique(rows, axis=0)) > 2, "images as different as noise, black and white get the same features"
    return rows


def _alone(extractor: FeatureExtractor, images: Sequence[Image], rows: NDArray[np.float32], tolerance: float) -> None:
    assert extractor.features(images).tobytes() == rows.tobytes(), (
        "the same images got other features the second time; nothing may be drawn at random")
    none = extractor.features([])
    assert none.shape == (0, rows.shape[1]), f"no images must give (0, {rows.shape[1]}), but gave {none.shape}"
    scale = np.maximum(np.abs(rows).max(0), 1e-12)
    single = np.concatenate([extractor.features([image]) for image in images])
    for how, found in (("alone", single), ("in reverse", extractor.features(images[::-1])[::-1]),
                       ("beside others", extractor.features([*images, *images[:3]])[: len(images)])):
        far = float((np.abs(found - rows) / scale).max())
        assert far <= tolerance, (
            f"an image got other features {how}, by up to {far:.1e} of a feature's largest value where {tolerance:g} "
            "is allowed; row k may depend on image k alone (take one image at a time: a batch changes last digits)")


def _identity(extractor: FeatureExtractor) -> dict[str, Json]:
    known = dict(extractor.identity())
    wrong = [key for key in TEXTS if not isinstance(known.get(key), str)]
    assert not wrong, f"identity must hold {', '.join(TEXTS)} as texts, but {wrong[0]} is {known.get(wrong[0])!r}"
    assert known["id"], "identity's id must be the name of the plug-in"
    assert known["version"], "identity's version must be a text that changes whenever the numbers do"
    return known


def _fresh(extractor: FeatureExtractor) -> FeatureExtractor:
    """Another one with the same options, not fitted; with the labeler of the first where it looks through one."""
    options = {name: getattr(extractor, name) for name in plugins.option_names(type(extractor))}
    made: FeatureExtractor = type(extractor)(**options)
    if isinstance(extractor, LabelerFeatures) and isinstance(made, LabelerFeatures) and extractor.labeler is not None:
        made.of(extractor.labeler, extractor.trainer)
    return made


@contextmanager
def _untouched_torch() -> Iterator[None]:
    """torch's global random state stays as it is, where torch was loaded before."""
    torch = sys.modules.get("torch")
    state = None if torch is None else torch.random.get_rng_state()
    yield
    assert torch is None or torch.equal(state, torch.random.get_rng_state()), (
        "the extractor moved torch's global random state; draw inside torch.random.fork_rng, or from a torch.Generator")


__all__ = ["check_features", "feature_images"]

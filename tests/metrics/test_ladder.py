"""The severity ladder: worse is easier to tell, and what is named is what was done."""

from __future__ import annotations

import io

import cv2
import numpy as np
import PIL.Image
import pytest

from synthgen.checks.realism import Realism
from synthgen.metrics.features import handcrafted, one_path, spectrum
from synthgen.metrics.ladder import AUTO, FAMILIES, PASTE, RUNGS, Rung, hard_paste, in_words, ladder
from synthgen.seeds import rng_of
from synthgen.types import Evidence, Measurement, Sample


def photographs(n: int, seed: int, size: int = 64) -> list[np.ndarray]:
    """Smooth scenes with a sensor's noise."""
    rng = rng_of(seed)
    out = []
    for _ in range(n):
        scene = cv2.GaussianBlur(rng.normal(0, 1, (size, size, 3)), (0, 0), float(rng.uniform(1.5, 4)))
        scene = 120 + rng.uniform(20, 40) * scene / scene.std() + rng.normal(0, 2, scene.shape)
        out.append(np.clip(np.rint(scene), 0, 255).astype(np.uint8))
    return out


@pytest.mark.slow
def test_a_stronger_step_is_easier_to_tell() -> None:
    found = ladder(photographs(120, 0), 64, rng_of(0))
    assert set(found) == set(FAMILIES)
    for rungs in found.values():
        assert {r.name for r in rungs} == set(RUNGS)
        assert [r.auc for r in rungs] == sorted(r.auc for r in rungs)
        height = {r.name: r.auc for r in rungs}
        assert height["a blur of 1.2 px"] >= height["a blur of 0.4 px"] - 0.05
        assert height["JPEG at quality 50"] > 0.9
        assert height[PASTE] > 0.55
    assert AUTO in RUNGS
    assert {r.name: r.auc for r in found["handcrafted"]}["30 grey levels more"] > 0.9


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="40 images, not 12"):
        ladder(photographs(12, 0), 64, rng_of(0))


@pytest.mark.slow
def test_the_order_of_files_changes_no_digit_and_the_seed_does() -> None:
    images = photographs(44, 5, 48)
    turned = [images[k] for k in rng_of(9).permutation(44)]
    first = ladder(images, 32, rng_of(3))
    assert ladder(images, 32, rng_of(3)) == first
    assert ladder(turned, 32, rng_of(3)) == first
    assert ladder(images, 32, rng_of(4)) != first


@pytest.mark.parametrize(("image", "donor"), [
    ((30, 30), (30, 30)), ((30, 50), (9, 90)), ((1, 1), (1, 1)), ((2, 40), (7, 7))])
def test_a_hard_paste_is_a_square_of_the_other_image_and_nothing_else(image, donor) -> None:
    ground, other = np.zeros((*image, 3), np.uint8), np.full((*donor, 3), 200, np.uint8)
    pasted = hard_paste(ground, other, rng_of(0))
    side = max(1, min(*image, *donor) // 3)
    rows, columns = np.nonzero(pasted[:, :, 0])
    assert len(rows) == side * side
    assert np.ptp(rows) == np.ptp(columns) == side - 1
    assert set(np.unique(pasted)) <= {0, 200}
    assert not ground.any()


def test_the_rung_just_below_is_named() -> None:
    rungs = (Rung("a", 0.55), Rung("b", 0.7), Rung("c", 0.9))
    assert "harder to tell than real images after a" in in_words(0.5, rungs)
    assert "as easy to tell as real images after b (AUC 0.70)" in in_words(0.8, rungs)


@pytest.mark.slow
def test_realism_says_in_words_how_far_synthetic_images_are_from_real_ones() -> None:
    def saved(image: np.ndarray) -> np.ndarray:
        out = io.BytesIO()
        PIL.Image.fromarray(image).save(out, "JPEG", quality=50)
        return np.asarray(PIL.Image.open(out))

    real, fake = photographs(80, 1), [saved(image) for image in photographs(80, 2)]
    features = {name: {"spectrum": spectrum([one_path(i, 64) for i in images]).astype(np.float32),
                       "handcrafted": handcrafted([one_path(i, 64) for i in images]).astype(np.float32)}
                for name, images in (("synthetic", fake), ("pool", real))}
    evidence = Evidence([Sample(f"s{k}", i) for k, i in enumerate(fake)], (), [Sample(f"p{k}", i) for k, i in
                        enumerate(real)], (), ("thing",), "instances", features)
    found = [m for m in Realism(permutations=99)(evidence, rng_of(0)) if m.name.endswith(": synthetic against pool")]
    assert len(found) == 2
    assert all("to tell than real images after" in m.why or "to tell as real images after" in m.why for m in found)


@pytest.mark.slow
def test_a_named_rung_is_the_margin_whatever_the_order_of_files() -> None:
    """Unchanged images stay below 4 grey levels more, and 60 more are beyond it."""
    real = photographs(120, 3, 48)

    def judged(fake: list[np.ndarray], turn: bool = False) -> dict[str, Measurement]:
        parts = {"synthetic": fake, "pool": real}
        if turn:
            parts = {name: images[::-1] for name, images in parts.items()}
        data = {name: [Sample(f"{name}{119 - k if turn else k:03}", image) for k, image in enumerate(images)]
                for name, images in parts.items()}
        features = {name: {"handcrafted": handcrafted([one_path(i, 48) for i in images]).astype(np.float32)}
                    for name, images in parts.items()}
        found = Evidence(data["synthetic"], (), data["pool"], (), ("thing",), "instances", features)
        return {m.name: m for m in Realism(max_auc="4 grey levels more", permutations=99)(found, rng_of(0))}

    name = "handcrafted: synthetic against pool"
    same = photographs(120, 4, 48)
    brighter = [np.clip(i.astype(int) + 60, 0, 255).astype(np.uint8) for i in same]
    near, far = judged(same), judged(brighter)
    assert near[name].verdict == "pass", near[name].why
    assert far[name].verdict == "fail", far[name].why
    again = judged(same, turn=True)
    assert [(m.value, m.why) for m in again.values()] == [(m.value, m.why) for m in near.values()]

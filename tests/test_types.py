"""The nouns refuse what cannot be, at the door."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.errors import DataError
from synthgen.types import Labels, Mixture, Sample

BLANK = np.zeros((2, 3, 3), np.uint8)


def test_labels_of_nothing_have_arrays_of_no_rows() -> None:
    labels = Labels((2, 3))
    assert len(labels) == 0
    assert labels.boxes.shape == (0, 4)
    assert (labels.scores.shape, labels.visible.shape, labels.truncated.shape, labels.states) == ((0,), (0,), (0,), ())
    assert (labels.empty, labels.reviewed) == ("unknown", "none")


def test_what_is_not_said_of_an_instance_has_the_default_of_not_knowing() -> None:
    labels = Labels((2, 3), np.zeros(1, np.int64), np.zeros((1, 4), np.float32))
    assert labels.scores.tolist() == [1.0]
    assert np.isnan(labels.visible).all()
    assert labels.truncated.tolist() == [False]
    assert labels.states == ("accepted",)
    assert labels.masks is None


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"boxes": np.zeros((2, 4))}, "boxes must have shape (1, 4)"),
        ({"masks": ()}, "masks must hold 1"),
        ({"amodal": ("a", "b")}, "amodal must hold 1"),
        ({"scores": [1, 1]}, "scores must have shape (1,)"),
        ({"visible": []}, "visible must have shape (1,)"),
        ({"truncated": [True, False]}, "truncated must have shape (1,)"),
        ({"states": ()}, "states must hold 1"),
    ],
)
def test_labels_whose_parts_differ_in_number_are_refused_and_the_part_is_named(
    known: dict[str, Any], said: str
) -> None:
    parts: dict[str, Any] = {"classes": np.zeros(1, np.int64), "boxes": np.zeros((1, 4)), **known}
    with pytest.raises(DataError, match=r"labels\.") as caught:
        Labels((2, 3), **parts)
    assert said in str(caught.value)


def test_labels_cannot_be_written_to() -> None:
    labels = Labels((2, 3), np.zeros(1, np.int64), np.zeros((1, 4), np.float32))
    for array in (labels.classes, labels.boxes, labels.scores, labels.visible, labels.truncated):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((2, 3), np.uint8),
        np.zeros((2, 3, 4), np.uint8),
        np.zeros((2, 3, 3), np.float32),
        np.zeros((1, 2, 3, 3), np.uint8),
    ],
    ids=["grey", "four channels", "float", "batched"],
)
def test_an_image_that_is_no_rgb_bytes_is_refused_by_its_sample(image: Any) -> None:
    with pytest.raises(DataError, match="sample a: image must be"):
        Sample("a", image)


def test_a_sample_whose_labels_are_for_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="sample a: labels are for"):
        Sample("a", BLANK, Labels((3, 2)))


def mixture(real: int, synthetic: int, share: float, until: float = 0.0) -> Mixture:
    flags = np.arange(real + synthetic) < real
    weights = np.where(flags, 1 / max(real, 1), 1 / max(synthetic, 1))
    return Mixture([Sample(str(k), BLANK) for k in range(real + synthetic)], flags, weights, share, until)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(0, 4), st.integers(0, 4), st.floats(0, 1), st.integers(1, 9), st.floats(0, 1), st.integers(0, 99))
def test_a_batch_holds_the_share_of_real_samples_up_to_one(
    real: int, synthetic: int, share: float, n: int, progress: float, seed: int
) -> None:
    if not real + synthetic:
        return
    picks = mixture(real, synthetic, share).draw(progress, n, np.random.default_rng(seed))
    wanted = n * share if real and synthetic else n if real else 0
    assert len(picks) == n
    assert ((picks >= 0) & (picks < real + synthetic)).all()
    assert abs((picks < real).sum() - wanted) < 1 + 1e-9


def test_over_many_batches_the_share_is_exact() -> None:
    rng, mixed = np.random.default_rng(0), mixture(3, 3, 0.3)
    assert np.mean([(mixed.draw(0.5, 1, rng) < 3).mean() for _ in range(4000)]) == pytest.approx(0.3, abs=0.03)


def test_the_curriculum_shows_synthetic_samples_only_until_its_share_of_the_steps() -> None:
    rng, mixed = np.random.default_rng(0), mixture(2, 2, 1.0, until=0.25)
    assert (mixed.draw(0.24, 20, rng) >= 2).all()
    assert (mixed.draw(0.25, 20, rng) < 2).all()


def test_a_curriculum_without_synthetic_samples_shows_the_real_ones() -> None:
    assert (mixture(2, 0, 0.5, until=1.0).draw(0.0, 8, np.random.default_rng(0)) < 2).all()


def test_samples_are_drawn_as_often_as_they_weigh() -> None:
    mixed = Mixture([Sample(str(k), BLANK) for k in range(3)], np.ones(3, bool), np.asarray([0.0, 0.25, 0.75]))
    picks = mixed.draw(0.5, 4000, np.random.default_rng(1))
    assert np.bincount(picks, minlength=3) / 4000 == pytest.approx([0, 0.25, 0.75], abs=0.03)

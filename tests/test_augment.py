"""Ids are the truth under every transform, and what comes from outside the image is ignored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from synthgen.augment import CLASSIFY, DENSE, Augment
from synthgen.errors import PluginError
from synthgen.testing import tiny_real
from synthgen.types import Json


def pair(size: tuple[int, int] = (48, 64)) -> tuple[Any, Any]:
    """An image that shows its ids as grey values, and the ids: 1 and 300, a region ignored, background."""
    ids = np.zeros(size, np.int32)
    ids[10:20, 10:30], ids[25:40, 35:60], ids[40:, :8] = 1, 300, -1
    image = np.repeat(np.select([ids == 1, ids == 300, ids == -1], [80, 160, 240], 0)[..., None], 3, 2).astype(np.uint8)
    return image, ids


def test_no_transforms_change_nothing() -> None:
    image, ids = pair()
    new, new_ids = Augment([])(image, ids, 1)
    assert np.array_equal(new, image)
    assert np.array_equal(new_ids, ids)
    assert new_ids.dtype == np.int32


@pytest.mark.parametrize("transforms", [DENSE, CLASSIFY], ids=["dense", "classify"])
def test_the_same_seed_gives_the_same_image_whatever_came_before(transforms: tuple[dict[str, Json], ...]) -> None:
    image, ids = pair()
    one, two = Augment(transforms), Augment(transforms)
    first = [one(image, ids, seed) for seed in (5, 2**63 - 1, 0)]
    second = [two(image, ids, seed) for seed in (0, 5, 2**63 - 1)]
    for a, b in zip(first, [second[1], second[2], second[0]], strict=True):
        assert np.array_equal(a[0], b[0])
        assert np.array_equal(a[1], b[1])
    assert not np.array_equal(first[0][0], first[2][0])


def test_transforms_invent_no_ids() -> None:
    sample = tiny_real(1)[0]
    ids = np.zeros(sample.image.shape[:2], np.int32)
    ids[:30, :30], ids[30:, 40:] = 7, 65534
    augment = Augment(DENSE)
    for seed in range(12):
        image, new = augment(sample.image, ids, seed)
        assert set(np.unique(new)) <= {-1, 0, 7, 65534}
        assert image.shape[:2] == new.shape
        assert image.dtype == np.uint8


def test_ids_move_with_their_pixels() -> None:
    image, ids = pair()
    augment = Augment([{"type": "D4", "p": 1.0}])
    for seed in range(8):
        new, new_ids = augment(image, ids, seed)
        for number, grey in ((1, 80), (300, 160), (-1, 240), (0, 0)):
            assert np.array_equal(new_ids == number, new[..., 0] == grey)


def test_what_is_ignored_stays_ignored_and_what_comes_from_outside_is_ignored_too() -> None:
    image = np.full((40, 40, 3), 200, np.uint8)
    augment = Augment([{"type": "Affine", "rotate": [45, 45], "scale": [0.5, 0.5], "interpolation": 0, "p": 1.0}])
    new, ids = augment(image, np.zeros((40, 40), np.int32), 1)
    assert np.array_equal(ids == -1, new[..., 0] == 0)
    assert 0.6 < (ids == -1).mean() < 0.9
    _, kept = Augment([{"type": "HorizontalFlip", "p": 1.0}])(image, np.full((40, 40), -1, np.int32), 1)
    assert (kept == -1).all()


@pytest.mark.parametrize("kind", ["Rotate", "SafeRotate", "Perspective"])
def test_other_transforms_that_reach_outside_do_not_call_it_background(kind: str) -> None:
    options: dict[str, Json] = {"scale": [0.3, 0.3], "fit_output": True} if kind == "Perspective" else {}
    options |= {"limit": [45, 45]} if kind in ("Rotate", "SafeRotate") else {}
    image = np.full((40, 40, 3), 200, np.uint8)
    new, ids = Augment([{"type": kind, "p": 1.0, **options}])(image, np.full((40, 40), 5, np.int32), 3)
    outside = new[..., 0] == 0
    assert outside.any()
    assert (ids[outside] == -1).all()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"type": "NoSuchThing"}, "no transform 'NoSuchThing'"),
        ({}, "no transform None"),
        ({"type": "Compose"}, "no transform 'Compose'"),
        ({"type": "Lambda"}, "no transform 'Lambda'"),
        ({"type": "os"}, "no transform 'os'"),
        ({"type": "GaussianBlur", "blur_limit": "much"}, "GaussianBlur"),
    ],
)
def test_an_unknown_transform_or_a_wrong_option_is_a_plug_in_error(entry: dict[str, Json], said: str) -> None:
    with pytest.raises(PluginError, match=r"mix\.augment") as caught:
        Augment([entry])
    assert said in str(caught.value)


def test_an_option_that_a_transform_does_not_take_is_refused() -> None:
    with pytest.raises(PluginError, match=r"mix\.augment"):
        Augment([{"type": "HorizontalFlip", "strength": 3}])

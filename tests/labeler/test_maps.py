"""From instances to what the network is taught, and from what it says back to instances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen_labeler.grouping import group
from synthgen_labeler.inference import d4, undo_d4
from synthgen_labeler.targets import dense_loss, target_of

QUICK = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.mark.parametrize("k", range(8))
def test_every_symmetry_is_undone(k: int) -> None:
    x = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    assert torch.equal(undo_d4(d4(x, k), k), x)
    assert d4(x, k).shape[-2:] == ((4, 6) if k % 2 == 0 else (6, 4))


def test_the_eight_symmetries_are_eight() -> None:
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert len({tuple(d4(x, k).flatten().tolist()) for k in range(8)}) == 8


def pointing(size: tuple[int, int], y: float, x: float) -> torch.Tensor:
    """(1, 3, H, W): a scalar, and the vectors dy, dx that point from each pixel to (y, x)."""
    ys, xs = torch.meshgrid(torch.arange(size[0]).float(), torch.arange(size[1]).float(), indexing="ij")
    return torch.stack([ys * 10 + xs, y - ys, x - xs])[None]


@pytest.mark.parametrize("k", range(8))
@pytest.mark.parametrize("size", [(5, 5), (4, 7)])
def test_vectors_turn_with_the_picture(k: int, size: tuple[int, int]) -> None:
    # In the picture seen by symmetry k, every pixel still points at the marked place of that picture.
    mark = torch.zeros(1, 1, *size)
    mark[0, 0, 1, 3] = 1
    y, x = (int(v) for v in d4(mark, k)[0, 0].nonzero()[0])
    seen = pointing(tuple(d4(mark, k).shape[-2:]), y, x)
    seen[:, 0] = d4(pointing(size, 1, 3)[:, 0], k)
    assert torch.equal(undo_d4(seen, k, slice(1, 3)), pointing(size, 1, 3))


def discs(*parts: tuple[float, float, float], size: tuple[int, int] = (48, 64)) -> Any:
    """(H, W) int32 ids of discs (y, x, radius), later ones under earlier ones."""
    y, x = np.mgrid[: size[0], : size[1]]
    ids = np.zeros(size, np.int32)
    for k, (cy, cx, r) in enumerate(parts):
        ids[((y - cy) ** 2 + (x - cx) ** 2 <= r * r) & (ids == 0)] = k + 1
    return ids


def perfect(ids: Any, classes: Any, n: int = 2) -> tuple[Any, Any, Any]:
    """What a network would say that had learned its targets by heart."""
    target = target_of(ids, classes)
    probs = np.stack([target.classes == c for c in range(n + 1)]).astype(np.float32)
    return probs, target.centre, target.offset


def test_two_discs_that_touch_come_apart_at_their_line() -> None:
    ids = discs((20, 20, 9), (20, 38, 9))
    found = group(*perfect(ids, np.asarray([0, 1])))
    assert np.array_equal(found.ids, ids)
    assert found.classes.tolist() == [0, 1]
    assert (found.scores > 0.9).all()


def test_nothing_gives_no_instances() -> None:
    probs = np.zeros((3, 6, 7), np.float32)
    probs[0] = 1
    nothing = np.zeros((6, 7), np.float32)
    found = group(probs, nothing, np.zeros((2, 6, 7), np.float32))
    assert (found.ids.any(), found.classes.tolist(), found.scores.tolist()) == (False, [], [])
    full = np.ones((6, 7), np.float32)
    for centre, share in ((full, 1.0), (nothing, 0.0)):  # a centre without an object, an object without a centre
        probs[0], probs[1] = share, 1 - share
        assert len(group(probs, centre, np.zeros((2, 6, 7), np.float32)).scores) == 0


def test_an_object_of_one_pixel_is_found_when_it_is_large_enough_to_count() -> None:
    ids = np.zeros((9, 9), np.int32)
    ids[4, 5] = 1
    maps = perfect(ids, np.asarray([1]))
    assert np.array_equal(group(*maps, min_area=1).ids, ids)
    assert len(group(*maps, min_area=2).scores) == 0


def test_an_object_that_fills_the_picture_is_one_object() -> None:
    found = group(*perfect(np.ones((32, 40), np.int32), np.asarray([1])))
    assert (found.ids == 1).all()
    assert found.classes.tolist() == [1]


def test_holes_are_filled_and_strays_are_left_out() -> None:
    ids = discs((20, 20, 9))
    probs, centre, offset = perfect(ids, np.asarray([0]))
    probs[:, 20, 24] = [1, 0, 0]  # a hole
    probs[:, 40:43, 50:54] = np.asarray([0, 1, 0])[:, None, None]  # far from any centre
    found = group(probs, centre, offset)
    assert np.array_equal(found.ids, ids)


@QUICK
@given(st.lists(st.tuples(st.floats(0, 48), st.floats(0, 64), st.floats(4, 10)), max_size=5))
def test_ids_are_numbered_without_gaps_in_one_piece_each(parts: list[tuple[float, float, float]]) -> None:
    ids = discs(*parts)
    classes = np.arange(len(parts)) % 2
    found = group(*perfect(ids, classes))
    assert sorted(set(found.ids.ravel()) - {0}) == list(range(1, len(found.scores) + 1))
    assert len(found.classes) == len(found.scores)
    assert ((found.scores >= 0) & (found.scores <= 1 + 1e-6)).all()
    assert all((found.ids == k + 1).sum() >= 12 for k in range(len(found.scores)))


@QUICK
@given(st.floats(10, 20), st.floats(10, 20), st.floats(3, 8))
def test_a_disc_anywhere_on_the_grid_is_found_again_whole(y: float, x: float, r: float) -> None:
    ids = discs((y, x, r), size=(32, 32))
    assert np.array_equal(group(*perfect(ids, np.asarray([0]))).ids, ids)


def test_targets_of_nothing_teach_background() -> None:
    target = target_of(np.zeros((5, 6), np.int32), np.zeros(0, np.int64))
    assert (target.classes == 0).all()
    assert not target.centre.any()
    assert not target.offset.any()
    assert not target.edge.any()


def test_ignored_pixels_teach_nothing() -> None:
    ids = discs((20, 20, 9))
    ids[:, :15] = -1
    target = target_of(ids, np.asarray([1]))
    assert (target.classes[:, :15] == -1).all()
    assert set(np.unique(target.classes[:, 15:])) == {0, 2}
    batch = {k: torch.from_numpy(getattr(target, k))[None] for k in ("classes", "centre", "offset", "edge")}
    out = torch.zeros(1, 6, *ids.shape)
    base = dense_loss(out, batch, 2)
    out[..., :15] = 50.0
    for name, value in dense_loss(out, batch, 2).items():
        assert torch.equal(value, base[name]), name


def test_a_picture_of_ignored_pixels_alone_has_no_loss() -> None:
    target = target_of(np.full((8, 8), -1, np.int32), np.zeros(0, np.int64))
    batch = {k: torch.from_numpy(getattr(target, k))[None] for k in ("classes", "centre", "offset", "edge")}
    assert [float(v) for v in dense_loss(torch.randn(1, 6, 8, 8), batch, 2).values()] == [0, 0, 0]


def test_offsets_point_at_the_centre_of_gravity_and_the_peak_stands_there() -> None:
    ids = discs((20.0, 30.0, 8))
    target = target_of(ids, np.asarray([0]))
    ys, xs = np.nonzero(ids)
    assert np.allclose(ys + target.offset[0, ys, xs], 20, atol=1e-4)
    assert np.allclose(xs + target.offset[1, ys, xs], 30, atol=1e-4)
    assert np.unravel_index(target.centre.argmax(), ids.shape) == (20, 30)
    assert target.centre.max() == pytest.approx(1)


@pytest.mark.parametrize("side", [2, 4, 6, 10, 12])
def test_every_object_has_a_pixel_that_teaches_its_centre(side: int) -> None:
    ids = np.zeros((20, 20), np.int32)
    ids[3 : 3 + side, 3 : 3 + side] = 1
    assert (target_of(ids, np.asarray([0])).centre == 1).any()


def test_pixels_between_objects_that_touch_weigh_more_and_no_others() -> None:
    near = target_of(discs((20, 20, 9), (20, 39, 9)), np.asarray([0, 0])).edge
    assert near[20, 28:31].any()
    assert not near[:, :24].any()
    assert not target_of(discs((20, 15, 8), (20, 45, 8)), np.asarray([0, 0])).edge.any()

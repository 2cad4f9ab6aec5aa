"""Run lengths nobody vouches for, made canonical before pycocotools, which trusts them, sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from synthgen.errors import DataError
from synthgen.types import Json, Rle, Size


def parse_rle(counts: Json, size: Size) -> Rle:
    """The canonical run lengths for compressed (str) or plain (list of int) COCO counts.

    Canonical: no run of length 0 but the first, so that equal masks have equal strings.
    Raises: DataError when they are no run lengths, or do not add up to H × W.
    """
    H, W = size
    if isinstance(counts, str):
        runs = unpack(counts)
    elif isinstance(counts, list) and all(type(c) is int and abs(c) < 2**62 for c in counts):
        runs = np.asarray(counts, np.int64)
    else:
        raise DataError("its run lengths are neither a string nor a list of whole numbers")
    if (runs < 0).any() or (runs > H * W).any() or runs.sum() != H * W:
        raise DataError(f"its run lengths do not add up to the image, {W} × {H} px")
    return pack(runs, size)


def pack(runs: NDArray[np.int64], size: Size) -> Rle:
    """Run lengths (R,) int64, zeros first, as COCO's string; runs of length 0 are joined away."""
    filled = np.arange(len(runs)) % 2
    filled, runs = filled[runs > 0], runs[runs > 0]
    starts = np.flatnonzero(np.diff(filled, prepend=-1))
    runs = np.add.reduceat(runs, starts) if len(runs) else runs
    if len(filled) and filled[0] == 1:
        runs = np.concatenate([[0], runs])
    rle = coco_mask.frPyObjects({"size": list(size), "counts": runs.tolist()}, *size)
    return str(rle["counts"], "ascii")


def regions(ids: NDArray[np.integer]) -> list[tuple[int, Rle]]:
    """(id, run lengths of its pixels) for every id of an (H, W) map but 0, ascending."""
    flat = ids.T.reshape(-1)                                              # column by column
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] - 1))
    ends = np.append(starts[1:], flat.size)
    order = np.argsort(flat[starts], kind="stable")
    values, first = np.unique(flat[starts][order], return_index=True)
    found = []
    for value, mine in zip(values.tolist(), np.split(order, first[1:]), strict=True):
        if value != 0:
            edges = np.stack([starts[mine], ends[mine]], axis=1).reshape(-1)
            runs = np.diff(edges, prepend=0, append=flat.size).astype(np.int64)
            found.append((value, pack(runs, (ids.shape[0], ids.shape[1]))))
    return found


def pixels(rle: Rle) -> NDArray[np.int64]:
    """(P,) int64: where a mask's pixels are in its image, counted column by column: x · H + y. Unlike a mask of the
    whole frame it costs as many steps as the object has pixels."""
    edges = np.cumsum(unpack(rle))
    edges = edges[: len(edges) // 2 * 2].reshape(-1, 2)                   # start and end of each run of the mask
    lengths = edges[:, 1] - edges[:, 0]
    before = np.cumsum(lengths) - lengths
    return np.repeat(edges[:, 0] - before, lengths) + np.arange(lengths.sum())


def merge(rles: Sequence[Rle], size: Size) -> Rle | None:
    """The union of masks, or None where there is none."""
    if not rles:
        return None
    whole = coco_mask.merge([{"size": list(size), "counts": rle} for rle in rles])
    return str(whole["counts"], "ascii")


def unpack(text: Rle) -> NDArray[np.int64]:
    """Run lengths (R,) int64, zeros first, from COCO's string. Raises: DataError when it is damaged."""
    # Six bits per character from '0' on: five of the number, low ones first, and one for "more follows";
    # the highest bit of the last is the sign. From the fourth on, a run is the difference to the one
    # before the last.
    codes = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64) - 48
    if not len(codes) or (codes < 0).any() or (codes > 63).any() or codes[-1] & 0x20:
        raise DataError("its run lengths are damaged")
    ends = np.flatnonzero((codes & 0x20) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 12:
        raise DataError("its run lengths are damaged")
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((codes & 0x1F) << shifts, starts)
    runs = np.where(codes[ends] & 0x10, runs - (np.int64(1) << 5 * lengths), runs)
    if (np.abs(runs) > 2**40).any():
        raise DataError("its run lengths are damaged")
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs

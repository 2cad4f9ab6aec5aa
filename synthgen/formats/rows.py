"""Run lengths of masks as annotation tools write them: row by row in a box (CVAT), and packed in bits (Label Studio).

Both are checked before anything is allocated: they come from files that nobody vouches for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import DataError
from synthgen.types import Json, Mask, Size

WORD_BITS = 8
LENGTH_BITS = (3, 4, 8, 16)
HEAD_BITS = 32 + 5 + 4 * len(LENGTH_BITS)


def runs_of_rows(mask: Mask) -> list[int]:
    """Run lengths of (h, w) bool row by row, zeros first (CVAT)."""
    flat = mask.reshape(-1)
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    return [int(run) for run in np.diff(edges, prepend=0, append=flat.size)]


def mask_of_rows(text: str, shape: Size) -> Mask:
    """(h, w) bool from CVAT's comma-separated run lengths.

    Raises: DataError when they are no whole numbers, or do not fill the shape.
    """
    h, w = shape
    try:
        runs = [int(part) for part in text.split(",")]
    except ValueError:
        raise DataError("its run lengths are no whole numbers, separated by commas") from None
    if any(run < 0 for run in runs) or sum(runs) != h * w:
        raise DataError(f"its run lengths do not add up to its box, {w} × {h} px")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(h, w)


def pack_rgba(mask: Mask) -> list[int]:
    """Bytes of @thi.ng/rle-pack for (H, W) bool as Label Studio's brush wants it: RGBA, each channel 0 or 255.

    A head of 53 bits (the number of words in 32, the bits per word less one in 5, four run-length sizes less one in 4
    each), then a chunk per run: 1, the index of its size in 2 bits, its length less one, its word; zeros to the byte.
    """
    flat = np.concatenate([mask.reshape(-1), ~mask.reshape(-1)[-1:]])
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(ends, prepend=0) * 4  # words
    values = np.where(flat[ends - 1], 255, 0)
    longest = 1 << LENGTH_BITS[-1]
    parts = -(-runs // longest)
    values, lengths = np.repeat(values, parts), np.full(int(parts.sum()), longest)
    lengths[np.cumsum(parts) - 1] = runs - (parts - 1) * longest
    index = np.searchsorted([1 << bits for bits in LENGTH_BITS[:-1]], lengths)
    bits = np.asarray(LENGTH_BITS)[index]
    codes = ((4 | index) << (bits + WORD_BITS)) | ((lengths - 1) << WORD_BITS) | values
    sizes = 3 + bits + WORD_BITS  # at most 27
    spread = np.unpackbits((codes << (32 - sizes)).astype(">u4").view(np.uint8).reshape(-1, 4), axis=1)
    body = spread[np.arange(32)[None] < sizes[:, None]]
    head = f"{mask.size * 4:032b}{WORD_BITS - 1:05b}" + "".join(f"{b - 1:04b}" for b in LENGTH_BITS)
    stream = np.concatenate([np.frombuffer(head.encode(), np.uint8) - ord("0"), body])
    return np.packbits(stream).tolist()


def unpack_rgba(rle: Json, size: Size) -> Mask:
    """(H, W) bool from Label Studio's brush: pixels that are at least half opaque.

    Raises: DataError when it is no list of bytes, is cut off, or is of another size.
    """
    H, W = size
    if not isinstance(rle, list) or not all(type(b) is int and 0 <= b < 256 for b in rle):
        raise DataError("its run lengths are no list of bytes")
    bits = np.unpackbits(np.asarray(rle, np.uint8))
    text = (bits + ord("0")).tobytes().decode()
    if len(text) < HEAD_BITS:
        raise DataError("its run lengths are cut off")
    n, word = int(text[:32], 2), int(text[32:37], 2) + 1
    if n != H * W * 4 or word != WORD_BITS:
        raise DataError(f"its run lengths are of {n} words of {word} bits, not of an image of {W} × {H} px (RGBA)")
    out = _words(bits, text, n, [int(text[37 + 4 * k : 41 + 4 * k], 2) + 1 for k in range(4)])
    alpha = out.reshape(H, W, 4)[..., 3]
    # Some writers put 0 and 1, which the tool draws as good as invisible; they mean a mask all the same.
    return np.asarray(alpha > 0 if alpha.max(initial=0) == 1 else alpha >= 128)


def _words(bits: NDArray[np.uint8], text: str, n: int, length_bits: Sequence[int]) -> NDArray[np.uint8]:
    out, done, at = np.zeros(n, np.uint8), 0, HEAD_BITS
    while done < n:
        if at + 3 > len(text):
            raise DataError("its run lengths are cut off")
        size = length_bits[int(text[at + 1 : at + 3], 2)]
        length = int(text[at + 3 : at + 3 + size] or "0", 2) + 1
        words = at + 3 + size
        at = words + WORD_BITS * (1 if text[at] == "1" else length)
        if at > len(text) or done + length > n:
            raise DataError("its run lengths are cut off or too long")
        out[done : done + length] = np.packbits(bits[words:at])[: length if at - words > WORD_BITS else 1]
        done += length
    return out

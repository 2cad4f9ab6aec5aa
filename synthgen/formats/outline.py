"""One closed outline per object through pixel centres, as YOLO has it: parts and holes are joined by seams.

Readers draw such an outline with `cv2.fillPoly` on whole coordinates, which paints its border too.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.types import Mask, Size

Points = NDArray[np.int64]                                # (V, 2) x y
Join = tuple[int, int, int]                               # parent ring, index in it, index in the child


def trace(mask: Mask) -> Points:
    """(V, 2) x y of one outline, V ≥ 3; filled, it gives back a mask in one piece exactly, holes and all.

    A hole's ring is joined to what lies left of it by a seam walked there and back, which runs over pixels
    of the object and so costs nothing. Parts are joined to the nearest other part; that seam paints a line
    one pixel wide, so compare with `fill` to know. The mask must hold a pixel.
    """
    contours, hierarchy = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = [contour[:, 0].astype(np.int64) for contour in contours]
    outer = np.flatnonzero(hierarchy[0][:, 3] < 0).tolist()
    holes = np.flatnonzero(hierarchy[0][:, 3] >= 0).tolist()
    # Parents first: parts as they were joined, then holes from left to right.
    holes.sort(key=lambda k: int(rings[k][:, 0].min()))
    joins = _join_parts(rings, outer) | _join_holes(mask, rings, hierarchy[0][:, 3], holes)
    order = [outer[0], *(k for k in joins if k not in set(holes)), *holes]

    branches: dict[int, list[tuple[int, Points]]] = {k: [] for k in order}
    for k in reversed(order[1:]):
        parent, there, here = joins[k]
        branches[parent].append((there, _walk(rings[k], here, branches[k])))
    outline = _straighten(_walk(rings[order[0]], 0, branches[order[0]]))
    # A single pixel has one corner and a line two, but a reader wants three.
    return np.concatenate([outline, np.repeat(outline[-1:], max(0, 3 - len(outline)), axis=0)])


def fill(outline: Points, size: Size) -> Mask:
    """(H, W) bool: the outline (V, 2) x y, whole pixels, with its border and what it encloses."""
    canvas = np.zeros(size, np.uint8)
    cv2.fillPoly(canvas, [outline.astype(np.int32)], 1)
    return canvas.astype(bool)


def _join_holes(
    mask: Mask, rings: list[Points], parents: NDArray[np.int32], holes: list[int]
) -> dict[int, Join]:
    """Where each hole's ring meets what is left of it: another hole's ring, or the part's own outline."""
    if not holes:
        return {}
    # Pixels off the object, in connected pieces; a hole begins right of the leftmost point of its ring.
    _, pieces = cv2.connectedComponents(
        np.pad(~mask, 1, constant_values=True).astype(np.uint8), connectivity=4
    )
    pieces = pieces[1:-1, :]                                               # (H, W + 2): x − 1 is at column x
    leftmost = {k: int(rings[k][:, 0].argmin()) for k in holes}
    starts = {k: rings[k][leftmost[k]].tolist() for k in holes}
    ring_of = {int(pieces[y, x + 2]): k for k, (x, y) in starts.items()}
    where: dict[int, dict[tuple[int, int], int]] = {}
    joins: dict[int, Join] = {}
    for k, (x, y) in starts.items():
        while pieces[y, x] == 0:                                           # the object goes on to the left
            x -= 1
        parent = ring_of.get(int(pieces[y, x]), int(parents[k]))
        if parents[parent] != parents[k]:  # a part that lies in another's hole
            parent = int(parents[k])
        if parent not in where:
            where[parent] = {(px, py): i for i, (px, py) in enumerate(rings[parent].tolist())}
        joins[k] = (parent, where[parent][x, y], leftmost[k])
    return joins


def _join_parts(rings: list[Points], outer: list[int]) -> dict[int, Join]:
    """Each part but the first joined to the nearest that is joined already (Prim's algorithm, by points)."""
    points = np.concatenate([rings[k] for k in outer])
    owner = np.repeat(outer, [len(rings[k]) for k in outer])
    index = np.concatenate([np.arange(len(rings[k])) for k in outer])
    # Of each point that is not joined: the squared distance to the nearest that is, and which one that is.
    nearest = np.full(len(points), np.iinfo(np.int64).max)
    ring_there, index_there = np.zeros((2, len(points)), np.int64)
    joins: dict[int, Join] = {}
    newest = outer[0]
    for _ in outer[1:]:
        left = owner != newest
        points, owner, index = points[left], owner[left], index[left]
        nearest, ring_there, index_there = nearest[left], ring_there[left], index_there[left]
        for start in range(0, len(rings[newest]), 256):                     # in blocks, for memory
            block = rings[newest][start:start + 256]
            square = ((points[:, None] - block[None]) ** 2).sum(-1)         # (P, block)
            there = square.argmin(1)
            square = square[np.arange(len(points)), there]
            closer = square < nearest
            nearest[closer], ring_there[closer] = square[closer], newest
            index_there[closer] = there[closer] + start
        k = int(nearest.argmin())
        newest = int(owner[k])
        joins[newest] = (int(ring_there[k]), int(index_there[k]), int(index[k]))
    return joins


def _walk(ring: Points, start: int, branches: list[tuple[int, Points]]) -> Points:
    """Once around from `start` back to it; every branch is walked where it is joined."""
    around = np.concatenate([ring[start:], ring[:start + 1]])
    pieces, done = [], 0
    for place, branch in sorted((((index - start) % len(ring), walk) for index, walk in branches),
                                key=lambda entry: entry[0]):
        pieces += [around[done:place + 1], branch]
        done = place
    return np.concatenate([*pieces, around[done:]])


def _straighten(ring: Points) -> Points:
    """Leave out repeated points, and those in the middle of a straight run of single steps."""
    ring = ring[np.append(True, (np.diff(ring, axis=0) != 0).any(1))]
    ring = ring[:-1] if len(ring) > 1 and (ring[0] == ring[-1]).all() else ring
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    straight = (before == after).all(1) & (np.abs(before).max(1) == 1)
    bent: Points = ring[~straight]
    return bent

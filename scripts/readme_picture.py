"""The README's pictures, from finished runs.

    python scripts/readme_picture.py runs/nuclei docs/images/demo.png
    python scripts/readme_picture.py generators docs/images/generators.png NAME=FOLDER [NAME=FOLDER …]

The first: the real seed with its labels, synthetic tiles (plain above, known outlines below), the real pool with the
labels that it got. The second, a row per folder of shards: two samples plain, and the same with their outlines.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from synthgen.overlay import draw, fit_to, stretch_for
from synthgen.store import Stored
from synthgen.types import Image, Sample

SIDE, GAP, LEFT = 190, 6, 150


def row(samples: Sequence[Sample], stretch: object, outlined: bool) -> Image:
    """Samples side by side."""
    cells = []
    for sample in samples:
        picture, factor = fit_to(stretch(sample.image), SIDE)  # type: ignore[operator]
        assert sample.labels is not None
        cells.append(draw(picture, sample.labels, factor) if outlined else picture)
    return np.concatenate([np.pad(c, ((0, 0), (0, GAP), (0, 0)), constant_values=255) for c in cells], axis=1)


def page(rows: Sequence[tuple[str, Image]], out: Path) -> None:
    """Write rows under each other, each with a text at its left."""
    height = sum(picture.shape[0] + GAP for _, picture in rows)
    whole = PIL.Image.new("RGB", (LEFT + rows[0][1].shape[1], height), "white")
    pen = PIL.ImageDraw.Draw(whole)
    y = 0
    for text, picture in rows:
        whole.paste(PIL.Image.fromarray(picture), (LEFT, y))
        pen.multiline_text((4, y + 10), text, fill="black", font=PIL.ImageFont.load_default(15))
        y += picture.shape[0] + GAP
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), cv2.cvtColor(np.asarray(whole), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def demo(run: Path, out: Path) -> None:
    """Real tiles, synthetic ones, labelled ones."""
    seed, pool = Stored(run / "0-ingest/seed"), Stored(run / "5-label/shards")
    made = Stored(run / "1-generate/gan/shards")
    synthetic = [made[k * len(made) // 4] for k in range(4)]
    stretch = stretch_for([s.image for s in seed])
    page([
        ("real, labelled\nby a person", row(seed[:4], stretch, True)),
        ("synthetic", row(synthetic, stretch, False)),
        ("… and its known\noutlines", row(synthetic, stretch, True)),
        ("real pool, labelled\nby the labeler", row([pool[k] for k in (0, 2, 4, 6)], stretch, True)),
    ], out)


def generators(out: Path, named: Sequence[str]) -> None:
    """What each generator made, plain and with outlines. named: NAME=FOLDER of shards; levels are the first one's."""
    sides = [(name, Stored(Path(folder))) for name, _, folder in (one.partition("=") for one in named)]
    stretch = stretch_for([s.image for s in sides[0][1]])
    rows = []
    for name, made in sides:
        two = [made[0], made[len(made) // 3]]  # not neighbours: those may share a layout
        rows.append((name, np.concatenate([row(two, stretch, False), row(two, stretch, True)], axis=1)))
    page(rows, out)


def main() -> None:
    """Draw and write a picture."""
    if sys.argv[1] == "generators":
        generators(Path(sys.argv[2]), sys.argv[3:])
    else:
        demo(Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()

"""Build `assets/` byte for byte from the source files: `python scripts/build_assets.py SOURCES [ASSETS]`.

SOURCES holds `nuclei/image.png`, `nuclei/instances.png` and `fashion/fashion.npz`; their SHA-256 are checked
first. Where the originals come from stands in each asset's README.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen.formats.coco import Coco
from synthgen.formats.images import Images
from synthgen.geometry import labels_from_ids
from synthgen.images import read_ids, read_image
from synthgen.store import write_json, write_shard
from synthgen.types import Labels, Sample

SOURCES = {
    "nuclei/image.png": "ce2a3222",
    "nuclei/instances.png": "a8a7462c",
    "fashion/fashion.npz": "ddb40541ebfae0fdd015a032187efc8c4afc3b4a046cab33a9c7cd409452c7ca",
}
TILE = 128
COLUMNS = {"seed": (0,), "pool": (1, 2), "test": (3,)}
CLOTHES = ["t-shirt_top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot"]


def check(sources: Path) -> None:
    """Stop when a source is not the file it should be."""
    for name, digest in SOURCES.items():
        found = hashlib.sha256((sources / name).read_bytes()).hexdigest()
        if not found.startswith(digest):
            raise SystemExit(f"{sources / name}: SHA-256 {found} should begin with {digest}")


def tiles(sources: Path, columns: tuple[int, ...]) -> Iterator[Sample]:
    """The 128-px tiles of some columns, top to bottom; instances that the tile's border cuts are marked truncated."""
    image, ids = read_image(sources / "nuclei/image.png"), read_ids(sources / "nuclei/instances.png")
    for column in columns:
        for row in range(4):
            window = np.s_[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
            inside = ids[window]
            labels = labels_from_ids(inside, {int(k): 0 for k in np.unique(inside) if k}, reviewed="human")
            name = f"tile-r{row}-c{column}"
            yield Sample(name, np.ascontiguousarray(image[window]), labels, meta={"file": f"images/{name}.png"})


def nuclei(sources: Path, out: Path) -> None:
    """Seed, pool, pool-truth and test of the microscopy field."""
    for part, columns in COLUMNS.items():
        writer = Images() if part == "pool" else Coco()
        writer.write(tiles(sources, columns), out / part, ["nucleus"])
    # The truth of the pool is a separate dataset, so that reading the pool cannot read it.
    Coco().write(tiles(sources, COLUMNS["pool"]), out / "pool-truth", ["nucleus"])


def fashion(sources: Path, out: Path) -> None:
    """Seed (25 per class, in order of usefulness to no one), pool and test, each as one shard."""
    with np.load(sources / "fashion/fashion.npz") as data:
        for part, name in (("seed", "seed"), ("pool", "pool"), ("pool-truth", "pool"), ("test", "test")):
            images, classes = data[f"{name}_images"], data[f"{name}_labels"]
            write_shard(out / part, 0, garments(images, classes, known=part != "pool"))
            write_json(out / part / "classes.json", CLOTHES)


def garments(images: NDArray[np.uint8], classes: NDArray[np.integer], known: bool) -> Iterator[Sample]:
    """Samples of 28 × 28 px."""
    for k, (image, label) in enumerate(zip(images, classes, strict=True)):
        rgb = np.repeat(image[..., None], 3, axis=2)
        labels = Labels(size=(28, 28), image_class=int(label), reviewed="human") if known else None
        yield Sample(f"{k:06d}", rgb, labels, meta={"file": f"{k:06d}.png"})


def checksums(folder: Path) -> None:
    """SHA-256 of every file beside its origin and licence."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in ("README.md", "SHA256SUMS"))
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


def main() -> None:
    """Build both assets."""
    sources = Path(sys.argv[1])
    assets = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parents[1] / "assets"
    check(sources)
    for build, name in ((nuclei, "nuclei"), (fashion, "fashion")):
        build(sources, assets / name)
        checksums(assets / name)
        print(f"{assets / name}: {(assets / name / 'SHA256SUMS').read_text().count(chr(10))} files")


if __name__ == "__main__":
    main()

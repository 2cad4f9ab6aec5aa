"""Plain images without labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from synthgen.errors import DataError
from synthgen.formats import Loss, Problem, Reading
from synthgen.formats.files import Names, each_image, write_image
from synthgen.formats.losses import Losses
from synthgen.images import list_images
from synthgen.types import Sample


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Images:
    """Images: a folder of image files (at any depth), no labels; written as one flat folder of PNGs."""

    def matches(self, path: Path) -> bool:
        """Whether images lie in the folder itself or in `images/`, with nothing there that labels them."""
        if not path.is_dir():
            return False
        folders = {p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")}
        labelled = any(p.suffix in (".json", ".tar", ".yaml", ".yml", ".xml") for p in path.iterdir())
        files = list_images(path)
        return (
            bool(files) and not labelled and (folders == {"images"} or any(f.parent == path for f in files))
        )

    def classes(self, path: Path) -> list[str]:  # noqa: ARG002 (the protocol has it)
        """No classes."""
        return []

    def read(
        self, path: Path, classes: Sequence[str], reading: Reading  # noqa: ARG002 (the protocol has it)
    ) -> Iterator[Sample | Problem]:
        """Unlabelled samples, sorted by path. Raises: DataError when the path is no folder."""
        if not path.is_dir():
            raise DataError(f"{path}: there is no such folder of images")
        for k, (_, name, image) in enumerate(each_image(path, path, reading)):
            if isinstance(image, Problem):
                yield image
            else:
                yield Sample(f"{k:06d}", image, None, meta={"file": name})

    def write(
        self, samples: Iterable[Sample], folder: Path, classes: Sequence[str]  # noqa: ARG002 (as above)
    ) -> list[Loss]:
        """Write the images alone; everything that is known about them is a loss."""
        names, losses = Names(), Losses()
        folder.mkdir(parents=True, exist_ok=True)
        for sample in samples:
            stem = names.stem(sample)
            write_image(folder / f"{stem}.png", sample.image)
            if sample.labels is not None:
                losses.add("all labels", stem)
        return losses.report()

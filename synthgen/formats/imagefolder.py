"""ImageFolder: the folder that an image lies in is its class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from synthgen.errors import DataError
from synthgen.formats import Loss, Problem, Reading
from synthgen.formats.files import SPLITS, Names, each_image, unknown_class, write_image
from synthgen.formats.losses import Losses, Part
from synthgen.formats.masks import folder_of_masks
from synthgen.images import list_images
from synthgen.types import Labels, Sample

HOLDS: frozenset[Part] = frozenset({"image_class", "empty", "split"})
RESERVED = {"images", "masks", "labels", "annotations", "JPEGImages", "Annotations", "SegmentationClass",
            "SegmentationObject", "ImageSets"}  # of other formats


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class ImageFolder:
    """ImageFolder: CLASS/x.png, or SPLIT/CLASS/x.png with splits called train, val, test, for classification.

    Written with splits when the first sample's meta has one. A class without images is an empty folder.
    """

    TASKS: ClassVar[tuple[str, ...]] = ("classify",)

    def matches(self, path: Path) -> bool:
        """Whether every image lies in a class folder, all at the same depth."""
        try:
            if not path.is_dir() or RESERVED & set(_folders(path)) or folder_of_masks(path) is not None:
                return False
            classes = _layout(path)[1]
            return bool(classes) and not any(RESERVED & set(names) for names in classes.values())
        except DataError:
            return False

    def classes(self, path: Path) -> list[str]:
        """Names of the class folders, sorted. Raises: DataError when images lie at different depths."""
        return sorted({name for names in _layout(path)[1].values() for name in names})

    def read(self, path: Path, classes: Sequence[str], reading: Reading) -> Iterator[Sample | Problem]:
        """Samples with an image class, sorted by path.

        Raises: DataError when the path is no folder, or images lie at different depths.
        """
        split_layout, _ = _layout(path)
        index = {name: k for k, name in enumerate(classes)}
        for k, (_, name, image) in enumerate(each_image(path, path, reading)):
            if isinstance(image, Problem):
                yield image
                continue
            *split, folder, _ = name.split("/")
            if folder not in index:
                yield Problem(name, "", unknown_class(folder, classes), "quarantined")
                continue
            labels = Labels(
                size=(image.shape[0], image.shape[1]), image_class=index[folder], reviewed="human"
            )
            meta = {"file": name, "split": split[0]} if split_layout else {"file": name}
            yield Sample(f"{k:06d}", image, labels, meta=meta)

    def write(self, samples: Iterable[Sample], folder: Path, classes: Sequence[str]) -> list[Loss]:
        """Write a folder per class; an image without a class cannot be held and is left out.

        Raises: DataError for a class name that cannot name a folder.
        """
        for name in classes:
            if name in ("", ".", "..") or name.startswith(".") or set("/\\\0") & set(name):
                raise DataError(
                    f"the class name {name!r} cannot name a folder; rename the class to write imagefolder"
                )
        names, losses = Names(), Losses()
        parts: set[str] = set()
        with_splits: bool | None = None
        for sample in samples:
            stem = names.stem(sample)
            if sample.labels is None or sample.labels.image_class is None:
                losses.add("images without a class: they are left out", stem)
                continue
            with_splits = "split" in sample.meta if with_splits is None else with_splits
            part = str(sample.meta.get("split", "train")) if with_splits else ""
            part = part if part in SPLITS or not part else "train"
            parts.add(part)
            losses.compare(sample, stem, HOLDS)
            write_image(folder / part / classes[sample.labels.image_class] / f"{stem}.png", sample.image)
        for part in parts or {""}:
            for name in classes:
                (folder / part / name).mkdir(parents=True, exist_ok=True)
        return losses.report()


def _folders(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _layout(path: Path) -> tuple[bool, dict[str, list[str]]]:
    """Whether there are splits, and the class folders of each split ("" without splits).

    Raises: DataError when the path is no folder, or images do not all lie at the same depth.
    """
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder of class folders")
    tops = _folders(path)
    depths = {len(p.relative_to(path).parts) for p in list_images(path)}
    if len(depths) > 1 or depths - {2, 3}:
        raise DataError(f"{path}: images must all lie in CLASS/ or all in SPLIT/CLASS/, but lie "
                        f"{' and '.join(str(d - 1) for d in sorted(depths))} folders deep")
    if depths == {3}:
        if strange := [t for t in tops if t.lower() not in SPLITS]:
            raise DataError(f"{path}: images lie two folders deep, so that the first must be a split "
                            f"({', '.join(SPLITS)}), not {strange[0]!r}")
        return True, {top: _folders(path / top) for top in tops}
    return False, {"": tops} if depths else {}

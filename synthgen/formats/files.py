"""What formats do with files: paths that stay inside, images that may be damaged, names that are unique."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from synthgen.errors import DataError
from synthgen.formats import Problem, Reading
from synthgen.images import image_size, list_images, png_bytes, read_image
from synthgen.types import Image, Json, Sample

SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")


def inside(root: Path, name: str, places: Sequence[str] = ("",)) -> Path:
    """The file that a dataset calls `name`, looked for in `places` (folders relative to `root`).

    Raises: DataError when the name is absolute, has a drive letter, climbs out of `root` or leaves it by a
    symbolic link, or when there is no such file. The message starts with what is wrong, not with the path.
    """
    if "\0" in name or not name.strip():
        raise DataError(f"the file name {name!r} is not one")
    # A dataset made on Windows has backslashes; here one may be a plain character of a name that exists.
    slashed = name if "\\" not in name or _exists(root / name) else name.replace("\\", "/")
    if slashed.startswith("/") or name.startswith("\\") or re.match(r"[A-Za-z]:", name):
        raise DataError("its path is absolute; paths must be relative to the dataset")
    if ".." in slashed.split("/"):
        raise DataError("its path climbs with '..'; files must lie inside the dataset")
    home = root.resolve()
    for place in places:
        path = root / place / slashed
        try:
            there = path.exists() or path.is_symlink()
            if not there:
                continue
            real = path.resolve()
        except (OSError, RuntimeError) as error:
            raise DataError(f"its path cannot be followed ({type(error).__name__})") from None
        if not real.is_relative_to(home):
            raise DataError("its path is a symbolic link that leaves the dataset; copy the file in")
        if not real.is_file():
            raise DataError("it is no regular file" if real.exists() else "its symbolic link leads nowhere")
        return path
    raise DataError("there is no such file")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:                                             # a name longer than the file system takes
        return False


def relative(path: Path, root: Path) -> str:
    """The path inside the dataset with forward slashes; bytes that are no UTF-8 are shown as \\xNN."""
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


def open_image(path: Path, name: str, reading: Reading) -> Image | Problem:
    """(H, W, 3) uint8 RGB, or the Problem in its place; without pixels, zeros of the size in the header."""
    try:
        if not reading.pixels:
            return np.zeros((*image_size(path, reading.max_pixels), 3), np.uint8)
        return read_image(path, reading.bits, reading.max_pixels)
    except DataError as error:
        return Problem(name, "", str(error).removeprefix(f"{path}: "), "quarantined")


def each_image(root: Path, folder: Path, reading: Reading) -> Iterator[tuple[Path, str, Image | Problem]]:
    """(path, name inside `root`, image or Problem) of every image file below `folder`, sorted."""
    for path in list_images(folder):
        name = relative(path, root)
        try:
            inside(root, path.relative_to(root).as_posix())
        except DataError as error:
            yield path, name, Problem(name, "", str(error), "quarantined")
            continue
        yield path, name, open_image(path, name, reading)


def load_json(path: Path) -> Json:
    """What a JSON file of the user holds.

    Raises: DataError with file:line:column when it is no JSON, or no UTF-8.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}:{error.colno}: this is no valid JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is no UTF-8; save the file as UTF-8") from None
    except RecursionError:
        raise DataError(f"{path}: the JSON is nested too deeply") from None
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror})") from None


def class_index(names: Sequence[str], classes: Sequence[str]) -> list[int | None]:
    """For each class name of a file its index in `classes`, by name; None for a name that is not there."""
    known = {name: k for k, name in enumerate(classes)}
    return [known.get(name) for name in names]


def unknown_class(name: str, classes: Sequence[str]) -> str:
    """The sentence for a class that the recipe does not name."""
    some = ", ".join(classes[:8]) + (", …" if len(classes) > 8 else "")
    return f"its class {name!r} is not among the classes wanted ({some or 'none'})"


class Names:
    """File names for exported images: the original stem, made unique, or else the sample's id."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def stem(self, sample: Sample) -> str:
        """A name without ending, free of characters that some file system refuses; never the same twice."""
        file = str(sample.meta.get("file", "")).replace("\\", "/").rsplit("/", 1)[-1]
        stem = file.rsplit(".", 1)[0] if "." in file[1:] else file
        base = "".join("_" if c in '<>:"/\\|?*' or not c.isprintable() else c for c in stem or sample.id)
        base = base.lstrip(".").strip() or "image"
        while len(base.encode()) > 180:                       # names end at 255 bytes
            base = base[:-1]
        k, name = 1, base
        # Case and composition of accents do not tell files apart on every system.
        while (key := unicodedata.normalize("NFC", name).casefold()) in self.taken:
            k += 1
            name = f"{base}-{k}"
        self.taken.add(key)
        return name


def write_image(path: Path, image: Image) -> None:
    """Write (H, W, 3) RGB as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png_bytes(image))

"""Images from files nobody vouches for, into (H, W, 3) uint8 RGB; and back to PNG."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from synthgen.errors import DataError
from synthgen.types import Image, Size

EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
MAX_PIXELS = 89_478_485                       # Pillow's own limit for a decompression bomb
Bits = Literal[8, 10, 12, 14, 16]


def list_images(folder: Path) -> list[Path]:
    """Image files below a folder, sorted by their path; hidden files and folders are left out."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        found += [Path(root) / n for n in names if n.lower().endswith(EXTENSIONS) and not n.startswith(".")]
    return sorted(found)


def image_size(path: Path, max_pixels: int = MAX_PIXELS) -> Size:
    """(H, W) px as the image will be read (EXIF orientation applied), from the header alone.

    Raises: DataError for a file that is no image, is cut off, or is larger than `max_pixels`.
    """
    with _Opened(path, max_pixels) as image:
        w, h = image.size
        try:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        except Exception as error:                     # of a PNG it is looked for behind the pixels
            raise DataError(f"{path}: the file is damaged or cut off ({error})") from None
    return (w, h) if turned else (h, w)


def read_image(path: Path, bits: Bits = 16, max_pixels: int = MAX_PIXELS) -> Image:
    """(H, W, 3) uint8 RGB from any image file that Pillow reads; EXIF orientation is applied.

    16-bit grey is divided by 2**(bits − 8), so that a 12-bit camera keeps its range with bits = 12; alpha
    is put over black; of an animation the first frame is taken.
    Raises: DataError for a file that cannot be decoded whole, or is larger than `max_pixels`.
    """
    with _Opened(path, max_pixels) as image:
        try:
            image.load()
            image = PIL.ImageOps.exif_transpose(image)
        except Exception as error:
            raise DataError(f"{path}: the file is damaged or cut off ({error})") from None
        if image.mode.startswith("F"):
            raise DataError(f"{path}: floating-point pixels have no known range; save it as 8- or 16-bit grey")
        if image.mode.startswith("I"):
            grey = np.asarray(image, np.float64) / 2.0 ** (bits - 8)
            return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            rgba = image.convert("RGBA")
            image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
        return np.array(image.convert("RGB"))


def bits_of(path: Path, max_pixels: int = MAX_PIXELS) -> Bits | None:
    """The fewest bits that hold the largest value of a 16-bit grey image; None for other images.

    Raises: DataError for a file that cannot be decoded, or is larger than `max_pixels`.
    """
    with _Opened(path, max_pixels) as image:
        if not image.mode.startswith("I"):
            return None
        try:
            largest = int(np.asarray(image).max(initial=0))
        except Exception as error:
            raise DataError(f"{path}: the file is damaged or cut off ({error})") from None
        return next((bits for bits in get_args(Bits) if largest < 2**bits), 16)


def read_ids(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.int32]:
    """(H, W) int32 ids from a mask PNG: 8- or 16-bit grey, palette (the index, not the colour), or grey that was saved
    as RGB.

    Raises: DataError for a file that cannot be decoded, or holds colours instead of ids.
    """
    with _Opened(path, max_pixels) as image:
        try:
            ids = np.asarray(image)
        except Exception as error:
            raise DataError(f"{path}: the file is damaged or cut off ({error})") from None
        if image.mode in ("RGB", "RGBA") and (ids[..., 1:3] == ids[..., :1]).all() and (ids[..., 3:] == 255).all():
            ids = ids[..., 0]
        if ids.ndim != 2:
            raise DataError(f"{path}: a mask must have one channel of ids (grey or palette), this one has colours "
                            f"({image.mode})")
        return ids.astype(np.int32)


class _Opened:
    """A Pillow image whose header was judged before anything is decoded."""

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path, self.max_pixels = path, max_pixels

    def __enter__(self) -> PIL.Image.Image:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
                self.image = PIL.Image.open(self.path)
        except FileNotFoundError:
            raise DataError(f"{self.path}: there is no such file") from None
        except PIL.Image.DecompressionBombError as error:
            raise DataError(f"{self.path}: {error}") from None
        except Exception:
            raise DataError(f"{self.path}: this is no image file that can be read") from None
        w, h = self.image.size
        if w * h > self.max_pixels:
            self.image.close()
            raise DataError(f"{self.path}: its header says {w} × {h} px, more than the {self.max_pixels:,} "
                            "that are decoded (data.max_pixels)")
        return self.image

    def __exit__(self, *error: object) -> None:
        self.image.close()


def png_bytes(array: NDArray[np.uint8] | NDArray[np.uint16], level: int = 1) -> bytes:
    """PNG of (H, W, 3) RGB or (H, W) grey; fast compression by default, the same bytes each time."""
    bgr = cv2.cvtColor(array, cv2.COLOR_RGB2BGR) if array.ndim == 3 else array
    ok, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, level])
    assert ok
    return bytes(data.tobytes())


def from_png(data: bytes) -> Image:
    """(H, W, 3) uint8 RGB from PNG bytes that we wrote."""
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise DataError("a stored image cannot be decoded: the shard is damaged")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def jpeg_bytes(image: Image, longest: int, quality: int = 85) -> bytes:
    """A JPEG of the image, shrunk so that its longer side is at most `longest` px."""
    small = PIL.Image.fromarray(image)
    small.thumbnail((longest, longest))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=quality)
    return out.getvalue()


def hash_image(image: Image) -> str:
    """SHA-256 of the pixels and the size, hex."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def iter_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, sorted."""
    yield from sorted(p for p in folder.rglob("*") if p.is_file())

"""The seal of a certified dataset: a hash of all its files, by which a change of its labels or images is noticed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from synthgen.images import iter_files
from synthgen.store import write_json
from synthgen.types import Json

FILE = "certificate.json"


def digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of all files but the certificate itself.

    Names are part of it, since a format may say the class of an image by its folder; images too, since one may hold
    masks.
    """
    whole = hashlib.sha256()
    for path in sorted(iter_files(folder), key=lambda p: p.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix()
        if name == FILE:
            continue
        whole.update(name.encode() + b"\0")
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def seal(folder: Path, certificate: Json) -> None:
    """Put a certificate into a dataset's folder, after all other files."""
    write_json(folder / FILE, {**certificate, "sealed": digest(folder)})


def broken(folder: Path) -> str | None:
    """Why the certificate in a dataset's folder is void, or None where it holds or there is none."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        sealed = json.loads(path.read_text("utf-8"))["sealed"]
    except (OSError, ValueError, KeyError, TypeError):
        return "the certificate is VOID: it cannot be read"
    if sealed != digest(folder):
        return "the certificate is VOID: labels or files changed after it was given; certify them anew"
    return None

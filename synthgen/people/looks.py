"""How often people have looked at an audit: `looks.json`, beside what they decided, so that no stage removes it.

A look is known by what it looked at: the question, the images that were drawn, what was answered about them, and the
labels that were judged with their order of doubt. The same once more is the same look, and keeps its number, whatever
was looked at in between. Anything else is another one, labels of a model trained anew under old answers among them:
they are judged by answers that have been seen, and are one more chance to be lucky. So is another pool: one that is
another subject has a run of its own.
"""

from __future__ import annotations

from pathlib import Path

from synthgen.errors import DataError
from synthgen.store import read_json, write_json
from synthgen.types import Json

FILE = "looks.json"


def number_of(folder: Path, promise: str, seen: str) -> int:
    """Which look this is, or would be, counted from 1 for each kind of promise.

    folder: of people's decisions. promise: its kind, as `mean error`. seen: a hash of all that the look is known by.
    Raises: DataError when the file cannot be read: which looks were taken is then not known.
    """
    mine = [look["seen"] for look in _read(folder / FILE) if look["promise"] == promise]
    return mine.index(seen) + 1 if seen in mine else len(mine) + 1


def write_down(folder: Path, promise: str, seen: str) -> None:
    """Count a look, before anybody is told what it showed; one that is counted already is not counted again.

    Raises: as `number_of`.
    """
    looks, look = _read(folder / FILE), {"promise": promise, "seen": seen}
    if look not in looks:
        write_json(folder / FILE, [*looks, look])


def told(number: int, sure: float, *, counted: bool) -> Json:
    """What a certificate says of its look. sure: the confidence at which it was judged."""
    return {"number": number, "risk": round(1 - sure, 12), "confidence": round(sure, 12), "counted": counted}


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    try:
        looks = read_json(path)
        if all(isinstance(look["promise"], str) and isinstance(look["seen"], str) for look in looks):
            return list(looks)
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{path}: this is no list of looks, and without it nobody knows how often the audit was looked at; "
                    "restore the file from a copy, or begin anew in a run of another name")

"""Feature extractors, and which numbers made from features may be compared.

A number is comparable only inside one extractor: the same plug-in, version, weights and preprocessing, and images of
one side. Every extractor says these of itself in its identity, verdicts carry the identities, and `comparable` refuses
the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from synthgen.errors import DataError
from synthgen.store import read_json, write_json
from synthgen.types import Json

FACTS = ("id", "version", "weights", "preprocessing", "side")
"""What two identities must share, so that their numbers can be compared."""
FILE = "extractor.json"


def identity(name: str, version: str, *, weights: str = "", preprocessing: Json = None) -> dict[str, Json]:
    """Who an extractor is: {"id", "version", "weights", "preprocessing"}, all text.

    weights: hash of what was learned, "" where nothing was. preprocessing: JSON that says everything that is done to an
    image before the weights meet it; kept as its hash.
    """
    return {"id": name, "version": version, "weights": weights, "preprocessing": hash_json(preprocessing)}


def hash_json(value: Json) -> str:
    """The first 16 hex digits of the SHA-256 of JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def hash_folder(folder: Path) -> str:
    """The first 16 hex digits of a SHA-256 over the names and bytes of a folder's files."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        inside = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()} {inside}\n".encode())
    return total.hexdigest()[:16]


def short(known: Mapping[str, Json]) -> str:
    """`spectrum@1f0c9a2b`: an identity as people write it down."""
    return f"{known['id']}@{hash_json({fact: known.get(fact) for fact in FACTS})[:8]}"


def keep(folder: Path, known: Mapping[str, Json]) -> None:
    """Write an identity beside what an extractor saves."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, dict(known))


def kept(folder: Path, name: str) -> dict[str, Json]:
    """The identity that `keep` wrote. Raises: DataError when the folder holds none, or another extractor's."""
    try:
        known: dict[str, Json] = read_json(folder / FILE)
        found = known["id"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{folder}: there is no feature extractor here; name a folder that one was saved to") from None
    if found != name:
        raise DataError(f"{folder}: this is the feature extractor {found!r}, not {name!r}; load it with the one that "
                        "saved it")
    return known


def check_same(folder: Path, mine: Mapping[str, Json]) -> None:
    """Assure that a folder holds this very extractor, for those that learn nothing and so have nothing to load.

    Raises: DataError when it does not.
    """
    theirs = kept(folder, str(mine["id"]))
    if other := _difference(theirs, mine):
        raise DataError(f"{folder}: {mine['id']} was saved with {other}; remake it with the options of now")


def comparable(a: Mapping[str, Json], b: Mapping[str, Json]) -> None:
    """Assure that the numbers of two verdicts (what verdict.json holds) were made by the same extractors.

    Only families that both have are looked at: those of one verdict alone have nothing to be compared with.
    Raises: DataError where an extractor differs, or where a verdict does not say which made it.
    """
    for verdict in (a, b):
        if "extractors" not in verdict:
            raise DataError("one of the two verdicts does not say which extractors made its features, so its numbers "
                            "cannot be compared; run synthgen evaluate again to have one that does")
    for family in sorted(set(a["extractors"]) & set(b["extractors"])):
        mine, theirs = a["extractors"][family], b["extractors"][family]
        if other := _difference(mine, theirs):
            raise DataError(
                f"the two verdicts' {family} features were made by {short(mine)} and {short(theirs)}, which have "
                f"{other}, so their numbers cannot be compared; judge both datasets with the same extractor")


def _difference(a: Mapping[str, Json], b: Mapping[str, Json]) -> str:
    """In words what differs between two identities; "" where nothing does."""
    words = [f"another {fact} ({a.get(fact)} and {b.get(fact)})" for fact in FACTS if a.get(fact) != b.get(fact)]
    return ", ".join(words)

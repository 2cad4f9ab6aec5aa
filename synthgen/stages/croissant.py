"""The card's twin for machines: Croissant 1.0 (JSON-LD, mlcommons.org/croissant/1.0) with its RAI vocabulary 1.0.

Not written, though Croissant recommends them: `url`, `creator`, `citeAs` and `version`, since nobody told us, and
`datePublished`, since a date would make other bytes each time. `rai:hasSyntheticData` and the collection type
`Synthetic` go beyond RAI 1.0's lists; they are in use, and other readers pass over them.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from synthgen import __version__
from synthgen.images import iter_files
from synthgen.stages.card import FILE as CARD
from synthgen.stages.card import Facts
from synthgen.types import Json

FILE = "croissant.json"
OURS = {CARD, FILE, "needs.json", "done.json"}  # beside the data: the two cards, and the run's own marks
SINGLE = 16  # root files of one kind that are listed one by one, with their hashes; more become a file set
KINDS = {
    ".png": "image/png", ".jpg": "image/jpeg", ".json": "application/json", ".txt": "text/plain",
    ".tar": "application/x-tar", ".yaml": "application/yaml", ".yml": "application/yaml", ".csv": "text/csv",
}
PLACES = {"images", "labels", "masks", "annotations"}  # folders that mean the same in every dataset; others are names
CONTEXT: dict[str, Json] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in (
        "citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format",
        "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references",
        "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform")},
}


def croissant(facts: Facts, folder: Path) -> Json:
    """The dataset in `folder` as JSON-LD; what is listed are the files that lie there now."""
    synthetic = any("synthetic" in part.kinds for part in facts.parts)
    found: dict[str, Json] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": facts.name,
        "description": f"{facts.headline}. {facts.about} {CARD} beside this file says more.",
        "keywords": ["computer vision", facts.task, *(["synthetic data"] if synthetic else [])],
        "license": {"@type": "sc:CreativeWork", "name": facts.licence},
        # A review is what schema.org has for a judgement of a work, with the one who judged.
        "review": {
            "@type": "sc:Review",
            "name": "verdict of the gate",
            "author": {"@type": "sc:SoftwareApplication", "name": "synthgen", "softwareVersion": __version__},
            "reviewBody": " ".join([f"{facts.headline}.", *facts.reasons]),
        },
        "distribution": _distribution(folder),
        "rai:dataCollection": "; ".join(f"{part.title}: {part.images} images" for part in facts.parts)
        + ". How the real images were taken is not known to synthgen.",
        "rai:dataAnnotationProtocol": "; ".join(
            f"{part.title}: {known}" for part, known in zip(facts.parts, facts.known, strict=True)),
        "rai:dataBiases": list(facts.biases) or ["None was measured."],
        "rai:dataLimitations": list(facts.limits),
        "rai:dataPreprocessingProtocol": [*facts.left_out, *(f"{x.what}: {x.count}" for x in facts.losses)]
        or ["Nothing was left out."],
        "rai:hasSyntheticData": synthetic,
    }
    if synthetic:
        found["rai:dataCollectionType"] = ["Synthetic"]
    if facts.format == "coco" and (folder / "annotations.json").is_file():
        # Labels of other formats stand where no rule of Croissant reads them: lines of text, ids of pixels, folders.
        found["recordSet"] = [_images(), _categories(), _annotations()]
        # Readers (mlcroissant 1.1) join all that is extracted from one file object into one table: each list of the
        # file, being of its own length, needs an object of its own.
        whole = _file(folder, PurePosixPath("annotations.json"))
        found["distribution"] += [
            whole | {"@id": f"annotations.json-{part}", "name": f"annotations.json, its list of {part}"}
            for part in ("images", "categories")
        ]
    return found


def as_text(value: Json) -> str:
    """JSON with sorted keys, safe inside a page's script element, where sites put it: no `<`, `>` or `&` as such."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False) + "\n"
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _distribution(folder: Path) -> list[Json]:
    """A FileObject with its hash for each single file at the root, a FileSet for each kind of file in folders."""
    names = [PurePosixPath(p.relative_to(folder).as_posix()) for p in iter_files(folder)]
    roots: dict[str, list[PurePosixPath]] = defaultdict(list)
    sets: dict[tuple[str, str], set[str]] = defaultdict(set)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for name in names:
        if name.name.startswith(".") or (len(name.parts) == 1 and name.name in OURS):
            continue
        if len(name.parts) == 1:
            roots[name.suffix].append(name)
        else:
            place = name.parts[0] if name.parts[0] in PLACES else "*"
            key = (place, name.suffix)
            sets[key].add("/".join([place, *["*"] * (len(name.parts) - 2), f"*{name.suffix}"]))
            counts[key] += 1
    out: list[Json] = []
    for suffix, files in roots.items():
        if len(files) <= SINGLE:
            out += [_file(folder, name) for name in files]
        else:
            sets["", suffix], counts["", suffix] = {f"*{suffix}"}, len(files)
    for key, patterns in sorted(sets.items()):
        place, suffix = key
        out.append({
            "@type": "cr:FileSet",
            "@id": f"{'files' if place in ('', '*') else place}-{suffix.lstrip('.') or 'plain'}",
            "description": f"{counts[key]} files",
            "encodingFormat": _kind(suffix),
            "includes": _one_or_all(sorted(patterns)),
        })
    return out


def _file(folder: Path, name: PurePosixPath) -> Json:
    with (folder / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": str(name),
        "name": str(name),
        "contentUrl": str(name),
        "contentSize": f"{(folder / name).stat().st_size} B",
        "encodingFormat": _kind(name.suffix),
        "sha256": digest,
    }


def _kind(suffix: str) -> str:
    return KINDS.get(suffix.lower(), "application/octet-stream")


def _one_or_all(values: list[str]) -> Json:
    return values[0] if len(values) == 1 else values


def _images() -> Json:
    return _records("images", [("id", "sc:Integer"), ("file_name", "sc:Text"), ("width", "sc:Integer"),
                               ("height", "sc:Integer")])


def _categories() -> Json:
    return _records("categories", [("id", "sc:Integer"), ("name", "sc:Text")])


def _annotations() -> Json:
    made = _records("annotations", [("id", "sc:Integer"), ("image_id", "sc:Integer"), ("category_id", "sc:Integer"),
                                    ("bbox", "sc:Float"), ("area", "sc:Float"), ("iscrowd", "sc:Integer")])
    for entry in made["field"]:
        name = entry["name"].split("/")[1]
        if name in ("image_id", "category_id"):
            entry["references"] = {"field": {"@id": "images/id" if name == "image_id" else "categories/id"}}
        if name == "bbox":
            entry |= {"repeated": True, "description": "x, y of the top left corner, width, height; px"}
    made["description"] = "one per object; iscrowd 1 = ignored pixels, once for every category"
    return made


def _records(list_name: str, fields: Iterable[tuple[str, str]]) -> Json:
    """A record set whose records are the entries of one list of annotations.json."""
    file = "annotations.json" if list_name == "annotations" else f"annotations.json-{list_name}"
    return {
        "@type": "cr:RecordSet",
        "@id": list_name,
        "name": list_name,
        "key": {"@id": f"{list_name}/id"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{list_name}/{name}",
                "name": f"{list_name}/{name}",
                "dataType": kind,
                "source": {"fileObject": {"@id": file},
                           "extract": {"jsonPath": f"$.{list_name}[*].{name}"}},
            }
            for name, kind in fields
        ],
    }

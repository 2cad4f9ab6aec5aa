"""XML of people's files, read without document types or entities, and written the same each time."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from xml.parsers import expat

from synthgen.errors import DataError

DEEPEST = 64  # elements inside one another; no format that we read has more than six
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def parse_xml(path: Path) -> ET.Element:
    """The root element of a file.

    A document type is refused before anything in it is looked at: with it go entities, and with them files and
    addresses that a document could name, and the few lines that expand to gigabytes.
    Raises: DataError with file:line:column when it is no well-formed XML, has a document type, or is nested too deep.
    """
    builder, depth = ET.TreeBuilder(), 0
    parser = expat.ParserCreate()

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise DataError(f"{path}:{parser.CurrentLineNumber}: the XML is nested more than {DEEPEST} deep")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise DataError(
            f"{path}:{parser.CurrentLineNumber}: it declares a document type (<!DOCTYPE …>), with which a file can "
            "read other files; annotation files need none: delete the declaration"
        )

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
        return builder.close()
    except expat.ExpatError as error:
        what = expat.errors.messages[error.code]
        raise DataError(f"{path}:{error.lineno}:{error.offset + 1}: this is no valid XML: {what}") from None
    except (LookupError, ValueError) as error:  # an encoding that nobody knows
        raise DataError(f"{path}: this is no valid XML ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror})") from None


def xml_bytes(root: ET.Element, declared: bool = True) -> bytes:
    """The document, UTF-8, indented by two; `declared`: with the line <?xml …?>."""
    ET.indent(root)
    data: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=declared)
    return data + b"\n"


def put(parent: ET.Element, tag: str, text: object = None) -> ET.Element:
    """A new last child, with text."""
    child = ET.SubElement(parent, tag)
    child.text = None if text is None else str(text)
    return child


def text_of(element: ET.Element, path: str, default: str = "") -> str:
    """The text of a descendant without spaces around it; `default` where there is none."""
    return (element.findtext(path) or default).strip()


def refuse_unwritable(names: list[str], what: str) -> None:
    """Raises: DataError for a class name that XML cannot hold."""
    for name in names:
        if FORBIDDEN.search(name):
            raise DataError(f"the class name {name!r} holds a control character, which XML cannot; rename it to "
                            f"write {what}")

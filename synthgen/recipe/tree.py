"""YAML as a tree of values that know where they stand.

The tree is built from ruamel.yaml's event stream: events carry positions, every duplicate key can be told
(not only the first), and a hostile file is refused while it is read, before anything was expanded. Nothing
but ruamel.yaml's events and its scalar rules (YAML 1.2: `yes` is text, `012` is twelve) is used here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import ScalarNode

from synthgen.types import Json

MAX_BYTES = 1 << 20
MAX_ALIASES = 100
MAX_DEPTH = 64
MAX_NODES = 100_000           # with aliases expanded: 100 aliases of aliases can stand for billions of values

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A text that recipes are read from: a file, or (path None) one -S override.

    name: what errors call it. folder: what relative paths in it are relative to.
    """

    name: str
    text: str
    folder: Path
    path: Path | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands; line and column count from 1, width in characters."""

    source: Source
    line: int
    column: int
    width: int = 1
    start: int = 0                   # index into source.text
    end: int = 0


@dataclass(slots=True, eq=False)
class Node:
    """A value, the place where it stands and the place of the key that it belongs to.

    raw: for strings with `${env:..}` in them, the text before the environment was looked up.
    """

    value: dict[str, Node] | list[Node] | Scalar
    place: Place
    key: Place | None = None
    raw: str | None = None

    @property
    def at(self) -> Place:
        """Where to point: at a scalar itself, but at the key of a whole map, list or empty value."""
        if self.key is not None and (isinstance(self.value, dict | list) or self.value is None):
            return self.key
        return self.place

    def plain(self, secret: bool = False) -> Json:
        """The value as plain JSON; `secret` keeps `${env:..}` as it was written."""
        if isinstance(self.value, dict):
            return {k: v.plain(secret) for k, v in self.value.items()}
        if isinstance(self.value, list):
            return [v.plain(secret) for v in self.value]
        return self.raw if secret and self.raw is not None else self.value

    def walk(self) -> Iterator[Node]:
        """This node and every one below it."""
        yield self
        if isinstance(self.value, dict | list):
            for child in self.value.values() if isinstance(self.value, dict) else self.value:
                yield from child.walk()

    def copy(self, key: Place | None = None) -> Node:
        """A node of its own, children too; `key` stands in for its key's place."""
        value = self.value
        if isinstance(value, dict):
            value = {k: v.copy() for k, v in value.items()}
        elif isinstance(value, list):
            value = [v.copy() for v in value]
        return replace(self, value=value, key=key or self.key)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with the text as YAML."""

    place: Place
    message: str
    hint: str = ""


class UnreadableError(Exception):
    """The text cannot be read as YAML at all: holds the one fault that ended the reading."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(slots=True)
class _Reader:
    source: Source
    events: Iterator[Event]
    yaml: YAML
    faults: list[Fault] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    aliases: int = 0
    nodes: int = 0

    def place(self, event: Event) -> Place:
        start, end = event.start_mark, event.end_mark
        index = start.index
        if start.index == end.index:
            # The mark of an empty value stands at the next token, maybe lines below: back to its `key:`.
            return _place_of(self.source, max(0, len(self.source.text[:index].rstrip()) - 1))
        width = end.index - start.index
        return Place(self.source, start.line + 1, start.column + 1, width, start.index, end.index)

    def stop(self, event: Event, message: str, hint: str = "") -> UnreadableError:
        return UnreadableError(Fault(self.place(event), message, hint))

    def count(self, event: Event, n: int) -> None:
        self.nodes += n
        if self.nodes > MAX_NODES:
            raise self.stop(event, f"more than {MAX_NODES:,} values, with aliases expanded",
                            "write it without aliases.")

    def node(self, event: Event, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.stop(event, f"nested more than {MAX_DEPTH} levels deep")
        self.count(event, 1)
        if isinstance(event, AliasEvent):
            return self.alias(event)
        tag = getattr(event, "tag", None)
        if tag:
            shown = str(tag).replace("tag:yaml.org,2002:", "!!")
            raise self.stop(event, f"the tag {shown} is not allowed; a recipe holds plain values only",
                            "remove the tag.")
        before = self.nodes
        if isinstance(event, MappingStartEvent):
            entries = self.mapping(depth)
            first = next(iter(entries.values())).key if entries and not event.flow_style else None
            # A block's own mark may stand at a comment above it: its first key is what people see.
            node = Node(entries, first or self.place(event))
        elif isinstance(event, SequenceStartEvent):
            node = Node(self.sequence(depth), self.place(event))
        else:
            assert isinstance(event, ScalarEvent)
            node = Node(self.scalar(event), self.place(event))
        if event.anchor:
            self.anchors[event.anchor] = node
            self.sizes[id(node)] = self.nodes - before + 1
        return node

    def alias(self, event: AliasEvent) -> Node:
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise self.stop(event, f"more than {MAX_ALIASES} aliases")
        if event.anchor not in self.anchors:
            # Anchors are known once their value is complete, so a value cannot contain itself.
            raise self.stop(event, f"the alias *{event.anchor} stands for no value above it")
        target = self.anchors[event.anchor]
        self.count(event, self.sizes[id(target)])
        return target.copy()

    def mapping(self, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            if not isinstance(event, ScalarEvent) or event.value == "" or event.tag:
                raise self.stop(event, "a key must be a plain word")
            key, at = str(event.value), self.place(event)
            child = self.node(next(self.events), depth + 1)
            child.key = at
            if key == "<<" and event.implicit[0]:
                for part in child.value if isinstance(child.value, list) else [child]:
                    if not isinstance(part.value, dict):
                        self.faults.append(Fault(at, "<< must be given a map, or a list of maps"))
                        break
                    merged = {**part.value, **merged}
            elif key in entries:
                first = entries[key].key or at
                self.faults.append(Fault(at, f'the key "{key}" stands here twice',
                                         f"the first is in line {first.line}; keep one of them."))
            else:
                entries[key] = child
        return {**merged, **entries}

    def sequence(self, depth: int) -> list[Node]:
        items = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            items.append(self.node(event, depth + 1))
        return items

    def scalar(self, event: ScalarEvent) -> Scalar:
        text = str(event.value)
        tag = str(self.yaml.resolver.resolve(ScalarNode, text, event.implicit)).rpartition(":")[2]
        try:
            if tag == "null":
                return None
            if tag == "bool":
                return text.lower() == "true"
            if tag == "int":
                return _integer(text)
            if tag == "float":
                number = float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
                if math.isfinite(number):
                    return number
                raise ValueError
        except ValueError:
            self.faults.append(Fault(self.place(event), f"{text[:40]} is no number that a recipe can hold"))
        return text          # text, and what YAML would make a date: the recipe has none


def _integer(text: str) -> int:
    digits = text.replace("_", "").lower()
    bare = digits.lstrip("+-")
    base = {"0x": 16, "0o": 8, "0b": 2}.get(bare[:2], 10)
    return int(digits, base)


def read_tree(source: Source) -> tuple[Node, list[Fault]]:
    """The tree of a text, with the faults that reading could step over (duplicate keys, infinite numbers).

    Raises: UnreadableError for bad syntax, tags, more than one document, or a text beyond the limits above.
    """
    yaml = YAML(typ="rt", pure=True)
    top = Place(source, 1, 1)
    if len(source.text.encode("utf-8", "replace")) > MAX_BYTES:
        raise UnreadableError(Fault(top, "the file is larger than 1 MiB; no recipe is"))
    try:
        reader = _Reader(source, iter(yaml.parse(source.text)), yaml)
        next(reader.events)                                   # start of the stream
        start = next(reader.events)
        if not isinstance(start, DocumentStartEvent):
            return Node({}, top), []
        if start.version not in (None, (1, 2)):
            raise reader.stop(start, "recipes are YAML 1.2, no other is read", "remove the %YAML line.")
        root = reader.node(next(reader.events), 0)
        next(reader.events)                                   # end of the document
        if isinstance(second := next(reader.events), DocumentStartEvent):
            raise reader.stop(second, "a second document begins; a recipe is one", "remove the --- line.")
    except MarkedYAMLError as error:
        raise UnreadableError(_syntax_fault(source, error)) from None
    except YAMLError as error:                                # characters that no YAML text may hold
        place = _place_of(source, int(getattr(error, "position", 0) or 0))
        raise UnreadableError(Fault(place, "a control character, which YAML does not allow")) from None
    return root, reader.faults


def _syntax_fault(source: Source, error: MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    said = " ".join(str(part) for part in (error.context, error.problem) if part)
    place = Place(source, mark.line + 1, mark.column + 1) if mark is not None else Place(source, 1, 1)
    tab = place.line <= len(source.lines) and "\t" in source.lines[place.line - 1]
    return Fault(place, f"this is not YAML: {said}", "indent with spaces, not with tabs." if tab else "")


def _place_of(source: Source, index: int) -> Place:
    line_start = source.text.rfind("\n", 0, index)
    return Place(source, source.text.count("\n", 0, index) + 1, index - line_start, 1, index, index)

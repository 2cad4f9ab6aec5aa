"""From files and overrides to one tree: `extends:`, `-S path=value`, `${env:NAME}`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from synthgen.recipe.problems import InvalidRecipeError, Problem, did_you_mean, problem_at
from synthgen.recipe.schema import Evaluate
from synthgen.recipe.shipped import home_expanded, shipped_recipe, shipped_recipes
from synthgen.recipe.tree import MAX_BYTES, Fault, Node, Place, Source, UnreadableError, read_tree

ENV = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(slots=True)
class Assembly:
    """What has been read so far, and what was wrong with it; `sources` in the order of reading."""

    problems: list[Problem] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)

    def add(self, place: Place, message: str, hint: str = "", allowed: tuple[str, ...] = (),
            where: str = "") -> None:
        """Add a problem at a place."""
        self.problems.append(problem_at(place, message, hint=hint, allowed=allowed, where=where))

    def fatal(self, fault: Fault) -> InvalidRecipeError:
        """The end of reading: what was found before is told as well."""
        self.add(fault.place, fault.message, fault.hint)
        return InvalidRecipeError(self.problems)

    def tree_of(self, source: Source) -> Node:
        """The tree of a text; its faults become problems.

        Raises: InvalidRecipeError when the text cannot be read at all.
        """
        self.sources.append(source)
        try:
            root, faults = read_tree(source)
        except UnreadableError as error:
            raise self.fatal(error.fault) from None
        for fault in faults:
            self.add(fault.place, fault.message, fault.hint)
        return root


def read_source(path: Path) -> Source:
    """A recipe file's text.

    Raises: InvalidRecipeError when it is missing, too large, or not UTF-8.
    """
    absolute = Path(os.path.abspath(path))
    here = Path.cwd()
    name = str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)
    try:
        with absolute.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        said = error.strerror or str(error)
        raise InvalidRecipeError([Problem(name, 0, 0, "", "", f"cannot be read: {said}")]) from None
    if len(raw) > MAX_BYTES:
        raise InvalidRecipeError([Problem(name, 0, 0, "", "", "the file is larger than 1 MiB; no recipe is")])
    try:
        # Line ends as they are: positions and the verbatim copy in the run folder depend on it.
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        said = f"the file is not UTF-8: byte {error.start} is 0x{raw[error.start]:02x}"
        raise InvalidRecipeError([Problem(name, line, 1, "", "", said, (), "save it as UTF-8.")]) from None
    lines = tuple(line.removesuffix("\r") for line in text.split("\n"))
    return Source(name, text, absolute.parent, absolute, lines)


def read_with_parents(source: Source, assembly: Assembly, chain: tuple[Path, ...] = ()) -> Node:
    """The tree of a file merged over the trees of the files that it extends.

    Raises: InvalidRecipeError when one of them cannot be read.
    """
    assert source.path is not None
    root = assembly.tree_of(source)
    if not isinstance(root.value, dict):
        raise assembly.fatal(Fault(root.place, "a recipe is a map of sections, such as `name: screws`"))
    link = root.value.pop("extends", None)
    if link is None:
        return root
    if not isinstance(link.value, str):
        assembly.add(link.at, "must be the path of one recipe, or the name of a shipped one", where="extends")
        return root
    expand_environment(link, assembly)
    parent = source.folder / home_expanded(str(link.value))
    target = parent if os.path.isfile(parent) else shipped_recipe(str(link.value))
    chain = (*chain, source.path.resolve())
    if target is None:
        assembly.add(link.place, f'there is no recipe "{link.raw or link.value}" to extend',
                     did_you_mean(str(link.value), shipped_recipes()), tuple(shipped_recipes()), "extends")
    elif target.resolve() in chain:
        names = " extends ".join(p.name for p in (*chain, target.resolve()))
        assembly.add(link.place, f"goes round in a circle: {names}", where="extends")
    else:
        return merge(read_with_parents(read_source(target), assembly, chain), root)
    return root


def merge(base: Node, top: Node) -> Node:
    """`top` over `base`: maps are merged key by key, all else is replaced, and null deletes."""
    assert isinstance(base.value, dict)
    assert isinstance(top.value, dict)
    entries = dict(base.value)
    for key, child in top.value.items():
        below = entries.get(key)
        if child.value is None and below is not None:
            del entries[key]
        elif below is not None and isinstance(below.value, dict) and isinstance(child.value, dict):
            entries[key] = merge(below, child)
        else:
            entries[key] = child
    return Node(entries, top.place, top.key)


def override(root: Node, text: str, assembly: Assembly) -> None:
    """Apply one `path=value`; what is wrong with it goes to the assembly's problems."""
    path, equals, value = text.partition("=")
    keys = [key for key in re.sub(r"\[([^\]]*)\]", r".\1", path.strip()).split(".") if key]
    source = Source(f"-S {text}", value, Path.cwd())
    here = Place(source, 1, 1)
    if not equals or not keys:
        assembly.add(here, "an override is written path=value", "for example -S generate.paste.count=50")
        return
    try:
        new, faults = read_tree(source)
    except UnreadableError as error:
        assembly.add(here, error.fault.message, "put text that YAML reads otherwise in quotes.")
        return
    for fault in faults:
        assembly.add(here, fault.message, fault.hint)
    if not value.strip():
        new = Node(None, here)
    new.key = here

    node: Node | None = root
    for depth, key in enumerate(keys):
        assert node is not None
        done, last = ".".join(keys[:depth]), depth == len(keys) - 1
        if node.value is None:
            node.value = {}                            # `filter:` with nothing below it
        if isinstance(node.value, dict):
            if last:
                _put(node.value, key, new)
                return
            if key not in node.value:
                node.value[key] = _absent(keys[: depth + 1], here)
            node = node.value[key]
        elif isinstance(node.value, list):
            index = _index(node.value, key)
            if index is None:
                names = tuple(_name_of(item) or str(i) for i, item in enumerate(node.value))
                assembly.add(here, f'{done} has no item "{key}"', did_you_mean(key, names), names)
                return
            if last:
                node.value[index : index + 1] = [] if new.value is None else [new]
                return
            node = node.value[index]
        else:
            assembly.add(here, f'{done} is a single value, it has no "{key}"', f"write -S {done}={value}")
            return


def _put(entries: dict[str, Node], key: str, new: Node) -> None:
    if new.value is None and key in entries:
        del entries[key]
    else:
        entries[key] = new


def _absent(keys: list[str], here: Place) -> Node:
    """What stands where the recipe says nothing: the gate has named items by default, all else is empty."""
    if keys == ["evaluate", "gate"]:
        entries = [Node({"check": Node(entry.check, here, here)}, here) for entry in Evaluate().gate]
        return Node(list(entries), here, here)
    return Node([] if keys == ["generate"] else {}, here, here)


def _name_of(item: Node) -> str | None:
    if isinstance(item.value, dict):
        for key in ("name", "check"):
            if key in item.value and isinstance(item.value[key].value, str):
                return str(item.value[key].value)
    return None


def _index(items: list[Node], key: str) -> int | None:
    for i, item in enumerate(items):
        if _name_of(item) == key:
            return i
    return int(key) if key.isascii() and key.isdigit() and int(key) < len(items) else None


def expand_environment(root: Node, assembly: Assembly) -> None:
    """Put the environment's values into text; the text as it was written stays in `raw`."""
    for node in root.walk():
        if not isinstance(node.value, str) or "${env" not in node.value:
            continue
        written = node.value
        missing = [m[1] for m in ENV.finditer(written) if not os.environ.get(m[1]) and m[2] is None
                   and m[1] not in os.environ]
        rest = ENV.sub("", written)
        if "${env" in rest:
            assembly.add(node.place, f'"{written}" cannot be filled in',
                         "write ${env:NAME} or ${env:NAME:-default}.")
        elif missing:
            assembly.add(node.place, f"the environment variable {missing[0]} is not set",
                         f"set it, or write ${{env:{missing[0]}:-default}}.")
        else:
            # As in a shell, an empty variable counts as unset where there is a default.
            node.value = ENV.sub(lambda m: os.environ.get(m[1]) or m[2] or "", written)
        node.raw = written

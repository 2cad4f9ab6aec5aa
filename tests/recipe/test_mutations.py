"""No slip of a finger passes: every key of a whole recipe misspelt, deleted, mistyped."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthgen.errors import RecipeError
from synthgen.recipe.load import load
from synthgen.recipe.problems import InvalidRecipeError, Problem

REQUIRED = {"evaluate.waivers.check", "evaluate.waivers.reason", "evaluate.waivers.until", "evaluate.waivers.by",
            "evaluate.features.use",
            "schema", "name", "task", "classes", "data", "data.seed", "data.seed.path", "data.pool.path",
            "data.pool_truth.path", "data.test.path", "generate.name", "evaluate.gate.check"}


@dataclass(frozen=True)
class KeyAt:
    """A key in the text: line from 0, span of the key, and of what belongs to it in lines."""

    path: str
    line: int
    start: int
    end: int
    last_line: int
    parent_line: int


def keys_in(text: str) -> list[KeyAt]:
    """Every key, found by indentation alone: a second opinion on the loader's own positions."""
    lines = text.split("\n")
    found: list[KeyAt] = []
    stack: list[tuple[int, str, int]] = []                     # (indent, key, line)
    for n, line in enumerate(lines):
        match = re.match(r"^([ -]*)([a-z_]+):", line)
        if match is None:
            continue
        indent = len(match[1])
        while stack and stack[-1][0] >= indent:
            stack.pop()
        path = ".".join([*(key for _, key, _ in stack), match[2]])
        after = [m for m in range(n + 1, len(lines)) if _indent(lines[m]) <= indent]
        parent = stack[-1][2] if stack else 1
        # A list item begins at its dash.
        dashes = [m for m in range(parent, n + 1) if lines[m].startswith(" " * (indent - 2) + "- ")]
        parent = max(dashes, default=parent)
        found.append(KeyAt(path, n, indent, indent + len(match[2]), after[0] - 1, parent))
        stack.append((indent, match[2], n))
        found += [KeyAt(f"{path}.{inner[1]}", n, inner.start(1), inner.end(1), n, n)
                  for inner in re.finditer(r"[{,] ?([a-z_]+):", line)]
    return found


def _indent(line: str) -> int:
    # A dash counts as indent; an empty line ends every block.
    return len(line) - len(line.lstrip(" -")) if line.strip() else -1


def problems_of(text: str) -> tuple[Problem, ...]:
    Path("recipe.yaml").write_text(text, "utf-8")
    with pytest.raises(InvalidRecipeError) as caught:
        load("recipe.yaml")
    return caught.value.problems


def test_the_recipe_to_be_mutated_is_valid_and_has_every_section(full: str, folder: Path) -> None:
    Path("recipe.yaml").write_text(full)
    loaded = load("recipe.yaml")
    assert set(loaded.resolved) == {key.path for key in keys_in(full) if "." not in key.path}
    assert len(keys_in(full)) > 60


@pytest.mark.slow
def test_every_misspelt_key_is_told_once_at_its_place_with_the_right_word(full: str, folder: Path) -> None:
    lines = full.split("\n")
    for key in keys_in(full):
        word = key.path.rpartition(".")[2]
        slip = word[:-1] + "zz" if len(word) > 4 else word + "z"
        line = lines[key.line]
        changed = line[: key.start] + slip + line[key.end :]
        problems = problems_of("\n".join([*lines[: key.line], changed, *lines[key.line + 1 :]]))
        assert [(p.line, p.column) for p in problems] == [(key.line + 1, key.start + 1)], (key, problems)
        assert problems[0].message == f'unknown key "{slip}"'
        assert problems[0].hint == f'did you mean "{word}"?'
        assert word in problems[0].allowed


@pytest.mark.slow
def test_every_deleted_key_is_optional_or_told_at_its_parent(full: str, folder: Path) -> None:
    lines = full.split("\n")
    for key in keys_in(full):
        word = key.path.rpartition(".")[2]
        left = list(lines)
        if "{" in lines[key.line]:
            if key.path == "data.seed":
                left[key.line] = ""
            else:
                left[key.line] = re.sub(rf"({word}: [\w/]+,? ?)(?=[\w}}])", "", lines[key.line])
        else:
            for n in range(key.line, key.last_line + 1):
                left[n] = ""
            if "- " in lines[key.line]:
                # The dash goes to the item's next key; an item without other keys is an empty map.
                dash = lines[key.line].index("- ")
                after = lines[key.line + 1]
                if after.startswith(" " * (dash + 2)) and after[dash + 2] not in " -":
                    left[key.line : key.line + 2] = [after[:dash] + "- " + after[dash + 2 :], ""]
                else:
                    left[key.line] = lines[key.line][:dash] + "- {}"
        Path("recipe.yaml").write_text("\n".join(left))
        if key.path not in REQUIRED:
            # Without a pool there is no truth about it; a map that lost its only key is not a map any more.
            refused = word in ("pool", "width")
            with pytest.raises(InvalidRecipeError) if refused else contextlib.nullcontext():
                load("recipe.yaml")
            continue
        problems = problems_of("\n".join(left))
        wanted = f'the key "{word}" is missing'
        told = [p for p in problems if p.message == wanted]
        first = next(n for n, line in enumerate(left) if line and not line.startswith("#"))
        parent = key.parent_line if "." in key.path else first
        assert [p.line for p in told] == [parent + 1], (key, problems)


@pytest.mark.slow
def test_every_value_of_a_wrong_type_is_told_in_its_line(full: str, folder: Path) -> None:
    lines = full.split("\n")
    for key in keys_in(full):
        line = lines[key.line]
        if key.last_line > key.line:
            changed = [line[: key.end] + ": 5", *([""] * (key.last_line - key.line))]
        elif "{" in line:
            changed = [line[: key.end] + ": {zz: 1}}" if key.path != "data.seed" else "  seed: 5"]
        else:
            changed = [line[: key.end] + ": {zz: 1}"]
        problems = problems_of("\n".join([*lines[: key.line], *changed, *lines[key.last_line + 1 :]]))
        assert key.line + 1 in [p.line for p in problems], (key, problems)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 6), st.text(
    st.sampled_from(":-{}[]*&!|>'\"#%@`,? \n\t~=<$0aé\x07"), max_size=4)), min_size=1, max_size=4))
def test_no_damage_to_the_text_gives_anything_but_a_recipe_error(
        full: str, folder: Path, cuts: list[tuple[float, int, str]]) -> None:
    text = full
    for share, length, put in cuts:
        at = int(share * len(text))
        text = text[:at] + put + text[at + length :]
    Path("recipe.yaml").write_bytes(text.encode())
    with contextlib.suppress(RecipeError):
        load("recipe.yaml")

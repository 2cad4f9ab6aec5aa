"""Templates for what the model is told."""

from __future__ import annotations

import pytest

from synthgen.seeds import rng_of
from synthgen_pretrained.prompts import check_templates, filled, words_of

NAMES = ["cat", "dog", "bird"]


def said(template: str, shown: list[int], attributes: dict[str, tuple[str, ...]] | None = None, seed: int = 0) -> str:
    attributes = attributes or {}
    check_templates([template], attributes)
    return filled(template, words_of(shown, NAMES, attributes, rng_of(seed)))


@pytest.mark.parametrize(("shown", "text"), [
    ([], "background: background × 0"),
    ([2], "bird: bird × 1"),
    ([1, 0, 1], "dog: cat, dog × 3"),
    ([2, 0], "cat: cat, bird × 2"),
])
def test_a_template_names_what_is_shown(shown: list[int], text: str) -> None:
    assert said("{class}: {classes} × {count}", shown) == text


def test_an_attribute_takes_each_of_its_words() -> None:
    words = {said("{light}", [0], {"light": ("dawn", "noon")}, seed) for seed in range(20)}
    assert words == {"dawn", "noon"}


def test_doubled_braces_are_braces() -> None:
    assert said("{{{class}}}", [0]) == "{cat}"


@pytest.mark.parametrize(("template", "word"), [
    ("{colour}", "there is no {colour}"), ("{}", "there is no {}"), ("{class", "doubled"), ("class}", "doubled"),
    ("{class.__class__}", "there is no"), ("{count!r}", "there is no"), ("{count:>9}", "there is no"), ("{0}", "there"),
])
def test_a_template_that_cannot_be_filled_in_is_refused(template: str, word: str) -> None:
    with pytest.raises(ValueError, match="prompt") as told:
        check_templates([template], {"light": ("dawn",)})
    assert word in str(told.value)


@pytest.mark.parametrize("name", ["class", "classes", "count", "two words", ""])
def test_an_attribute_needs_a_name_of_its_own(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of an attribute"):
        check_templates([], {name: ("a",)})

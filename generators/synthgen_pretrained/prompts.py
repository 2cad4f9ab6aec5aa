"""What the model is told in words: templates with the names of what an image must show."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

OWN = ("class", "classes", "count")  # fields that every template may name
NOTHING = "background"  # said in place of a class where there is none


def check_templates(templates: Sequence[str], attributes: Mapping[str, Sequence[str]]) -> None:
    """Refuse templates that could not be filled in.

    Raises: ValueError for an attribute that has the name of a field of ours or is no name, and for a template with a
    stray brace, a field that nobody gives, or more than a name between its braces.
    """
    for name in attributes:
        if name in OWN or not name.isidentifier():
            raise ValueError(f"attributes: {name!r} cannot be the name of an attribute; take a word other than "
                             f"{', '.join(OWN)}")
    allowed = (*OWN, *attributes)
    for template in templates:
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            raise ValueError(f"prompt {template!r}: {error}; a brace that is meant as such is doubled") from None
        for _, field, form, conversion in parts:
            if field is not None and (field not in allowed or form or conversion):
                wanted = ", ".join(f"{{{name}}}" for name in allowed)
                raise ValueError(f"prompt {template!r}: there is no {{{field}}} to fill in, only {wanted}; an "
                                 "attribute of your own stands under attributes: a name, and words to choose from")


def words_of(shown: Sequence[int], names: Sequence[str], attributes: Mapping[str, Sequence[str]],
             rng: np.random.Generator) -> dict[str, str]:
    """What the fields of a template stand for.

    shown: the class of each object in the image, or of the image itself. class: the one with most objects, the first
    in the list of names among equals. classes: all that are shown, in the list's order. count: of the objects. Each
    attribute takes one of its words at random.
    """
    counts = Counter(int(c) for c in shown)
    most = min(counts, key=lambda c: (-counts[c], c)) if counts else None
    return {
        "class": NOTHING if most is None else names[most],
        "classes": ", ".join(names[c] for c in sorted(counts)) or NOTHING,
        "count": str(len(shown)),
        **{name: words[int(rng.integers(len(words)))] for name, words in attributes.items()},
    }


def filled(template: str, words: Mapping[str, str]) -> str:
    """A template that `check_templates` let pass, with its fields filled in."""
    return template.format_map(words)

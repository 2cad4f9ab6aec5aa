"""A certificate in words: what is promised, of what, how sure, and when it is void."""

from __future__ import annotations

from collections.abc import Mapping

from synthgen.types import Json

VOID = ("It is void as soon as the model, the pool or one of these labels changes, and says nothing of other images. "
        "It is a promise about the mean, not about each image or class.")


def in_words(facts: Mapping[str, Json]) -> str:
    """One paragraph."""
    audit, n = facts["audit"], facts["images"]
    who = f"{audit['images']} images drawn at random were answered ({audit['answers']})"
    if facts["certified"]:
        share = facts["accepted"] / n if n else 0
        whole = "" if facts["of"] == "accepted" else ", when people label the other images,"
        among = (f"Of the {facts['accepted']:,} accepted images ({share:.0%} of the pool of {n:,})"
                 if facts["of"] == "accepted" else f"Of the whole pool of {n:,} images{whole} {facts['accepted']:,} "
                 "accepted as the model labelled them")
        return (f"{among} the labels' mean error is at most {facts['max_error']:.3g} with {facts['confidence']:.0%} "
                f"confidence; what is shown is {facts['bound']:.3g}. Error: {facts['loss']}. {who}, "
                f"{audit['inside']} of them among the accepted, where the mean error was {facts['observed']:.3g}. "
                f"{VOID}")
    return (f"Nothing is certified, so nothing is accepted: that the labels' mean error is at most "
            f"{facts['max_error']:.3g} could not be shown with {facts['confidence']:.0%} confidence for any part of "
            f"the pool of {n:,} images. Error: {facts['loss']}. {who}; over all of them the mean error was "
            f"{_number(audit['loss'])}. {_what_to_do(facts)}")


def _what_to_do(facts: Mapping[str, Json]) -> str:
    audit, n = facts["audit"], facts["images"]
    needed = audit["needed"]
    if needed is None:
        return ("With labels like these no audit would do it, not even one of the whole pool: give more seed labels, "
                "train longer, or allow a larger label.certify.max_error.")
    if needed >= n:
        return (f"The pool is too small: an audit that could show it would be all of its {n:,} images, so that a "
                "person may as well label them.")
    return (f"An audit of about {needed:,} images would show it for the surest part, if the rest is like what was "
            f"seen ({audit['images']:,} now): set label.audit.images to that; the answers given stay.")


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}"

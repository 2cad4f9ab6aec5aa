"""A certificate in words: what is promised, of what, how sure, and when it is void."""

from __future__ import annotations

from collections.abc import Mapping

from synthgen.types import Json

VOID = ("It is void as soon as the model, the pool or one of these labels changes, and says nothing of other images. "
        "It is a promise about the mean, not about each image or class.")


def in_words(facts: Mapping[str, Json]) -> str:
    """One paragraph."""
    audit, n = facts["audit"], facts["images"]
    who = f"{audit['images']:,} images drawn at random were answered ({audit['answers']})"
    if facts["certified"]:
        return (f"{_of_what(facts)} For this part alone the audit gives {_number(facts['bound'])}, which is no "
                f"promise, since the audit also chose the part. Error: {facts['loss']}. {who}, "
                f"{audit['inside']:,} of them among the accepted, where the mean error was "
                f"{_number(facts['observed'])}. {_which_look(facts)} {VOID}{_pixels(facts)}")
    return (f"Nothing is certified, so nothing is accepted: that the labels' mean error is at most "
            f"{facts['max_error']:.3g} could not be shown with {facts['confidence']:.0%} confidence for any part of "
            f"the pool of {n:,} images. Error: {facts['loss']}. {who}; over all of them the mean error was "
            f"{_number(audit['loss'])}. {_which_look(facts)} {_what_to_do(facts)}{_pixels(facts)}")


def _of_what(facts: Mapping[str, Json]) -> str:
    n, accepted = facts["images"], facts["accepted"]
    most = f"at most {facts['max_error']:.3g} with {facts['confidence']:.0%} confidence"
    if facts["of"] == "accepted":
        return (f"Of the {accepted:,} accepted images ({accepted / n:.0%} of the pool of {n:,}) the labels' mean error "
                f"is {most}.")
    rest = (f"{facts['waiting']:,} images still wait for people, and until then it holds for nothing that is exported: "
            f"of the {accepted:,} accepted images alone the mean error is at most "
            f"{_number(facts['bound_of_accepted'])}." if facts["waiting"] else "All others are answered.")
    return (f"Of the whole pool of {n:,} images, {accepted:,} as the model labelled them and the others as people do, "
            f"the labels' mean error is {most}. {rest}")


def _which_look(facts: Mapping[str, Json]) -> str:
    look, risk = facts["look"], _percent(1 - facts["confidence"])
    if not look["counted"]:
        return "So few images could show nothing, whatever was answered, and are not counted as a look."
    return (f"The {risk} chance of being wrong is shared by all looks at an audit in this run, however many: this is "
            f"look {look['number']}, which may be wrong with a chance of {_percent(look['risk'])}. So drawing more or "
            "training anew until it passes makes it no easier; mending just what the audit showed to be wrong does, "
            "and nothing can count that.")


def _pixels(facts: Mapping[str, Json]) -> str:
    """The second promise, where one was asked for."""
    found = facts["pixels"]
    if found is None:
        return ""
    asked, look = f"at most {found['max_error']:.3g} of an image's pixels are wrong", found["look"]
    alone = (f"It is a promise by itself, with a chance of being wrong of its own: this is its look {look['number']}, "
             f"which has {_percent(look['risk'])}.")
    if found["margin"] is None:
        return (f" Pixels: that {asked} could not be shown for any margin by which the model's masks may be eroded. "
                + (alone if look["counted"] else "The audit is too small for any."))
    margin = found["margin"]
    return (f" Pixels: {f'eroded by {margin} px' if margin else 'as they are'}, the model's masks keep "
            f"{found['kept']:.0%} of their pixels, in {found['images']:,} images of the pool, of which {asked}, on "
            f"average over these images, accepted or not, with {facts['confidence']:.0%} confidence. For this margin "
            f"alone the audit gives {_number(found['bound'])}, which is no promise; in the {found['audited']:,} of "
            f"them that were audited it was {_number(found['observed'])}. {alone} The masks that go out are not "
            f"eroded: it holds for who keeps of each class only what is further than {margin} px from the next pixel "
            "that is not of it.")


def _what_to_do(facts: Mapping[str, Json]) -> str:
    audit, n = facts["audit"], facts["images"]
    needed, seen = audit["needed"], audit["images"]
    if needed is None:
        return (f"If the rest is like these {seen:,} images, no audit that is worth planning would show it: give more "
                "seed labels, train longer, or allow a larger label.certify.max_error.")
    if needed >= n:
        return (f"The pool is too small: an audit that could show it would be all of its {n:,} images, so that a "
                "person may as well label them.")
    return (f"An audit of about {needed:,} images would show it for the surest part, if the rest is like these "
            f"{seen:,}: set label.audit.images to that. The answers given stay; that it will be look "
            f"{facts['look']['number'] + facts['look']['counted']} is counted in.")


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"

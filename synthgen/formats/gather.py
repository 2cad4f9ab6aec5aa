"""Labels put together one instance at a time, and what is known of an instance beside its shape, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import cast, get_args

import numpy as np

from synthgen.geometry import mask_from_polygons, rle_boxes, touches_border
from synthgen.rle import merge
from synthgen.types import Empty, Json, Kind, KnownBy, Labels, Origin, Reviewed, Rle, Sample, Size, State

GIVEN = Origin("real", "user", known_by="person")
Box = tuple[float, float, float, float]                   # x0 y0 x1 y1 px, max exclusive
MASKLESS = "it has a box and no mask, unlike others; its box becomes an ignored region"


def box_mask(box: Box, size: Size) -> Rle:
    """The pixels of a box, as run lengths."""
    x0, y0, x1, y1 = box
    return mask_from_polygons([np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])], size)


@dataclass(frozen=True, slots=True)
class Facts:
    """What may be known of an instance. truncated None: whether it touches the border decides."""

    score: float = 1.0
    visible: float = float("nan")
    truncated: bool | None = None
    state: State = "accepted"


@dataclass(slots=True)
class Gathered:
    """Instances of one image while its labels are read. with_masks: every instance has a mask, else a box."""

    size: Size
    with_masks: bool
    classes: list[int] = field(default_factory=list)
    rles: list[Rle] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    facts: list[Facts] = field(default_factory=list)
    amodal: list[Rle | None] = field(default_factory=list)
    ignore: list[Rle] = field(default_factory=list)

    def add(self, class_id: int, shape: Rle | Box, facts: Facts, amodal: Rle | None = None) -> None:
        """One more instance."""
        self.classes.append(class_id)
        if isinstance(shape, str) and self.with_masks:
            self.rles.append(shape)
        elif isinstance(shape, str):
            x0, y0, x1, y1 = rle_boxes([shape], self.size)[0].tolist()
            self.boxes.append((x0, y0, x1, y1))
        else:
            self.boxes.append(shape)
        self.facts.append(facts)
        self.amodal.append(amodal)

    def labels(self, reviewed: Reviewed = "human", empty: Empty = "confirmed") -> Labels:
        """The labels. `empty` counts where there is no instance; amodal masks are kept if all are known."""
        boxes = (rle_boxes(self.rles, self.size) if self.with_masks
                 else np.asarray(self.boxes, np.float32).reshape(-1, 4))
        border = touches_border(boxes, self.size)
        amodal = [rle for rle in self.amodal if rle is not None and self.with_masks]
        return Labels(
            size=self.size, classes=np.asarray(self.classes, np.int64), boxes=boxes,
            masks=tuple(self.rles) if self.with_masks or not self.classes else None,
            amodal=tuple(amodal) if amodal and len(amodal) == len(self.classes) else None,
            scores=np.asarray([f.score for f in self.facts], np.float32),
            visible=np.asarray([f.visible for f in self.facts], np.float32),
            truncated=np.asarray([bool(b) if f.truncated is None else f.truncated
                                  for f, b in zip(self.facts, border, strict=True)], bool),
            states=tuple(f.state for f in self.facts), ignore=merge(self.ignore, self.size),
            reviewed=reviewed, empty="unknown" if self.classes else empty)


def facts_to_json(labels: Labels, k: int) -> dict[str, Json]:
    """truncated, visible_fraction (null = unknown) and state of instance k."""
    assert labels.visible is not None
    assert labels.truncated is not None
    assert labels.states is not None
    visible = float(labels.visible[k])
    return {"truncated": bool(labels.truncated[k]),
            "visible_fraction": round(visible, 6) if visible == visible else None, "state": labels.states[k]}


def facts_from_json(attributes: Json, score: Json = None) -> Facts:
    """What `facts_to_json` wrote, and a score; what is missing or of another type has its default."""
    known: Mapping[str, Json] = attributes if isinstance(attributes, dict) else {}
    truncated, visible, state = (known.get(name) for name in ("truncated", "visible_fraction", "state"))
    return Facts(
        score=_share(score, 1.0), visible=_share(visible, float("nan")),
        truncated=truncated if isinstance(truncated, bool) else None,
        state=cast(State, state) if state in get_args(State) else "accepted")


def _share(value: Json, default: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return default
    return float(value)


def image_facts_to_json(sample: Sample) -> dict[str, Json]:
    """Where an image and its labels came from; empty for what a person gave, which is what readers assume."""
    out: dict[str, Json] = {}
    if sample.origin != GIVEN:
        out["origin"] = {**asdict(sample.origin), "parents": list(sample.origin.parents)}
    if sample.labels is None:
        out["labelled"] = False
    else:
        if sample.labels.reviewed != "human":
            out["reviewed"] = sample.labels.reviewed
        if not len(sample.labels) and sample.labels.empty != "confirmed":
            out["empty"] = sample.labels.empty
    return out


def image_facts_from_json(entry: Mapping[str, Json]) -> tuple[bool, Origin, Reviewed, Empty]:
    """(labelled, origin, reviewed, empty) as `image_facts_to_json` wrote them; else those of a person."""
    reviewed, empty, origin = entry.get("reviewed"), entry.get("empty"), entry.get("origin")
    return (entry.get("labelled") is not False, origin_from_json(origin),
            cast(Reviewed, reviewed) if reviewed in get_args(Reviewed) else "human",
            cast(Empty, empty) if empty in get_args(Empty) else "confirmed")


def origin_from_json(value: Json) -> Origin:
    """An origin from JSON; what is no origin counts as given by a person."""
    if not isinstance(value, dict) or value.get("kind") not in get_args(Kind):
        return GIVEN
    text = {name: str(value.get(name, "")) for name in ("maker", "version", "weights")}
    seed, parents, known_by = value.get("seed"), value.get("parents"), value.get("known_by")
    return Origin(kind=value["kind"], maker=text["maker"], version=text["version"], weights=text["weights"],
                  seed=seed if type(seed) is int else None,
                  parents=tuple(map(str, parents)) if isinstance(parents, list) else (),
                  known_by=cast(KnownBy, known_by) if known_by in get_args(KnownBy) else "person")

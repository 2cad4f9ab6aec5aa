"""One person at the page: what waits, what they saw, what they decided, and how long it took."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Lock
from typing import get_args

from synthgen.errors import DataError
from synthgen.images import hash_image, png_bytes
from synthgen.people.decisions import Action, Decision, Decisions, hash_labels
from synthgen.people.difference import difference
from synthgen.people.package import pace
from synthgen.review.queue import Waiting, shown
from synthgen.review.shapes import from_wire, image_class_of, to_wire
from synthgen.types import Dataset, Json, Labels, Task

FIELDS = {"action", "seconds", "objects", "image_class"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(slots=True)
class _Item:
    """An image as it goes through a session. seen: when its labels were first sent, by the server's clock."""

    waiting: Waiting
    image: str = ""
    seen: float | None = None
    credit: float = 0.0  # seconds of a decision that was taken back
    said: str = ""


@dataclass(eq=False)
class Session:
    """Images by opaque id, and what is decided of them. Threads may call it; they take turns.

    pool: samples with pre-labels. order: what waits. by: who decides. clock: seconds that only grow.
    """

    pool: Dataset
    order: Sequence[Waiting]
    decisions: Decisions
    task: Task
    classes: tuple[str, ...]
    by: str
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], str] = _now
    decided: int = 0
    skipped: int = 0
    _items: dict[str, _Item] = field(default_factory=dict)
    _done: list[tuple[str, bool]] = field(default_factory=list)  # ids decided here, and whether it was written
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        # Random: an id says nothing of the sample, and is good for this session alone.
        self._items = {secrets.token_urlsafe(9): _Item(one) for one in self.order}
        self._last = self.clock()

    @property
    def ids(self) -> list[str]:
        """Opaque ids of the images, in order."""
        return list(self._items)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._items

    def png(self, id_: str) -> bytes:
        """The image as PNG."""
        with self._lock:
            image = self.pool[self._items[id_].waiting.place].image
        return png_bytes(image)

    def labels(self, id_: str) -> Json:
        """What the page shows of an image: its size, why it is here, and its pre-label unless that is hidden."""
        with self._lock:
            item = self._items[id_]
            sample = self.pool[item.waiting.place]
            item.image = item.image or hash_image(sample.image)
            item.seen = self.clock() if item.seen is None else item.seen
            there = self._shown(item, sample.labels)
        H, W = sample.image.shape[:2]
        return {
            "id": id_, "width": W, "height": H, "why": item.waiting.why, "audit": item.waiting.audit,
            "blind": there is None, "objects": [] if there is None else to_wire(there),
            "image_class": None if there is None else there.image_class,
            "image_score": None if there is None or there.image_class is None else round(there.image_score, 4),
        }  # fmt: skip

    def decide(self, id_: str, said: Json) -> Json:
        """Write down what the page says of an image; the same said twice is written once.

        said: {"action", "seconds", "objects" or "image_class" where the action gives labels}.
        Raises: DataError for what cannot be, with the reason.
        """
        with self._lock:
            item = self._items[id_]
            sample = self.pool[item.waiting.place]
            before, there = sample.labels, self._shown(item, sample.labels)
            action, labels = self._judged(said, sample.image.shape[:2], there)
            key = action + hash_labels(labels)
            if item.said == key:  # a second click on the same
                return self._progress(new=False)
            if item.said:
                raise DataError("this image was decided in this session, and otherwise; take that back first")
            item.image = item.image or hash_image(sample.image)
            decision = Decision(
                image=item.image, id=sample.id, labels=labels, by=self.by, at=self.now(),
                seconds=self._seconds(item, said.get("seconds")), tool="review", action=action, blind=there is None,
                prelabel="" if there is None or before is None else hash_labels(before),
            )  # fmt: skip
            new = self.decisions.append(decision)
            self._count(action, 1)
            self._done.append((id_, new))
            item.said, item.credit, self._last = key, 0.0, self.clock()
            return self._progress(new=new)

    def undo(self) -> Json:
        """Take back the last decision of this session; {"id": of its image, or None where there is none}."""
        with self._lock:
            if not self._done:
                return {**self._progress(new=False), "id": None, "seconds": 0.0}
            id_, written = self._done.pop()
            item = self._items[id_]
            back = self.decisions.undo(self.by, self.now(), item.image) if written else None
            self._count("skip" if item.said.startswith("skip") else "accept", -1)
            item.said, item.credit = "", (back.seconds or 0.0) if back else 0.0
            self._last = self.clock()
            return {**self._progress(new=False), "id": id_, "seconds": item.credit}

    def about(self) -> Json:
        """What the page has to know before the first image."""
        with self._lock:
            return {"task": self.task, "classes": list(self.classes), "by": self.by, "ids": self.ids,
                    **self._progress(new=False)}

    def _shown(self, item: _Item, labels: Labels | None) -> Labels | None:
        return None if item.waiting.blind or labels is None else shown(labels)

    def _judged(self, said: Json, size: tuple[int, ...], there: Labels | None) -> tuple[Action, Labels]:
        if not isinstance(said, dict) or set(said) - FIELDS:
            raise DataError(f"a decision is an object with {', '.join(sorted(FIELDS))}")
        shape = (int(size[0]), int(size[1]))
        action: Action = said.get("action", "")
        if action not in get_args(Action):
            raise DataError(f"action must be one of {', '.join(get_args(Action))}")
        if action in ("accept", "reject", "redraw") and there is None:
            raise DataError(f"{action} is about a pre-label, and none was shown; answer, confirm empty or skip")
        if action == "answer" and there is not None:
            raise DataError("answer is for images whose pre-label is hidden; accept it or redraw it")
        if action in ("skip", "reject"):
            return action, Labels(shape)
        if action == "accept":
            assert there is not None
            empty = not len(there) and there.image_class is None
            if empty and self.task == "classify":
                raise DataError("the pre-label names no class; give one, or skip")
            return ("confirm-empty" if empty else "accept"), _persons(there)
        if self.task == "classify":
            if action == "confirm-empty":
                raise DataError("every image has a class; give it, or skip")
            chosen = image_class_of(said.get("image_class"), len(self.classes))
            labels = Labels(shape, image_class=chosen, reviewed="human")
        else:
            objects = [] if action == "confirm-empty" else said.get("objects")
            labels = from_wire(objects, shape, len(self.classes), self.task)
            if not len(labels) and action != "confirm-empty":
                raise DataError("there is no object; say that the image is empty, or skip it")
        if there is None:
            return "answer", labels
        if action == "redraw" and all(c.kind == "unchanged" for c in difference(there, labels)):
            return "accept", _persons(there)
        return action, labels

    def _seconds(self, item: _Item, told: Json) -> float:
        """What the page measured, but no more than can have passed since the last decision, or since it was sent."""
        if type(told) not in (int, float) or not 0 <= told < float("inf"):
            raise DataError("seconds must be a number of 0 or more")
        seen = self._last if item.seen is None else item.seen
        return round(min(float(told), self.clock() - max(seen, self._last) + item.credit), 3)

    def _count(self, action: Action, step: int) -> None:
        if action == "skip":
            self.skipped += step
        else:
            self.decided += step

    def _progress(self, *, new: bool) -> Json:
        seconds, measured = pace(self.decisions.every())
        left = len(self._items) - self.decided - self.skipped
        return {"new": new, "decided": self.decided, "skipped": self.skipped, "left": left,
                "minutes_left": round(left * seconds / 60, 2), "measured": measured}


def _persons(labels: Labels) -> Labels:
    """The labels as a person's: what they left standing is theirs."""
    empty = not len(labels) and labels.image_class is None
    return replace(labels, scores=None, states=None, image_score=1.0, image_state="accepted", reviewed="human",
                   empty="confirmed" if empty else "unknown")

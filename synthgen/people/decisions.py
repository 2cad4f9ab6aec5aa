"""What people decided, image by image: a file that only grows, each line sealed by the hash of the one before."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from filelock import FileLock, Timeout

from synthgen.errors import DataError, Locked
from synthgen.people.difference import Change, difference
from synthgen.store import labels_from_json, labels_to_json
from synthgen.types import Json, Labels

__all__ = ["Action", "Change", "Decision", "Decisions", "difference", "hash_labels"]

Action = Literal["accept", "reject", "redraw", "confirm-empty", "skip", "answer"]
ANSWERS: tuple[Action, ...] = ("accept", "redraw", "confirm-empty", "answer")
START = "0" * 64  # what the first line holds in place of a hash
WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What a person said about one image.

    image: `synthgen.images.hash_image` of its pixels, hex. id: of the sample. labels: the person's, with reviewed
    "human"; of a `reject` or a `skip` they say nothing. by: who. at: ISO time, UTC. seconds: time spent, measured;
    None = not measured. tool: review, cvat, label-studio, simulated, … action: accept (the pre-label as it is), redraw
    (changed), confirm-empty (there is nothing), answer (labelled without a pre-label, as in an audit), reject (the
    pre-label is wrong, and nothing is given in its place), skip (no opinion). blind: the pre-label was hidden.
    prelabel: `hash_labels` of what the person was shown, or "".

    Raises: DataError for an unknown action, a time below 0, an image that is no hash, or an answer whose labels are
    not marked as a person's.
    """

    image: str
    id: str
    labels: Labels
    by: str
    at: str
    seconds: float | None
    tool: str
    action: Action
    blind: bool = False
    prelabel: str = ""

    def __post_init__(self) -> None:
        if self.action not in get_args(Action):
            raise DataError(f"{self.action!r} is no action; a decision is one of {', '.join(get_args(Action))}")
        if len(self.image) != 64 or set(self.image) - set("0123456789abcdef"):
            raise DataError(f"{self.id}: a decision names its image by the hash of its pixels, not {self.image!r:.80}")
        if self.seconds is not None and not 0 <= self.seconds < float("inf"):
            raise DataError(f"{self.id}: the seconds spent are {self.seconds}; they must be 0 or more, or None")
        if self.answered and self.labels.reviewed != "human":
            raise DataError(
                f"{self.id}: the labels of {self.action!r} must be marked as reviewed by a human, not "
                f"{self.labels.reviewed!r}; what a model says is no decision"
            )

    @property
    def answered(self) -> bool:
        """Whether `labels` are the person's answer for the whole image."""
        return self.action in ANSWERS


def hash_labels(labels: Labels | None) -> str:
    """SHA-256 of the labels as canonical JSON, hex; "" of None."""
    return "" if labels is None else hashlib.sha256(_canonical(labels_to_json(labels))).hexdigest()


@dataclass(frozen=True, slots=True)
class _Line:
    hash: str
    decision: Decision | None
    revokes: str


class Decisions:
    """The decisions of a folder, in `decisions.jsonl`.

    The file only grows: a line holds the SHA-256 of the line before, so that a line which was changed, moved or taken
    out is noticed by whoever reads it. Lines cut off at the end are not; who needs that writes down `head`.
    One process writes at a time; readers need no lock. What a killed writer left unfinished is set aside in
    `decisions.torn` by the next one.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "decisions.jsonl"
        self._lock = FileLock(folder / ".decisions.lock", timeout=WAIT_SECONDS)
        self._forget()

    def _forget(self) -> None:
        self._lines: list[_Line] = []
        self._known: set[str] = set()
        self._revoked: set[str] = set()
        self._end = 0  # bytes of whole lines read so far

    @property
    def head(self) -> str:
        """The hash of the last line: it changes with every decision, and stands for all of them."""
        self._read()
        return self._last()

    def every(self) -> list[Decision]:
        """All decisions that were not taken back, in the order in which they were made.

        Raises: DataError when the file was changed by another hand.
        """
        self._read()
        return [x.decision for x in self._lines if x.decision is not None and x.hash not in self._revoked]

    def latest(self) -> dict[str, Decision]:
        """Image hash → the last decision about it. A skip takes nothing back, and alone is no decision.

        Raises: DataError when the file was changed by another hand.
        """
        return {d.image: d for d in self.every() if d.action != "skip"}

    def append(self, decision: Decision) -> bool:
        """Write a decision down, on the disk when this returns; whether it was new, see `extend`."""
        return self.extend([decision]) > 0

    def extend(self, decisions: Iterable[Decision]) -> int:
        """Write decisions down, on the disk when this returns; how many were new.

        What the same person said of the same image last, in the same tool, is not written again.
        Raises: DataError when the file was changed by another hand; Locked while another process writes.
        """
        with self._writing():
            before = {_who(d): hash_labels(d.labels) + d.action for d in self.every()}
            lines, last = [], self._last()
            for decision in decisions:
                said = hash_labels(decision.labels) + decision.action
                if before.get(_who(decision)) == said:
                    continue
                before[_who(decision)] = said
                lines.append(_canonical({"before": last, "decision": _to_json(decision)}))
                last = hashlib.sha256(lines[-1]).hexdigest()
            self._write(lines)
            return len(lines)

    def undo(self, by: str, at: str, image: str | None = None) -> Decision | None:
        """Take back the last decision of a person (about one image), by a line of its own; what was taken back.

        Raises: DataError when the file was changed by another hand; Locked while another process writes.
        """
        with self._writing():
            self._read()
            for line in reversed(self._lines):
                found = line.decision
                if (
                    found is not None
                    and line.hash not in self._revoked
                    and found.by == by
                    and image in (None, found.image)
                ):
                    self._write([_canonical({"before": self._last(), "revokes": line.hash, "by": by, "at": at})])
                    return found
            return None

    def _last(self) -> str:
        return self._lines[-1].hash if self._lines else START

    def _writing(self) -> _Writing:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        return _Writing(self._lock, self.file)

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        new = not self.file.exists()
        with self.file.open("ab") as file:
            if file.tell() > self._end:
                self._set_aside(file.tell())
                file.truncate(self._end)
                file.seek(self._end)
            file.write(b"".join(line + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        if new:  # the name, too, must outlive a crash
            folder = os.open(self.file.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        self._read()

    def _set_aside(self, end: int) -> None:
        with self.file.open("rb") as file, self.file.with_suffix(".torn").open("ab") as torn:
            file.seek(self._end)
            torn.write(file.read(end - self._end) + b"\n")

    def _read(self) -> None:
        """Read what was added since the last time, and check that it continues the chain."""
        try:
            size = self.file.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < self._end:
            self._forget()
        if size == self._end:
            return
        with self.file.open("rb") as file:
            file.seek(self._end)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        for text in data[:whole].split(b"\n")[:-1]:
            self._take(text)
        self._end += whole
        if whole < len(data):
            logging.getLogger("synthgen.people").warning(
                "%s: its last line was not finished; it is left out, and set aside by the next decision", self.file
            )

    def _take(self, text: bytes) -> None:
        where = f"{self.file}:{len(self._lines) + 1}"
        try:
            value = json.loads(text)
            before, revokes = value["before"], value.get("revokes", "")
            decision = None if revokes else _from_json(value["decision"])
        except (ValueError, KeyError, TypeError, AttributeError, DataError) as error:
            raise DataError(
                f"{where}: this line is no decision ({type(error).__name__}: {error}); lines are only ever added, so "
                "restore the file from a copy"
            ) from None
        if before != self._last() or (revokes and revokes not in self._known):
            raise DataError(
                f"{where}: the chain is broken: the line before is not the one that this line was written after, so "
                "somebody changed, moved or removed lines; restore the file from a copy"
            )
        line = _Line(hashlib.sha256(text).hexdigest(), decision, revokes)
        self._lines.append(line)
        self._known.add(line.hash)
        if revokes:
            self._revoked.add(revokes)


class _Writing:
    """The lock of the one writer, with an error for people."""

    def __init__(self, lock: FileLock, file: Path) -> None:
        self.lock, self.file = lock, file

    def __enter__(self) -> None:
        try:
            self.lock.acquire()
        except Timeout:
            raise Locked(f"{self.file}: another process has been writing decisions for {WAIT_SECONDS:g} s; try again "
                         "when it is done") from None

    def __exit__(self, *error: object) -> None:
        self.lock.release()


def _who(decision: Decision) -> tuple[str, str, str]:
    return decision.image, decision.tool, decision.by


def _canonical(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _to_json(decision: Decision) -> Json:
    return {
        "image": decision.image, "id": decision.id, "labels": labels_to_json(decision.labels), "by": decision.by,
        "at": decision.at, "seconds": decision.seconds, "tool": decision.tool, "action": decision.action,
        "blind": decision.blind, "prelabel": decision.prelabel,
    }  # fmt: skip


def _from_json(value: Json) -> Decision:
    return Decision(**{**value, "labels": labels_from_json(value["labels"])})

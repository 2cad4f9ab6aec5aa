"""What `synthgen data` counts and decides: pure functions on samples and problems."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import click
import numpy as np

from synthgen.formats import Problem
from synthgen.seeds import seed_of
from synthgen.types import Json, Sample, Size


class Summary:
    """Counts over a dataset, one item at a time."""

    def __init__(self, format_name: str, classes: Sequence[str]) -> None:
        self.format_name, self.classes = format_name, list(classes)
        self.sizes: Counter[Size] = Counter()
        self.per_image: list[int] = []
        self.instances: Counter[int] = Counter()
        self.images: Counter[int] = Counter()
        self.kinds: Counter[str] = Counter({"labelled": 0, "confirmed empty": 0, "unlabelled": 0})
        self.origins: Counter[str] = Counter()
        self.splits: Counter[str] = Counter()
        self.with_masks = self.boxes_only = self.with_ignore = 0
        self.problems: list[Problem] = []

    def add(self, item: Sample | Problem) -> None:
        """One more sample or problem."""
        if isinstance(item, Problem):
            self.problems.append(item)
            return
        labels = item.labels
        self.sizes[(item.image.shape[0], item.image.shape[1])] += 1
        self.origins[item.origin.kind] += 1
        if "split" in item.meta:
            self.splits[str(item.meta["split"])] += 1
        if labels is None:
            self.kinds["unlabelled"] += 1
            return
        n = len(labels)
        self.per_image.append(n)
        empty = not n and labels.image_class is None
        self.kinds["confirmed empty" if empty and labels.empty == "confirmed" else
                   "empty, unconfirmed" if empty else "labelled"] += 1
        self.with_masks += n if labels.masks is not None else 0
        self.boxes_only += n if labels.masks is None else 0
        self.with_ignore += labels.ignore is not None
        self.instances.update(labels.classes.tolist())
        self.images.update(set(labels.classes.tolist()))
        if labels.image_class is not None:
            self.images[labels.image_class] += 1

    def per_class(self) -> dict[str, dict[str, int]]:
        """Instances, and images that show it, of each class."""
        return {
            name: {"instances": self.instances[k], "images": self.images[k]}
            for k, name in enumerate(self.classes)
        }

    def to_json(self) -> Json:
        """All counts; sizes are height and width in px, most frequent first."""
        counts = np.asarray(self.per_image or [0])
        return {
            "format": self.format_name,
            "classes": self.classes,
            "images": sum(self.sizes.values()),
            "kinds": dict(self.kinds),
            "origins": dict(self.origins),
            "splits": dict(self.splits),
            "sizes": [{"height": h, "width": w, "images": n} for (h, w), n in self.sizes.most_common()],
            "instances": {
                "total": sum(self.per_image),
                "masks": self.with_masks,
                "boxes only": self.boxes_only,
                "per image": {
                    "min": int(counts.min()),
                    "median": float(np.median(counts)),
                    "max": int(counts.max()),
                },
            },
            "images with ignored regions": self.with_ignore,
            "per class": self.per_class(),
            "problems": dict(Counter(p.action for p in self.problems)),
        }

    def lines(self) -> list[tuple[str, str]]:
        """The same for a reader."""
        about = self.to_json()
        sizes = [f"{s['width']} × {s['height']} ({s['images']})" for s in about["sizes"]]
        more = f" and {len(sizes) - 5} more" if len(sizes) > 5 else ""
        per_image, instances = about["instances"]["per image"], about["instances"]
        problems = ", ".join(f"{n} {action}" for action, n in about["problems"].items()) or "none"
        rows = [
            ("format", self.format_name),
            (
                "images",
                f"{about['images']:,}: " + ", ".join(f"{n:,} {k}" for k, n in self.kinds.items() if n),
            ),
            ("origin", ", ".join(f"{n:,} {k}" for k, n in self.origins.items())),
            ("splits", ", ".join(f"{k} {n:,}" for k, n in self.splits.items())),
            ("sizes, px", ", ".join(sizes[:5]) + more),
            (
                "instances",
                f"{instances['total']:,}: {self.with_masks:,} with masks, {self.boxes_only:,} boxes only",
            ),
            ("per image", f"{per_image['min']} to {per_image['max']}, median {per_image['median']:g}"),
            ("ignored regions", f"in {self.with_ignore:,} images"),
            ("problems", problems),
        ]
        return [(name, value) for name, value in rows if value]


def kind_of(what: str) -> str:
    """A problem's sentence without what is particular to one item, so that equal ones can be counted."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|-?\d[\d.,]*(?:e[+-]?\d+)?", "…", what)


def parts_of(samples: Iterable[Sample], parts: str, seed: int) -> dict[str, str]:
    """Sample id → part, for parts such as "train=0.8,val=0.2".

    Images of each image class are put in the order of a hash of their file name and cut at the shares, so
    that every part gets its share of every class; what rounding leaves over goes to the largest remainders.
    Raises: click.UsageError when `parts` does not name parts with shares that add up to at most 1.
    """
    shares = shares_of(parts)
    groups: dict[int | None, list[tuple[int, str]]] = defaultdict(list)
    for sample in samples:
        key = None if sample.labels is None else sample.labels.image_class
        groups[key].append((seed_of(seed, "split", str(sample.meta.get("file", sample.id))), sample.id))
    chosen: dict[str, str] = {}
    for members in groups.values():
        members.sort()
        exact = [share * len(members) for share in shares.values()]
        counts = [int(e + 1e-9) for e in exact]
        total = round(sum(exact))
        by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
        for i in by_remainder[: total - sum(counts)]:
            counts[i] += 1
        names = [name for name, count in zip(shares, counts, strict=True) for _ in range(count)]
        chosen.update({member[1]: name for member, name in zip(members, names, strict=False)})
    return chosen


def shares_of(parts: str) -> dict[str, float]:
    """Part → share. Raises: click.UsageError for what names no parts, or more than there is."""
    shares: dict[str, float] = {}
    for text in parts.split(","):
        name, _, number = text.strip().partition("=")
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) or not 0 < share <= 1 or name in shares:
            raise click.UsageError(
                f"--parts: {text.strip()!r} is no NAME=SHARE with a share between 0 and 1, each name "
                "once, as in train=0.8,val=0.2"
            )
        shares[name] = share
    if sum(shares.values()) > 1 + 1e-6:
        raise click.UsageError(f"--parts: the shares add up to {sum(shares.values()):g}, more than 1")
    return shares

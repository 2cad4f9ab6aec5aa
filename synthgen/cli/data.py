"""`synthgen data`: look at a dataset, check it, convert it, split it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from synthgen import plugins
from synthgen.cli.common import json_option, print_json, say
from synthgen.cli.data_facts import Summary, kind_of, parts_of, shares_of
from synthgen.errors import DataError, TooManyBadItems
from synthgen.formats import Format, Loss, Problem, Reading
from synthgen.formats.detect import detect, near, open_dataset
from synthgen.images import MAX_PIXELS
from synthgen.store import new_folder
from synthgen.types import Json, Sample

# Formats that hold the parts of a split in one dataset.
TOGETHER = ("yolo", "imagefolder", "voc", "cvat", "labelstudio")
Command = TypeVar("Command", bound=Callable[..., Any])


def _reading(command: Command) -> Command:
    """The options of every command that opens a dataset."""
    for option in (
        click.option(
            "--max-pixels",
            type=click.IntRange(min=1, max=MAX_PIXELS * 2),
            default=MAX_PIXELS,
            show_default=True,
            metavar="N",
            help="Do not decode images whose header promises more.",
        ),
        click.option(
            "--bits",
            type=click.Choice(["8", "10", "12", "14", "16"]),
            default="16",
            show_default=True,
            help="Bits that a 16-bit grey image really uses.",
        ),
        click.option(
            "-i",
            "--in-option",
            "given",
            multiple=True,
            metavar="KEY=VALUE",
            help="An option of the format that is read; repeatable.",
        ),
        click.option(
            "--from",
            "source_format",
            default="auto",
            show_default=True,
            metavar="FORMAT",
            help="How the dataset is written; auto looks.",
        ),
        click.argument("path", type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


class _Source:
    """A dataset that was opened: its format, its classes, and its items as often as they are asked for."""

    def __init__(
        self, path: Path, source_format: str, given: Sequence[str], bits: str, max_pixels: int
    ) -> None:
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder")
        self.path = path
        self.format = detect(path) if source_format == "auto" else source_format
        self.reader = cast(Format, plugins.build("formats", self.format, options_of(given)))
        self.classes = self.reader.classes(path)
        self.reading = Reading(bits=cast(Any, int(bits)), max_pixels=max_pixels)
        self.problems: list[Problem] = []
        self.images = 0

    def items(self, pixels: bool = True) -> Iterator[Sample | Problem]:
        """Everything that reading gives."""
        return open_dataset(self.path, self.reader, self.classes, replace(self.reading, pixels=pixels))

    def samples(self, pixels: bool = True) -> Iterator[Sample]:
        """The samples; the problems of this pass are kept in `problems`."""
        self.problems, self.images = [], 0
        for item in self.items(pixels):
            if isinstance(item, Problem):
                self.problems.append(item)
            else:
                self.images += 1
                yield item


@click.group()
def data() -> None:
    """Look at datasets, check them, convert them and split them."""


@data.command("inspect")
@_reading
@json_option
def inspect_command(path: Path, source_format: str, given: tuple[str, ...], bits: str, max_pixels: int,
                    as_json: bool) -> None:
    """Say what a dataset holds: format, classes, sizes, instances, empty images, problems.

    Reads every header and label, but no pixels; `data check` decodes everything.
    """
    from synthgen.stages.words import counted

    source = _Source(path, source_format, given, bits, max_pixels)
    summary = Summary(source.format, source.classes)
    for item in source.items(pixels=False):
        summary.add(item)
    if as_json:
        print_json(summary.to_json())
        return
    out = Console(file=sys.stdout)
    table = Table(show_header=False, box=None)
    for name, value in summary.lines():
        table.add_row(name, _plain(value))
    out.print(table)
    per_class = Table("class", "instances", "images")
    for name, row in summary.per_class().items():
        per_class.add_row(_plain(name), f"{row['instances']:,}", f"{row['images']:,}")
    if source.classes:
        out.print(per_class)
    if summary.problems:
        _note(f"{counted(len(summary.problems), 'problem')}: synthgen data check {path}")
    for hint in near(path) if source.format == "images" else []:
        for line in f"labels may be here all the same; {hint}".split("\n"):
            _note(line)


@data.command()
@_reading
@json_option
def check(
    path: Path, source_format: str, given: tuple[str, ...], bits: str, max_pixels: int, as_json: bool
) -> None:
    """List everything that is wrong with a dataset; exit 5 when anything is.

    quarantined: the item is left out. repaired: it is used, changed as the text says.
    """
    source = _Source(path, source_format, given, bits, max_pixels)
    for _ in source.samples():
        pass
    problems = sorted(source.problems, key=lambda p: (p.action, kind_of(p.what), p.file))
    if as_json:
        print_json({"format": source.format, "images": source.images,
                     "problems": [{**asdict(p), "kind": kind_of(p.what)} for p in problems]})
    elif problems:
        _print_problems(problems)
    if problems:
        counts = {action: sum(p.action == action for p in problems) for action in ("quarantined", "repaired")}
        raise TooManyBadItems(
            f"{path}: {counts['quarantined']} quarantined and {counts['repaired']} repaired; "
            f"{source.images} images can be used"
        )
    _note(f"{path}: {source.images} images, nothing wrong")


@data.command()
@_reading
@click.argument("dst", type=click.Path(path_type=Path))
@click.option("--to", "target", required=True, metavar="FORMAT", help="How to write it.")
@click.option("-o", "--option", "options", multiple=True, metavar="KEY=VALUE",
              help="An option of the format that is written; repeatable.")
@click.option("--strict", is_flag=True, help="Write nothing unless everything can be held and read.")
@click.option("--max-bad", type=click.FloatRange(0, 1), default=0.02, show_default=True, metavar="SHARE",
              help="Share of unreadable images above which nothing is written.")
@json_option
def convert(path: Path, source_format: str, given: tuple[str, ...], bits: str, max_pixels: int, dst: Path,
            target: str, options: tuple[str, ...], strict: bool, max_bad: float, as_json: bool) -> None:
    """Write the dataset PATH in another format to the new folder DST, and say what was lost.

    Images are written as 8-bit RGB PNG, as displayed. DST appears whole or not at all.
    """
    source = _Source(path, source_format, given, bits, max_pixels)
    writer = cast(Format, plugins.build("formats", target, options_of(options)))

    def make(folder: Path) -> list[Loss]:
        losses = writer.write(source.samples(), folder, source.classes)
        _judge(source, 0.0 if strict else max_bad)
        if strict and losses:
            said = "; ".join(f"{loss.what} ({loss.count}, as in {loss.example})" for loss in losses)
            raise DataError(f"--strict: {target} cannot hold {said}; nothing was written")
        return losses

    losses = new_folder(dst, make)
    _report(dst, source, {"": losses}, {"": source.images}, as_json)


@data.command()
@_reading
@click.argument("dst", type=click.Path(path_type=Path))
@click.option("--parts", default="train=0.8,val=0.2", show_default=True, metavar="NAME=SHARE,…",
              help="The parts and their shares of the images.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Another seed, another split."
)
@click.option(
    "--to", "target", default=None, metavar="FORMAT", help="How to write it. [default: as it is read]"
)
@click.option("-o", "--option", "options", multiple=True, metavar="KEY=VALUE",
              help="An option of the format that is written; repeatable.")
@click.option("--max-bad", type=click.FloatRange(0, 1), default=0.02, show_default=True, metavar="SHARE",
              help="Share of unreadable images above which nothing is written.")
@json_option
def split(
    path: Path,
    source_format: str,
    given: tuple[str, ...],
    bits: str,
    max_pixels: int,
    dst: Path,
    parts: str,
    seed: int,
    target: str | None,
    options: tuple[str, ...],
    max_bad: float,
    as_json: bool,
) -> None:
    """Split the images of PATH into parts under the new folder DST.

    An image's part follows from the hash of its file name and the seed; image classes are shared out evenly.
    yolo, imagefolder, voc, cvat and labelstudio hold all parts in one dataset, other formats get a folder per part.
    """
    source = _Source(path, source_format, given, bits, max_pixels)
    alike = {}
    if target is None and getattr(plugins.build("formats", source.format, {}), "by_class", lambda _: False)(path):
        alike = {"kind": "class"}
    target = target or source.format
    writer = cast(Format, plugins.build("formats", target, {**alike, **options_of(options)}))
    if target in TOGETHER and (strange := sorted(set(shares_of(parts)) - {"train", "val", "test"})):
        raise click.UsageError(f"--parts: {target} has parts called train, val and test, not {strange[0]!r}")
    chosen = parts_of(source.samples(pixels=False), parts, seed)
    counts: dict[str, int] = dict.fromkeys(dict.fromkeys(chosen.values()), 0)

    def samples(only: str | None) -> Iterator[Sample]:
        for sample in source.samples():
            part = chosen.get(sample.id, "")
            if part and only in (None, part):
                counts[part] += 1
                meta = {key: value for key, value in sample.meta.items() if key != "split"}
                yield replace(sample, meta={**meta, "split": part} if only is None else meta)

    def make(folder: Path) -> dict[str, list[Loss]]:
        names = [None] if target in TOGETHER else list(counts)
        losses = {
            name or "": writer.write(samples(name), folder / (name or ""), source.classes) for name in names
        }
        _judge(source, max_bad)
        return losses

    losses = new_folder(dst, make)
    _report(dst, source, losses, counts, as_json)


def options_of(given: Sequence[str]) -> dict[str, Json]:
    """KEY=VALUE pairs as a plug-in's options; values are YAML. Raises: click.UsageError for others."""
    options: dict[str, Json] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError(f"an option must be KEY=VALUE, not {text!r}")
        try:
            options[key] = YAML(typ="safe", pure=True).load(value)
        except YAMLError:
            raise click.UsageError(f"{text!r}: the value is no YAML; put quotes around it") from None
    return options


def _judge(source: _Source, max_bad: float) -> None:
    """Raises: TooManyBadItems when a larger share than `max_bad` is bad; 0 allows no problem at all."""
    bad = [p for p in source.problems if p.action == "quarantined" or max_bad == 0]
    total = source.images + sum(p.action == "quarantined" for p in source.problems)
    if len(bad) > max_bad * total:
        first = bad[0]
        raise TooManyBadItems(
            f"{source.path}: {len(bad)} of {total} items are bad, over {max_bad:.0%} "
            f"(first {first.file}: {first.what}); nothing was written; all of them: synthgen data check {source.path}; "
            f"{'without --strict' if max_bad == 0 else '--max-bad with a larger share'} goes on without them"
        )


def _report(dst: Path, source: _Source, losses: Mapping[str, list[Loss]], counts: Mapping[str, int],
            as_json: bool) -> None:
    if as_json:
        flat = [
            {**asdict(loss), **({"part": part} if part else {})} for part, ls in losses.items() for loss in ls
        ]
        print_json(
            {
                "path": str(dst),
                "images": dict(counts) if "" not in counts else counts[""],
                "losses": flat,
                "problems": [asdict(p) for p in source.problems],
            }
        )
    elif any(losses.values()):
        table = Table("lost", "count", "for example", title="What the format cannot hold")
        for ls in losses.values():
            for loss in ls:
                table.add_row(_plain(loss.what), str(loss.count), _plain(loss.example))
        Console(file=sys.stdout).print(table)
    said = ", ".join(f"{name} {n}" if name else f"{n} images" for name, n in counts.items())
    lost = "" if any(losses.values()) else "; of the labels nothing was lost"
    _note(f"{dst}: {said}{lost}; images are 8-bit PNG now, 16-bit ones scaled as --bits says")
    if source.problems:
        _note(f"{len(source.problems)} problems in {source.path}: synthgen data check {source.path}")


def _print_problems(problems: Sequence[Problem]) -> None:
    out = Console(file=sys.stdout)
    groups: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.action, kind_of(problem.what)), []).append(problem)
    summary = Table("action", "what", "count")
    table = Table("file", "item", "what", "action")
    for column in table.columns:
        column.overflow = "fold"                            # a name that is cut off names nothing
    for (action, kind), members in groups.items():
        summary.add_row(action, _plain(kind), str(len(members)))
        for p in members:
            table.add_row(_plain(p.file), _plain(p.item), _plain(p.what), p.action)
        table.add_section()
    out.print(summary)
    out.print(table)


def _plain(text: str) -> Text:
    """Text as it is: no markup, and no control characters that a terminal would obey."""
    return Text("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))


def _note(text: str) -> None:
    say(_plain(text).plain)

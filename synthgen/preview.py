"""A look at what a recipe would make, before it is run: the samples of the run itself, on one sheet."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from synthgen import plugins
from synthgen.answers import answers
from synthgen.metrics.accuracy import score_image, value_of
from synthgen.overlay import Stretch, class_colour, draw, fit_to, stretch_for
from synthgen.recipe.load import Loaded
from synthgen.recipe.schema import Generate
from synthgen.run import job_of
from synthgen.stages import Job, committee, generate, ingest
from synthgen.types import Generator, Image, Sample
from synthgen.work import Events, Say, Work

CELL = 224                                       # px of a picture's longer side
GAP, LINE = 12, 19
GROUND, INK, DIM = (24, 27, 33), (232, 236, 239), (150, 160, 172)


@dataclass(frozen=True, slots=True)
class Made:
    """What a preview made of one generator: its samples, and how long the fit and a sample took.

    trained: False for one that trains a network and has not yet in the run's folder; it has no samples then.
    agreement: of each sample, how well labelers trained on real images alone agree with its labels (Dice, or 1 and 0
    for the class); empty where nobody was asked.
    """

    name: str
    samples: tuple[Sample, ...]
    fit_seconds: float
    sample_seconds: float
    trained: bool = True
    agreement: tuple[float, ...] = ()


def preview(loaded: Loaded, n: int, say: Say, warn: Callable[[str], None] = lambda _: None) -> list[Made]:
    """About n samples over all enabled generators, from the first that a run makes; its folder is not touched.

    A generator that trains a network draws with what it learned in the run's folder. For the others the seed is
    ingested into a folder that is removed at the end, so that samples are named, judged and seeded as in a run.
    Without generators: seed images, under the name "seed". warn: is told what of the seed was not taken as it stands.
    Raises: what ingest raises for data that cannot be used; DataError when a generator cannot be fitted.
    """
    data = loaded.recipe.data.model_copy(update={"pool": None, "pool_truth": None, "test": None})
    recipe = loaded.recipe.model_copy(update={"data": data})
    with TemporaryDirectory(prefix="synthgen-preview-") as scratch:
        folder = Path(scratch)
        job = Job(recipe, loaded.path.parent, Work(folder), Events(folder / "events.jsonl"), say=say)
        seed = next(u for u in ingest.units(job) if u.name == "0-ingest/seed")
        job.work.once(seed.name, seed.needs, seed.make)
        for event in job.events.read():
            if event["what"] == "warning":
                warn(str(event["why"]))
        sections = [g for g in recipe.generate if g.enabled and g.count]
        if not sections:
            return [Made("seed", tuple(ingest.part(job, "seed")[:n]), 0.0, 0.0)]
        shares = [n // len(sections) + (k < n % len(sections)) for k in range(len(sections))]
        live = job_of(loaded, say)
        return [
            _drawn(live, section, min(share, section.count))
            if generate.learns(section)
            else _made(job, section, min(share, section.count))
            for section, share in zip(sections, shares, strict=True)
            if share
        ]


def _drawn(live: Job, section: Generate, count: int) -> Made:
    """Samples by what was learned in the run's folder, and what its committee says of them."""
    unit = generate.fit_unit(live, section)
    if live.work.why(unit.name, unit.needs) is not None:
        return Made(section.name, (), 0.0, 0.0, trained=False)
    generator: Generator = plugins.build("generators", section.use, section.options)
    generator.load(live.work.path(unit.name))
    began = time.perf_counter()
    samples = []
    for sample in generate.samples(generator, live.recipe.seed, section.name, 0, count):
        samples.append(sample)
        live.say(f"preview {section.name}", len(samples), count)
    each = (time.perf_counter() - began) / max(len(samples), 1)
    members = committee.members(live)
    metric = "accuracy" if live.recipe.task == "classify" else "dice"
    agreement = []
    if members:
        for sample, found in answers(members[0].labeler, samples, tta=False):
            assert sample.labels is not None
            agreement.append(value_of([score_image(found, sample.labels)], metric))
    return Made(section.name, tuple(samples), 0.0, each, agreement=tuple(agreement))


def _made(job: Job, section: Generate, count: int) -> Made:
    began = time.perf_counter()
    folder = job.work.folder / "fit" / section.name
    folder.mkdir(parents=True)
    generator = generate.fitted(job, section, folder)
    fitted = time.perf_counter()
    # Renderings of one layout are neighbours; where there is room each layout is shown once, in turn of its renderings.
    step: int = getattr(generator, "variants", 1)
    picks = [i * step + i % step for i in range(count)] if count * step <= section.count else list(range(count))
    samples: list[Sample] = []
    for k in picks:
        samples += generate.samples(generator, job.recipe.seed, section.name, k, k + 1)
        job.say(f"preview {section.name}", len(samples), count)
    return Made(section.name, tuple(samples), fitted - began, (time.perf_counter() - fitted) / max(len(samples), 1))


def contact_sheet(made: Sequence[Made], classes: Sequence[str], boxes: bool = False) -> Image:
    """The samples, image beside overlay, each with its generator's name; above them the classes and their counts."""
    samples = [(m.name, s, m.agreement[k] if m.agreement else None) for m in made for k, s in enumerate(m.samples)]
    stretch = stretch_for(s.image for _, s, _ in samples)
    cells = [_cell(name, s, agreement, classes, stretch, boxes) for name, s, agreement in samples]
    width, height = max((c.width for c in cells), default=CELL), max((c.height for c in cells), default=CELL)
    columns = max(1, min(len(cells), round(1850 / (width + GAP))))
    rows = -(-len(cells) // columns)
    legend = _legend([s for _, s, _ in samples], classes, stretch, columns * (width + GAP) - GAP)
    page = PIL.Image.new(
        "RGB", (columns * (width + GAP) + GAP, legend.height + rows * (height + GAP) + 2 * GAP), GROUND
    )
    page.paste(legend, (GAP, GAP))
    for k, cell in enumerate(cells):
        page.paste(cell, (GAP + k % columns * (width + GAP), legend.height + 2 * GAP + k // columns * (height + GAP)))
    return np.array(page)


def _cell(name: str, sample: Sample, agreement: float | None, classes: Sequence[str], stretch: Stretch,
          boxes: bool) -> PIL.Image.Image:
    base, factor = fit_to(stretch(sample.image), CELL)
    labels = sample.labels
    pictures = (
        [base] if labels is None or labels.image_class is not None else [base, draw(base, labels, factor, boxes=boxes)]
    )
    h, w = base.shape[:2]
    cell = PIL.Image.new("RGB", (max(len(pictures) * w + (len(pictures) - 1) * 2, 120), h + 2 * LINE + 2), GROUND)
    for k, picture in enumerate(pictures):
        cell.paste(PIL.Image.fromarray(picture), (k * (w + 2), 0))
    facts = [f"{v}" for v in sample.meta.values() if isinstance(v, str)]
    if labels is not None:
        many = len(labels)
        facts.insert(
            0,
            classes[labels.image_class]
            if labels.image_class is not None
            else f"{many} object{'' if many == 1 else 's'}",
        )
    facts += [] if agreement is None else [f"agreement {agreement:.2f}"]
    pen = PIL.ImageDraw.Draw(cell)
    _write(pen, (0, h + 3), f"{name}   {sample.id}", INK, cell.width)
    _write(pen, (0, h + 2 + LINE), ", ".join(facts), DIM, cell.width)
    return cell


def _legend(samples: Sequence[Sample], classes: Sequence[str], stretch: Stretch, width: int) -> PIL.Image.Image:
    counts: Counter[int] = Counter()
    for sample in samples:
        if sample.labels is not None:
            counts.update(sample.labels.classes.tolist())
            counts.update([] if sample.labels.image_class is None else [sample.labels.image_class])
    font = _font()
    rows, x = [[]], 0                            # type: ignore[var-annotated]
    for k, name in enumerate(classes):
        text = f"{name}  {counts[k]}"
        need = 18 + int(font.getlength(text)) + 20
        if x and x + need > width:
            rows.append([])
            x = 0
        rows[-1].append((x, k, text))
        x += need
    shown = rows[:6]
    note = ("contrast stretched for display, alike in all pictures" if stretch.changes else "") + \
        ("; more classes than fit here" if len(rows) > len(shown) else "")
    strip = PIL.Image.new("RGB", (width, (len(shown) + bool(note)) * (LINE + 3)), GROUND)
    pen = PIL.ImageDraw.Draw(strip)
    for y, row in enumerate(shown):
        for x, k, text in row:
            pen.rounded_rectangle((x, y * (LINE + 3) + 2, x + 12, y * (LINE + 3) + 14), 3, fill=class_colour(k))
            _write(pen, (x + 18, y * (LINE + 3)), text, INK, width)
    if note:
        _write(pen, (0, len(shown) * (LINE + 3)), note.removeprefix("; "), DIM, width)
    return strip


@cache
def _font() -> PIL.ImageFont.FreeTypeFont:
    # Pillow's own knows no letter beyond ASCII.
    from matplotlib import get_data_path

    return PIL.ImageFont.truetype(Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf", 13)


def _write(
    pen: PIL.ImageDraw.ImageDraw, at: tuple[int, int], text: str, colour: tuple[int, int, int], width: int
) -> None:
    """One line, cut off with an ellipsis where it is too long."""
    font = _font()
    while len(text) > 1 and font.getlength(text) > width - at[0]:
        text = text[:-2] + "…"
    pen.text(at, text, colour, font)

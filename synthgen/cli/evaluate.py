"""`synthgen evaluate`: judge any two datasets, without a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

import click

from synthgen.cli.common import json_option
from synthgen.types import Task

_PATH = click.Path(path_type=Path)


@click.command("evaluate")
@click.option("--real", required=True, type=_PATH, help="The real dataset: images with or without labels.")
@click.option("--synthetic", required=True, type=_PATH, help="The synthetic dataset.")
@click.option("--pool", type=_PATH, help="Real images that the generator never saw: near copies are told by them.")
@click.option("--real-format", default="auto", show_default=True, metavar="FORMAT", help="How the real one is written.")
@click.option("--synthetic-format", default="auto", show_default=True, metavar="FORMAT",
              help="How the synthetic one is written.")
@click.option("-c", "--check", "checks", multiple=True, metavar="CHECK",
              help="A check to run; repeatable. Without: all that need no training.")
@click.option("--task", type=click.Choice(get_args(Task)), help="What the labels are for; without: looked up.")
@click.option("--seed", default=7, show_default=True, type=click.IntRange(min=0), help="Of all randomness.")
@click.option("--permutations", default=999, show_default=True, type=click.IntRange(19, 100_000), help="Per test.")
@click.option("--max-bad", default=0.02, show_default=True, type=click.FloatRange(0, 1),
              help="Share of a side's images that may be unreadable.")
@click.option("--bits", type=click.Choice(["8", "10", "12", "14", "16"]), default="16", show_default=True,
              help="Bits that a 16-bit grey image really uses.")
@click.option("--strict", is_flag=True, help="Refuse what is inconclusive or could not be checked, too.")
@click.option("--junit", type=_PATH, metavar="FILE", help="Write the measurements as JUnit XML too.")
@click.option("--markdown", type=_PATH, metavar="FILE",
              help="Write the verdict and the measurements as Markdown too, for a pull request.")
@json_option
def command(real: Path, synthetic: Path, pool: Path | None, real_format: str, synthetic_format: str,
            checks: tuple[str, ...], task: str | None, seed: int, permutations: int, max_bad: float, bits: str,
            strict: bool, junit: Path | None, markdown: Path | None, as_json: bool) -> None:
    """Judge a synthetic dataset against a real one: sound labels, telling images apart, drift of the labels.

    The same gate as a run's, without training: it cannot say whether the data help, only whether something is
    wrong with them. Exit 4 when the gate refuses.
    """
    import tempfile

    from synthgen.checks import as_json as plain
    from synthgen.checks import verdict_of
    from synthgen.cli.gate import conclude
    from synthgen.cli.progress import Watch
    from synthgen.compare import CHECKS, Side, compare
    from synthgen.formats import Reading

    with tempfile.TemporaryDirectory(prefix="synthgen-") as scratch, Watch(Path(scratch)) as watch:
        found = compare(
            Side("real", real, real_format), Side("synthetic", synthetic, synthetic_format), Path(scratch), watch,
            pool=None if pool is None else Side("pool", pool), checks=checks or CHECKS,
            task=cast(Task | None, task), seed=seed, permutations=permutations,
            max_bad=max_bad, reading=Reading(bits=cast(Any, int(bits))))
        sides = {name: {"path": str(path), "images": len(read.samples), "left_out": len(read.problems)}
                 for name, path, read in (("real", real, found.real), ("synthetic", synthetic, found.synthetic))}
    verdict = {
        "verdict": verdict_of(found.measurements, "fail" if strict else "warn"),
        "measurements": [plain(m) for m in found.measurements],
        "task": found.task, "classes": list(found.classes), "seed": seed, **sides,
    }
    conclude(f"{synthetic} against {real}", verdict, junit, markdown, as_json)

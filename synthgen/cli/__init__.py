"""The command line: one module per command, imported when its command is called and not before.

Data goes to stdout, text for people to stderr. `--help` imports nothing but click.
"""

from __future__ import annotations

import difflib
import errno
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from synthgen import __version__
from synthgen.errors import SynthgenError


@dataclass(frozen=True, slots=True)
class Entry:
    """A command that is not imported yet: where it is, and its line in `--help`."""

    target: str
    help: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Work": {
        "run": Entry("synthgen.cli.run:command", "Do what a recipe says; go on where an earlier run ended."),
        "label": Entry("synthgen.cli.label:command", "Label images with the labeler of a run."),
        "review": Entry("synthgen.cli.review:command", "Let people review labels, here or in another tool."),
        "export": Entry("synthgen.cli.export:command", "Write a run's labelled dataset in another format."),
    },
    "Judge": {
        "evaluate": Entry("synthgen.cli.evaluate:command", "Judge a synthetic dataset against a real one."),
        "benchmark": Entry("synthgen.cli.benchmark:command", "Measure whether synthetic data help on your data."),
        "gate": Entry("synthgen.cli.gate:command", "Say what the gate of a finished run decided."),
    },
    "Look": {
        "plan": Entry("synthgen.cli.plan:command", "Say what a run would do, and why, without doing it."),
        "preview": Entry("synthgen.cli.preview:command", "Make a few samples and show them on one sheet."),
        "status": Entry("synthgen.cli.status:command", "Say how far a run is, also while it works."),
        "report": Entry("synthgen.cli.report:command", "Write a run's report again."),
    },
    "Data": {
        "data": Entry("synthgen.cli.data:data", "Inspect, check, convert and split datasets."),
    },
    "Recipe": {
        "init": Entry("synthgen.cli.init:command", "Write a recipe for your data."),
        "validate": Entry("synthgen.cli.validate:command", "Tell everything that is wrong with a recipe."),
        "ls": Entry("synthgen.cli.ls:command", "List shipped recipes and installed plug-ins."),
        "cat": Entry("synthgen.cli.cat:command", "Print a shipped recipe."),
        "cp": Entry("synthgen.cli.cp:command", "Copy a shipped recipe, to change it."),
        "explain": Entry("synthgen.cli.explain:command", "Say what a key of the recipe means."),
        "schema": Entry("synthgen.cli.schema:command", "Print the recipe's JSON schema, for editors."),
    },
    "Machine": {
        "doctor": Entry("synthgen.cli.doctor:command", "Say whether this machine can work, or the cure."),
    },
}
COMMANDS: dict[str, Entry] = {name: entry for group in SECTIONS.values() for name, entry in group.items()}


class _ReaderGoneError(Exception):
    """Whoever read our stdout has closed it."""


class LazyGroup(click.Group):
    """A group whose commands stand in a table; help is written from the table alone."""

    # The signatures are click's, hence the arguments that are not used.

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        _take_verbosity(command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Under another name: click would end the process with 1 itself, and 1 means a bug.
            raise _ReaderGoneError from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f"did you mean {close[0]!r}?" if close else "see: synthgen --help"
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        width = max(map(len, COMMANDS))
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), entry.help) for name, entry in entries.items()])


def _set_verbosity(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value and not ctx.resilient_parsing:
        # Here, so that help stays fast: rich is imported only when somebody asks for more or less of it.
        from synthgen.cli.common import set_verbosity

        set_verbosity(-1 if param.name == "quiet" else int(value))
        ctx.call_on_close(lambda: set_verbosity(0))     # the console outlives the command when main() is called again


def _verbosity_options() -> list[click.Option]:
    return [
        click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=_set_verbosity,
                     help="Print errors only."),
        click.Option(["-v", "--verbose"], count=True, expose_value=False, callback=_set_verbosity,
                     help="Print more; -vv still more."),
    ]


def _take_verbosity(command: click.Command) -> None:
    """Let a command take -q and -v wherever they are written: `synthgen -q run` and `synthgen run -q`."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _take_verbosity(below)
        return
    taken = {name for param in command.params for name in (param.name, *param.opts)}
    for option in _verbosity_options():
        if not taken & {option.name, *option.opts}:
            command.params.append(option)


cli = LazyGroup(
    "synthgen",
    params=_verbosity_options(),
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "SYNTHGEN",
                      "max_content_width": 100},
    help="""Synthetic data with known labels, a compact labeler, and a gate that says whether they help.

    Start with: synthgen ls, then: synthgen run nuclei. RECIPE is a file, or the name of a shipped recipe.
    """,
    epilog="Every option can be set by the environment too: --quiet of run is SYNTHGEN_RUN_QUIET.",
)
click.version_option(__version__, "-V", "--version", message="synthgen %(version)s")(cli)


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line (sys.argv's by default) and give its exit code.

    0 ok · 1 bug · 2 usage · 3 recipe or data invalid · 4 gate refused · 5 too many bad items ·
    6 locked · 7 environment · 8 waiting for people · 130 interrupted.
    """
    try:
        code = cli.main(None if args is None else list(args), prog_name="synthgen", standalone_mode=False)
        # A command returns nothing; click gives the code of ctx.exit() back as an int.
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SynthgenError as error:
        # A page of problems begins with file:line:col, where editors and grep look for it.
        page = getattr(error, "problems", None)
        click.echo(str(error) if page else f"error: {error}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: what was finished is kept; the same command goes on from there.", err=True)
        return 130
    except _ReaderGoneError:
        # The reader (`| head`) has seen enough. Python would complain once more while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            click.echo(f"error: the disk is full ({error.filename or error}); free some space, then the same "
                       "command goes on", err=True)
        elif error.filename is not None:
            click.echo(f"error: {error.filename}: {error.strerror}", err=True)
        else:
            return _bug(error)
        return 7
    except Exception as error:
        # torch has a class of its own for a full device, and torch is not imported here.
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            click.echo("error: there is not enough memory; take smaller batches (train.batch), smaller shards "
                       "(shard_size) or fewer processes (run.workers), then the same command goes on", err=True)
            return 7
        return _bug(error)


def _bug(error: BaseException) -> int:
    import traceback

    click.echo("".join(traceback.format_exception(error)), err=True)
    said = f"{type(error).__name__}: {error}"
    click.echo(f"This is a bug in synthgen {__version__}, not in what you did: {said}\n"
               "Please report it with the lines above and what `synthgen doctor` prints.", err=True)
    return 1

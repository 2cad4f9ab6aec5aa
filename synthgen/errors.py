"""Everything that can go wrong for a reason a person can act on.

A class carries the exit code that the command line ends with; the table stands in the README.
An error says, in one sentence, what is wrong, where, what was allowed and what to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class SynthgenError(Exception):
    """The base: an error meant for a person, printed without a traceback."""

    exit_code: ClassVar[int] = 1


class RecipeError(SynthgenError):
    """The recipe is invalid. Holds every problem found, not only the first."""

    exit_code = 3


class DataError(SynthgenError):
    """A dataset the user named cannot be used as it is."""

    exit_code = 3


class PluginError(SynthgenError):
    """A plug-in is unknown, claimed twice, broken, or was given options that it does not take."""

    exit_code = 3


class GateRefused(SynthgenError):
    """The gate refused the dataset: the report says why, and nothing was exported."""

    exit_code = 4


class TooManyBadItems(SynthgenError):
    """More items of the user's data are unreadable or invalid than the recipe allows."""

    exit_code = 5


class Locked(SynthgenError):
    """Another process works in this run folder."""

    exit_code = 6


class EnvironmentProblem(SynthgenError):
    """The machine lacks something: disk, memory, a device, an optional package."""

    exit_code = 7


class WaitingForPeople(SynthgenError):
    """The line stands still until somebody has reviewed labels."""

    exit_code = 8


class Interrupted(SynthgenError):
    """Ctrl-C: what was finished is kept, the same command goes on from there."""

    exit_code = 130


def shown(path: Path) -> str:
    """A path as short as it can be typed here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)

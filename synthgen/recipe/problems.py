"""What is wrong with a recipe, and the page that a person reads about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from synthgen.errors import RecipeError
from synthgen.recipe.tree import Place
from synthgen.types import Json


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where.

    file: as the user would write it; for an override, "-S" and its text.
    line, column: 1-based; both 0 for an override, which has no lines.
    path: as -S takes it, `generate.1.steps`. where: as a person reads it, `generate[1] (diffuse)`.
    allowed: the keys or values that would have been right. hint: what to do, a clause.
    excerpt, width: the line itself, and how many characters of it are meant.
    """

    file: str
    line: int
    column: int
    path: str
    where: str
    message: str
    allowed: tuple[str, ...] = ()
    hint: str = ""
    excerpt: str = ""
    width: int = 1

    def __str__(self) -> str:
        position = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        subject = f"{self.where}: " if self.where else ""
        lines = [f"{position}  {subject}{self.message}"]
        if self.line and self.excerpt:
            # Tabs stay tabs in the marker's indent, so that it stands under its word in every terminal.
            indent = "".join("\t" if c == "\t" else " " for c in self.excerpt[: self.column - 1])
            lines += [f"{self.line:5} | {self.excerpt}", f"      | {indent}{'^' * max(1, self.width)}"]
        allowed = f"allowed here: {', '.join(self.allowed)}" if self.allowed else ""
        advice = " ".join(part for part in (self.hint, allowed) if part)
        return "\n".join([*lines, *([f"   {advice}"] if advice else [])])

    def as_json(self) -> Json:
        """The problem as `validate --json` prints it."""
        return {k: v for k, v in asdict(self).items() if k not in ("excerpt", "width")}


class InvalidRecipeError(RecipeError):
    """Everything that is wrong with a recipe, in the order of its lines; its text is the page to print."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        # The same fault seen twice (by an alias, or by two checks) is said once.
        self.problems: tuple[Problem, ...] = tuple(dict.fromkeys(problems))
        n = len(self.problems)
        total = f"{n} error{'s' if n != 1 else ''}. Nothing was run."
        super().__init__("\n\n".join([*map(str, self.problems), total]))


def problem_at(place: Place, message: str, *, path: str = "", where: str = "",
               allowed: Sequence[str] = (), hint: str = "") -> Problem:
    """A problem at a place of a file or of an override."""
    source = place.source
    if source.path is None:
        return Problem(source.name, 0, 0, path, where, message, tuple(allowed), hint)
    # A caret line as long as a block of text would help nobody: it ends with its line.
    excerpt = source.lines[place.line - 1] if place.line <= len(source.lines) else ""
    width = max(1, min(place.width, len(excerpt) - place.column + 1))
    return Problem(source.name, place.line, place.column, path, where, message, tuple(allowed), hint,
                   excerpt, width)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean "steps"?`, or nothing when no known word is close."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(names), 1)
    return f'did you mean "{names[close[0]]}"?' if close else ""

"""What every function's options have in common."""

from __future__ import annotations

from pydantic import ConfigDict

from synthgen.errors import DataError
from synthgen.types import Context

OPTIONS = ConfigDict(extra="forbid", use_attribute_docstrings=True)


def class_index(name: str | None, context: Context, who: str) -> int:
    """The index of a class by name; None = the first. Raises: DataError when the recipe has no such class."""
    if name is None:
        return 0
    if name not in context.classes:
        raise DataError(f"{who}: there is no class {name!r}; the recipe has {', '.join(context.classes)}")
    return context.classes.index(name)

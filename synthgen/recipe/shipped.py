"""The recipes and the data that come with synthgen, in an installed package as well as in a checkout."""

from __future__ import annotations

import os
from pathlib import Path

import synthgen
from synthgen.errors import RecipeError
from synthgen.recipe.problems import did_you_mean

PACKAGE = Path(synthgen.__file__).parent


def _folder(inside: str, beside: str) -> Path:
    # An installed wheel holds the folder in the package; a checkout holds it beside the package.
    installed = PACKAGE / inside
    return installed if installed.is_dir() else PACKAGE.parent / beside


def recipes_folder() -> Path:
    """The folder of the shipped recipes."""
    return _folder("_recipes", "recipes")


def shipped_assets() -> Path:
    """The folder of the shipped data and style sheets."""
    return _folder("_assets", "assets")


def shipped_recipes() -> dict[str, Path]:
    """The shipped recipes by name, sorted; the name is the file's path without `.yaml`."""
    folder = recipes_folder()
    paths = sorted(folder.rglob("*.yaml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}


def shipped_recipe(name: str) -> Path | None:
    """The shipped recipe of that name, with or without `.yaml`; None when there is none."""
    return shipped_recipes().get(name.removesuffix(".yaml"))


def resolve_recipe(name_or_path: str | Path) -> Path:
    """The recipe file that a person means: a file that exists, or else a shipped recipe's name.

    Raises: RecipeError when it is neither; the text lists the shipped ones.
    """
    path = home_expanded(str(name_or_path))
    if os.path.isfile(path):                    # unlike Path.is_file, takes names that no system could open
        return path
    found = shipped_recipe(str(name_or_path))
    if found is not None:
        return found
    if os.path.isdir(path):
        inside = " or ".join(str(p) for p in sorted(path.glob("*.yaml"))[:3])
        hint = f"; did you mean {inside}?" if inside else ""
        raise RecipeError(f"{name_or_path} is a folder, not a recipe{hint}")
    names = list(shipped_recipes())
    near = [p.name for p in path.parent.glob("*.y*ml")] if os.path.isdir(path.parent) else []
    hint = did_you_mean(path.name, near) or did_you_mean(str(name_or_path), names)
    raise RecipeError(f"there is no recipe {str(name_or_path)!r}: neither a file nor a shipped recipe; "
                      f"{hint + ' ' if hint else ''}shipped: {', '.join(names) or 'none'}")


def home_expanded(text: str) -> Path:
    """A path with `~` as the home folder; a user's home that cannot be found stays as it was written."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def absolute_path(text: str, folder: Path) -> Path:
    """A path as a recipe in `folder` means it: `~` is the home folder, all else is relative to the recipe.

    Shipped recipes say `../assets/..`; in an installed package that folder has another name.
    """
    path = home_expanded(text)
    assets = Path("..", "assets")
    if path.parts[:2] == assets.parts and folder.absolute() == recipes_folder().absolute():
        path = shipped_assets().joinpath(*path.parts[2:])
    return Path(os.path.normpath((folder / path).absolute()))

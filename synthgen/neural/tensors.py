"""Tensors by name, on disk and in memory: what a training has to remember, and what it gives in the end. No pickles.

For modules that have imported torch anyway; nothing here imports it by itself but safetensors' functions for it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from synthgen.errors import DataError
from synthgen.neural.watch import Watch
from synthgen.types import Json

Tensors: TypeAlias = dict[str, Any]  # name → torch.Tensor
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam remembers of each parameter
LOOKS = "looks"


def plain(state: Mapping[str, Any]) -> Tensors:
    """The tensors of a state, sorted by name, as they are written: on the CPU, without gradients."""
    return {k: v.detach().cpu().contiguous() for k, v in sorted(state.items())}


def identity_of(state: Mapping[str, Any]) -> str:
    """16 hex digits of SHA-256 over names, shapes and bytes: `Origin.weights`."""
    from safetensors.torch import save

    return hashlib.sha256(save(plain(state))).hexdigest()[:16]


def write_tensors(path: Path, state: Mapping[str, Any], about: Json = None) -> None:
    """A safetensors file, whole or not at all. about: JSON facts that go along."""
    from safetensors.torch import save_file

    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    save_file(plain(state), part, {"about": json.dumps(about)})
    os.replace(part, path)


def read_tensors(path: Path) -> tuple[Tensors, Json]:
    """What `write_tensors` wrote: the tensors, on the CPU, and the facts."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, "pt") as file:
        about = json.loads((file.metadata() or {}).get("about", "null"))
    return load_file(path), about


def remembered(name: str, network: Any, optimiser: Any) -> Tensors:
    """Weights that a network learns and what Adam remembers of them, under a name."""
    out: Tensors = {}
    for key, parameter in _learned(network):
        out[f"{name}.weight.{key}"] = parameter
        out |= {f"{name}.{moment}.{key}": optimiser.state[parameter][moment] for moment in MOMENTS}
    return out


def remind(name: str, network: Any, optimiser: Any, tensors: Tensors) -> None:
    """Put back what `remembered` gave."""
    for key, parameter in _learned(network):
        parameter.data.copy_(tensors[f"{name}.weight.{key}"])
        # Adam counts its steps on the CPU, whatever the device.
        optimiser.state[parameter] = {m: tensors[f"{name}.{m}.{key}"].to("cpu" if m == "step" else parameter.device)
                                      for m in MOMENTS}


def _learned(network: Any) -> list[tuple[str, Any]]:
    return [(key, parameter) for key, parameter in network.named_parameters() if parameter.requires_grad]


def averaged(network: Any, average: Any) -> Tensors:
    """The parameters that diffusers' EMAModel averaged, by their names in the network."""
    names = [name for name, _ in network.named_parameters()]
    return dict(zip(names, average.shadow_params, strict=True))


def chosen(folder: Path, watch: Watch | None, what: str) -> Path:
    """The weights that a training gives: of the step that the looks chose, the last ones where nobody looked.

    what: the generator, in words. Raises: DataError when samples were never sound.
    """
    if watch is None:
        return folder / "last.safetensors"
    if watch.best is None:
        raise DataError(f"the {what} never made sound samples: {watch.alarm or 'all are alike'}; label more images, "
                        "name a pool, or use compose")
    return folder / LOOKS / f"{watch.best:06d}.safetensors"

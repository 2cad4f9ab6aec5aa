"""Pipelines through diffusers, from a folder that `folders` has looked at; nothing is fetched here, and no code run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import lcm
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from synthgen.errors import DataError, EnvironmentProblem
from synthgen_pretrained.folders import check_controlnet, check_pipeline, parts_of, variant_of
from synthgen_pretrained.quiet import PIP, missing, quiet
from synthgen_pretrained.scenes import Mode

Precision = Literal["float32", "float16", "bfloat16"]
MULTIPLE = 8  # px; every pipeline asks for sides of at least this multiple
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """A diffusers pipeline, ready to draw.

    pipe: the library's own object. takes: the arguments of its call; defaults: their values. cell: side of a latent
    cell, px. multiple: sides of images must be multiples of it, px. side: the side that it was made for, px, None where
    it does not say.
    """

    pipe: Any
    takes: frozenset[str]
    cell: int
    multiple: int
    side: int | None
    defaults: dict[str, Any] = field(default_factory=dict)


def load(mode: Mode, model: Path, controlnet: Path | None, precision: Precision, device: str) -> Pipeline:
    """The pipeline of a mode from a folder, and with a ControlNet from another one where it is given.

    Raises: DataError for a folder that is no pipeline in safetensors, wants code of its own, lacks weights, or serves
    no such mode; EnvironmentProblem when a library is missing.
    """
    check_pipeline(model)
    kind = None if controlnet is None else check_controlnet(controlnet)
    with quiet(), seeded(0):
        try:
            import diffusers
            import transformers
        except ImportError as error:
            raise missing(error) from None
        auto = {"text": diffusers.AutoPipelineForText2Image, "controlnet": diffusers.AutoPipelineForText2Image,
                "image": diffusers.AutoPipelineForImage2Image}.get(mode, diffusers.AutoPipelineForInpainting)
        dtype = DTYPES[precision]
        given: dict[str, Any] = {}
        if controlnet is not None:
            given["controlnet"] = _network(getattr(diffusers, str(kind), None), controlnet, dtype)
        libraries = {"diffusers": diffusers, "transformers": transformers}
        for part, (library, name) in parts_of(model).items():
            # Networks that only one family of pipelines has stand in that family's own module.
            home = libraries.get(library) or getattr(diffusers.pipelines, library, None)
            found = getattr(home, name, None)
            if isinstance(found, type) and issubclass(found, nn.Module):
                given[part] = _network(found, model / part, dtype)
        try:
            pipe = auto.from_pretrained(str(model), use_safetensors=True, local_files_only=True,
                                        trust_remote_code=False, **given)
        except ImportError as error:
            raise EnvironmentProblem(f"{model}: a part of this model needs a library that is not installed "
                                     f"({_first(error)}); install it, or all that pretrained needs: {PIP}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise DataError(f"{model}: diffusers makes no pipeline for mode {mode} of it ({_first(error)}); name a "
                            "model that serves this mode, or another mode") from None
        pipe.set_progress_bar_config(disable=True)
        pipe.to(device)
    return described(pipe)


def described(pipe: Any) -> Pipeline:
    """A diffusers pipeline with what its drawer has to know."""
    takes = inspect.signature(pipe.__call__).parameters
    cell = int(getattr(pipe, "vae_scale_factor", MULTIPLE))
    processor = getattr(pipe, "image_processor", None)
    asked = int(processor.config.vae_scale_factor) if processor is not None else cell
    sample = getattr(pipe, "default_sample_size", None)
    if sample is None and getattr(pipe, "unet", None) is not None:
        sample = pipe.unet.config.sample_size
    side = None if sample is None else max(sample) if isinstance(sample, list | tuple) else int(sample)
    defaults = {name: p.default for name, p in takes.items() if p.default is not inspect.Parameter.empty}
    return Pipeline(pipe, frozenset(takes), cell, lcm(MULTIPLE, cell, asked),
                    None if side is None else side * cell, defaults)


def _network(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """One network of a pipeline, with all of its weights."""
    from diffusers import ModelMixin

    if kind is None:
        raise DataError(f"{folder}: this version of diffusers knows no such network; name another one, or upgrade it")
    said = {"torch_dtype": dtype} if issubclass(kind, ModelMixin) else {"dtype": dtype}
    variant = variant_of(folder)
    try:
        net, told = kind.from_pretrained(str(folder), use_safetensors=True, local_files_only=True, variant=variant,
                                         output_loading_info=True, **said)
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError) as error:
        raise DataError(f"{folder}: no {kind.__name__} can be loaded from here ({_first(error)}); it must hold "
                        "config.json and its weights as .safetensors") from None
    lost = sorted(told["missing_keys"])
    if lost:
        raise DataError(f"{folder}: the checkpoint lacks {len(lost)} of the network's weights, {lost[0]} for one, "
                        "which would be drawn at random; name a folder that holds all of them")
    return net.eval()


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's global generators at a seed inside, and as they were afterwards."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: a sum over two threads has other last digits than over one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Encoders of the library transformers: DINOv2 and its like, SegFormer, what RT-DETR sees with, and others.

A vision transformer has tokens on one grid, whose features become one map; others have maps of several strides. Once
loaded, an encoder needs its folder no more: configuration and weights are part of what the labeler saves.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from synthgen.errors import DataError
from synthgen.hub import Place, from_config, load_encoder, preprocessing
from synthgen.types import Json

WHO = "the labeler's encoder"
# Of no moment for what is computed, or in the way of it.
PASSING = ("_name_or_path", "transformers_version", "id2label", "label2id", "return_dict", "output_hidden_states",
           "output_attentions")
MOST_WORDS = 2  # tokens before the patches beside registers: the class, and of a distilled one its teacher's
SIDE = 64  # px of the image that an encoder is tried on; of one whose patches do not divide it, 8 patches


@dataclass(frozen=True, slots=True)
class Features:
    """What an encoder sees in images: maps (B, C_i, H_i, W_i) float32, fine to coarse, and of vision transformers the
    class token (B, C), which speaks of the whole image; None where there is none."""

    maps: list[Tensor]
    token: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """What an encoder is built from. config: as transformers writes it, without names and paths. mean, std: of the RGB
    in [0, 1] that it was trained on, per channel."""

    config: dict[str, Json]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read(place: Place) -> tuple[Spec, dict[str, Tensor]]:
    """The encoder of a place, and its weights as `Backbone` names them.

    Raises: EnvironmentProblem when transformers is not installed; DataError when there is no such model in safetensors,
    it sees no images, lacks weights, or does not say how its images were normalised.
    """
    net, (mean, std) = load_encoder(WHO, place), _normalised(place)
    spec = Spec(_lasting(json.loads(net.config.to_json_string(use_diff=False))), mean, std)
    return spec, {f"net.{name}": value for name, value in net.state_dict().items()}


def _normalised(place: Place) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of RGB in [0, 1] that the encoder is to see as 0 and 1."""
    said = preprocessing(WHO, place)
    if said.get("do_flip_channel_order") or said.get("rescale_offset"):
        raise DataError(f"{place}: {WHO} would have to be shown blue before red, or grey as 0, which it is not; name "
                        "another model")
    scale = 255 * float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 255.0
    if not said.get("do_normalize", True):
        return (0.0,) * 3, (1 / scale,) * 3
    if "image_mean" not in said or "image_std" not in said:
        raise DataError(f"{place}: preprocessor_config.json does not say with which image_mean and image_std {WHO} was "
                        "trained; add them")
    mean, std = _three(said["image_mean"]), _three(said["image_std"])
    return tuple(m / scale for m in mean), tuple(s / scale for s in std)


class Backbone(nn.Module):
    """An encoder of transformers. It is never in training mode: batches this small have no statistics worth having, and
    nothing is dropped at random.

    frozen: share of the weights, in the order in which an image passes them, that are not trained.
    channels: of its maps, fine to coarse. multiple: sides of images must be multiples of it, px. words: channels of the
    class token, 0 without one.
    Raises: EnvironmentProblem when transformers is not installed; DataError when its features are no maps.
    """

    def __init__(self, spec: Spec, frozen: float = 1.0) -> None:
        super().__init__()
        self.mean, self.std = spec.mean, spec.std
        with torch.no_grad():
            self.net: Any = from_config(WHO, spec.config)
        patch = getattr(self.net.config, "patch_size", None)
        self.patch = int(max(patch)) if isinstance(patch, list | tuple) else patch
        # Positions are interpolated by themselves, or where they are asked for.
        asked = "interpolate_pos_encoding" in inspect.signature(self.net.forward).parameters
        self.asked = {"interpolate_pos_encoding": True} if asked else {}
        self.layers = True  # whether those before the last are asked for
        side = 8 * self.patch if self.patch and SIDE % self.patch else SIDE
        passed = _passed(self.net)
        seen = self._tried(torch.zeros(1, 3, side, 2 * side))
        order = passed()
        self.layers = seen.token is None
        self.channels = tuple(m.shape[1] for m in seen.maps)
        self.words = 0 if seen.token is None else seen.token.shape[1]
        self.multiple = side // seen.maps[-1].shape[2]
        if any(2 * h != w or side % h for h, w in (m.shape[2:] for m in seen.maps)):
            raise self._no_grid()
        _freeze(self.net, order, frozen)

    def train(self, mode: bool = True) -> Backbone:
        """Never."""
        del mode
        return super().train(False)

    def forward(self, x: Tensor) -> Features:
        """(B, 3, H, W) normalised RGB, sides multiples of `multiple` → what it sees."""
        out = self.net(pixel_values=x, output_hidden_states=self.layers, **self.asked)
        layers = [*(out.get("reshaped_hidden_states") or out.get("hidden_states") or ()),
                  *([out["last_hidden_state"]] if "last_hidden_state" in out else [])]
        by_size = {m.shape[-2:]: m for m in layers if m.ndim == 4}  # of one size the last
        if by_size:
            return Features([by_size[size] for size in sorted(by_size, reverse=True)])
        return self._of_tokens(out.get("last_hidden_state"), x.shape[2], x.shape[3])

    @torch.no_grad()
    def _tried(self, x: Tensor) -> Features:
        try:
            seen: Features = self(x)
            return seen
        except (ValueError, RuntimeError) as error:
            first = " ".join(str(error).split())[:200]
            raise DataError(f"{WHO} ({self.net.config.model_type}) does not take images of {x.shape[2]} × {x.shape[3]} "
                            f"px ({first}); take one that takes any size") from None

    def _of_tokens(self, tokens: Tensor | None, H: int, W: int) -> Features:
        """(B, n, C) tokens: class token and registers, if any, and then the patches, row by row."""
        if tokens is None or tokens.ndim != 3 or not self.patch:
            raise self._no_grid()
        h, w = H // self.patch, W // self.patch
        before = tokens.shape[1] - h * w
        if not 0 <= before <= MOST_WORDS + int(getattr(self.net.config, "num_register_tokens", 0)):
            raise self._no_grid()
        grid = tokens[:, before:].transpose(1, 2).reshape(len(tokens), -1, h, w)
        return Features([grid], tokens[:, 0] if before else None)

    def _no_grid(self) -> DataError:
        return DataError(f"{WHO} ({self.net.config.model_type}) has features that lie on no grid; take DINOv2, "
                         "SegFormer, RT-DETR or another whose do")


def _passed(net: nn.Module) -> Any:
    """Watches what an image passes; called, it gives the modules in that order, and watches no more."""
    order: dict[nn.Module, None] = {}
    hooks = [part.register_forward_pre_hook(lambda part, _: order.setdefault(part)) for part in net.modules()]

    def done() -> list[nn.Module]:
        for hook in hooks:
            hook.remove()
        return list(order)

    return done


def _freeze(net: nn.Module, order: list[nn.Module], share: float) -> None:
    """Let all weights be but the last ones of those that an image passes, 1 − share of their number."""
    net.requires_grad_(False)
    weights = list(dict.fromkeys(p for part in order for p in part.parameters(recurse=False)))
    total, before = sum(p.numel() for p in weights), 0
    for p in weights:
        before += p.numel()
        p.requires_grad_(before > share * total)


def _lasting(config: Json) -> Json:
    if isinstance(config, Mapping):
        return {k: _lasting(v) for k, v in config.items() if k not in PASSING}
    return config


def _three(value: Any) -> tuple[float, ...]:
    """One number, or one of each channel."""
    return tuple(float(x) for x in (value if isinstance(value, list | tuple) else [value] * 3))

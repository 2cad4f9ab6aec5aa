"""EfficientNet-Lite0 with ImageNet weights, as a feature extractor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray

from synthgen.features.weights import imagenet_weights
from synthgen.types import Image
from synthgen_features.convnet import one_thread, seeded, tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WIDTH = 40 + 112 + 320  # channels at strides 8, 16 and 32


class Lite0:
    """The network (Tan & Le 2019; Lite: no squeeze-excite, ReLU6), frozen. Raises: EnvironmentProblem."""

    def __init__(self) -> None:
        path, _ = imagenet_weights()
        with seeded(0):  # the weights that it draws are overwritten; the global generator is to stay where it is
            self.net = EfficientNet.from_name("efficientnet-lite0")
        self.net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.net.eval()
        # A stage ends where the next block halves the resolution, or at the last block.
        strides = [int(np.max(block._depthwise_conv.stride)) for block in self.net._blocks]
        self.ends = ([i - 1 for i, s in enumerate(strides) if s == 2] + [len(strides) - 1])[-3:]
        self.mean, self.std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)

    @torch.inference_mode()
    def features(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(N, 472) float32, one image at a time."""
        rows = np.zeros((len(images), WIDTH), np.float32)
        with one_thread():
            for k, image in enumerate(images):
                x = (tensor(image[None]) - self.mean) / self.std
                x = self.net._swish(self.net._bn0(self.net._conv_stem(x)))
                means = []
                for i, block in enumerate(self.net._blocks):
                    x = block(x)
                    if i in self.ends:
                        means.append(x.mean((2, 3)))
                rows[k] = torch.cat(means, dim=1)[0].numpy()
        return rows

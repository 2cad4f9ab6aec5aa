"""SimCLR: an encoder learns which two crops come from one image (Chen et al. 2020, arXiv 2002.05709)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from synthgen.seeds import rng_of
from synthgen.types import Log
from synthgen_features.convnet import WIDTHS, Net, one_thread, seeded, tensor

PROJECTION = 64  # width of the space in which crops are compared; thrown away after training


def nt_xent(z: Tensor, temperature: float) -> Tensor:
    """The normalised temperature-scaled cross entropy, a scalar.

    z: (2 N, D) float; rows 2 k and 2 k + 1 are the two crops of image k. Source: equation 1, averaged over all 2 N
    rows as in algorithm 1.
    """
    z = F.normalize(z, dim=1)
    similarity = z @ z.T / temperature  # (2 N, 2 N)
    similarity = similarity.masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)  # a crop is no pair of itself
    partner = torch.arange(len(z)) ^ 1
    return F.cross_entropy(similarity, partner)


def crops(images: NDArray[np.uint8], side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(2 N, side, side, 3) uint8: two crops of each image, at random places, each mirrored or not."""
    out = np.empty((2 * len(images), side, side, 3), np.uint8)
    H, W = images.shape[1:3]
    for k in range(len(out)):
        y, x = int(rng.integers(H - side + 1)), int(rng.integers(W - side + 1))
        crop = images[k // 2, y : y + side, x : x + side]
        out[k] = crop[:, ::-1] if rng.random() < 0.5 else crop
    return out


def train(net: Net, images: NDArray[np.uint8], seed: int, *, steps: int, batch: int, crop: int, rate: float,
          temperature: float, log: Log) -> None:
    """Train the network in place.

    images: (N, S, S, 3) uint8, N ≥ 2. Each step shows min(batch, N) different images, two crops of each; `crop` px, or
    three quarters of S where that is less, so that two crops of an image differ.
    """
    rng = rng_of(seed)
    side, shown = min(crop, images.shape[1] * 3 // 4), min(batch, len(images))
    with one_thread(), seeded(seed):
        # The non-linear head of section 4.2, on the pooled deepest layer.
        head = nn.Sequential(nn.Linear(WIDTHS[-1], WIDTHS[-1]), nn.ReLU(), nn.Linear(WIDTHS[-1], PROJECTION))
        optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=rate)
        net.train()
        for step in range(steps):
            picks = rng.choice(len(images), shown, replace=False)
            deepest = net(tensor(crops(images[picks], side, rng)))[-1]
            loss = nt_xent(head(deepest.mean((2, 3))), temperature)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
            optimiser.step()
            log("train pool-ssl", step + 1, steps)
    net.eval()

"""One sample's picture, in one pass."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from synthgen.seeds import rng_of, seed_of
from synthgen_gan.network import LATENT, NOISE, Painter
from synthgen_gan.things import Looks


@torch.inference_mode()
def paint(
    network: Painter, looks: Looks, condition: NDArray[np.float32], kind: int, seed: int
) -> NDArray[np.float32]:
    """(colours, H, W) float32 of a condition (C, H, W) and an image class; noise from the sample's own seed."""
    device = next(network.parameters()).device
    H, W = condition.shape[1:]
    up = network.shape.multiple
    below, right = -H % up, -W % up
    rng = rng_of(seed_of(seed, "painter"))
    given = torch.from_numpy(looks.lent(condition, rng) if len(condition) else condition)[None]
    if given.shape[1] and (below or right):
        given = F.pad(given, (0, right, 0, below), mode="replicate")
    latent = torch.from_numpy(rng.standard_normal((1, LATENT), np.float32))
    noise = torch.from_numpy(rng.standard_normal((1, NOISE, H + below, W + right), np.float32))
    which = torch.tensor([kind], dtype=torch.int64)
    values = network(given.to(device), which.to(device), latent.to(device), noise.to(device))
    return np.asarray(values[0, :, :H, :W].float().cpu().numpy())

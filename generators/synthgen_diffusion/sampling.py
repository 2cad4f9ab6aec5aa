"""From noise to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from numpy.typing import NDArray
from torch import Tensor

from synthgen.seeds import rng_of, seed_of
from synthgen_diffusion.network import Denoiser

Sampler = Literal["euler", "dpm"]


def path_of(sampler: Sampler, steps: int, device: torch.device) -> Any:
    """diffusers' scheduler on the straight path from noise (t = 1) to picture, with its steps set.

    euler: first order. dpm: second order at one evaluation per step (Lu et al., "DPM-Solver++", 2022, alg. 2).
    """
    if sampler == "euler":
        path = FlowMatchEulerDiscreteScheduler()
        path.set_timesteps(sigmas=[1 - k / steps for k in range(steps)], device=device)
        return path
    path = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True,
                                       final_sigmas_type="zero")
    path.set_timesteps(steps, device=device)
    return path


@torch.inference_mode()
def sample(
    network: Denoiser,
    conditions: Sequence[NDArray[np.float32]],
    kinds: Sequence[int],
    seeds: Sequence[int],
    *,
    steps: int,
    guidance: float,
    sampler: Sampler = "euler",
    start: Sequence[NDArray[np.float32]] | None = None,
    strength: float = 1.0,
) -> list[NDArray[np.float32]]:
    """(colours + fields, H, W) float32 per condition (C, H, W), all of one size; from noise of each one's own seed.

    guidance: 1 = as conditioned; above, further away from what the network draws when it knows nothing (Ho & Salimans
    2022, eq. 6); with fields: of picture from what it draws beside noise in the fields' place, and the other way round
    (Bao et al., "One transformer fits all distributions in multi-modal diffusion at scale", ICML 2023, §3.2).
    start, strength: begin at the share `strength` of noise over these pictures (Meng et al., "SDEdit",
    ICLR 2022, alg. 1) instead of at noise alone.
    """
    shape = network.shape
    device = next(network.parameters()).device
    H, W = conditions[0].shape[1:]
    up = shape.multiple
    # Of one pixel at the coarsest level there is no spread to normalise by.
    room = (0, max(-W % up, 2 * up - W), 0, max(-H % up, 2 * up - H))
    shown = F.pad(torch.from_numpy(np.stack(conditions)), room).to(device)
    drawn = (shape.drawn, H + room[3], W + room[1])
    noise = np.stack([rng_of(seed_of(s, "sampler")).standard_normal(drawn, np.float32) for s in seeds])
    x = first = torch.from_numpy(noise).to(device)
    kind = torch.tensor(list(kinds), dtype=torch.int64, device=device)
    path = path_of(sampler, steps, device)
    times = path.timesteps
    if start is not None:
        times = times[path.sigmas[: len(times)] <= strength + 1e-6]
        clean = F.pad(torch.from_numpy(np.stack(start)), room, mode="reflect").to(device)
        begin = float(path.sigmas[len(path.timesteps) - len(times)])
        x = (1 - begin) * clean + begin * x
        path.set_begin_index(len(path.timesteps) - len(times))
    for time in times:
        t = (time / path.config.num_train_timesteps).float().expand(len(x))
        x = path.step((x - _clean(network, x, first, t, shown, kind, guidance)) / t.view(-1, 1, 1, 1), time, x,
                      return_dict=False)[0]
    return [np.asarray(row) for row in x[:, :, :H, :W].float().cpu().numpy()]


def _clean(network: Denoiser, x: Tensor, noise: Tensor, t: Tensor, shown: Tensor, kind: Tensor,
           guidance: float) -> Tensor:
    """The guided prediction of the clean picture, and of the fields."""
    given: Tensor = network(x, t, shown, kind)
    if guidance == 1:
        return given
    if network.shape.fields:
        n, all_noise = network.shape.colours, torch.ones_like(t)
        picture = network(torch.cat([x[:, :n], noise[:, n:]], 1), t, shown, kind, all_noise)[:, :n]
        fields = network(torch.cat([noise[:, :n], x[:, n:]], 1), all_noise, shown, kind, t)[:, n:]
        alone = torch.cat([picture, fields], 1)
        return alone + guidance * (given - alone)
    nothing: Tensor = network(x, t, torch.zeros_like(shown), torch.full_like(kind, network.shape.classes))
    return nothing + guidance * (given - nothing)

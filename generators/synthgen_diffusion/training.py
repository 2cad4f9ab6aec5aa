"""Training the denoiser, on one process or several; whatever their number, the same bytes.

A step's batch is always two parts, and its gradient the mean of theirs: one process goes through both, two go through
one each, and the sum of two numbers has no order. By accelerate, so that `accelerate launch` can start it too:

    accelerate launch --cpu --num_processes 2 -m synthgen_diffusion.training FOLDER
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor

from synthgen.neural.crops import Batch, Crops
from synthgen.neural.group import Log, Look
from synthgen.neural.processes import PARTS, accelerator_of, own_randomness, parts_of, told
from synthgen.neural.scene import Wishes, load_scene
from synthgen.neural.tensors import LOOKS, Tensors, averaged, read_tensors, remembered, remind, write_tensors
from synthgen.neural.watch import Watch
from synthgen.seeds import rng_of, seed_of
from synthgen.store import Stored, read_json, write_json
from synthgen.types import Json
from synthgen_diffusion.network import Denoiser, Shape, flow_loss, noised

EVERY = 50  # steps between checkpoints: what a kill can cost
DECAY = 0.999  # of the averaged weights, reached by the ramp (1 + k) / (10 + k)
LOGIT_MEAN, LOGIT_SD = 0.3, 1.0  # of t: a little more often noisy than clean (Esser et al. 2024, eq. 19)
TOGETHER, ALONE = 0.5, 0.1  # share of the crops whose fields share the picture's time; whose picture is all noise
CHECKPOINT, PLAN = "checkpoint.safetensors", "plan.json"

Target = Literal["picture", "joint", "fields"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and on what: px of the crops, steps, crops per step, learning rate, steps between looks (0 = none),
    share of labelled crops shown without their labels; seed of all randomness. target: pictures of a condition,
    pictures together with the fields of their labels, or fields alone."""

    px: int
    steps: int
    batch: int
    rate: float
    looks: int
    drop: float
    seed: int
    device: str = "cpu"
    target: Target = "picture"


def write_plan(folder: Path, plan: Plan, shape: Shape) -> None:
    """What a process needs beside the data to take part."""
    write_json(folder / PLAN, {"plan": asdict(plan), "shape": asdict(shape)})


def read_plan(folder: Path) -> tuple[Plan, Shape]:
    """What `write_plan` wrote."""
    about = read_json(folder / PLAN)
    return Plan(**about["plan"]), Shape(**{**about["shape"], "widths": tuple(about["shape"]["widths"])})


def crops_in(folder: Path, plan: Plan) -> Crops:
    """The crops of a training folder: `scene/` and `pool/`."""
    pool = list(Stored(folder / "pool"))
    kinds = [None if sample.labels is None else sample.labels.image_class for sample in pool]
    return Crops(load_scene(folder / "scene", Wishes(layouts=())), [sample.image for sample in pool], plan.px,
                 seed_of(plan.seed, "crops"), kinds, plan.target != "picture")


def train(folder: Path, watch: Watch | None, look: Look | None, log: Log) -> None:
    """Train in a folder, from its checkpoint where there is one. Every process of a group calls this.

    Only the first looks, logs (steps, of how many, loss) and writes: `looks/STEP.safetensors`, the averaged weights of
    each look, `curve.json`, and `last.safetensors`.
    """
    plan, shape = read_plan(folder)
    crops = crops_in(folder, plan)
    if plan.device == "cpu":
        torch.set_num_threads(1)
    with own_randomness(), accelerator_of(plan.device, _precision(plan)) as accelerator:
        torch.manual_seed(seed_of(plan.seed, "network"))
        network = Denoiser(shape)
        state = _State(network, plan)
        step, curve, ended = state.load(folder, watch, accelerator.device)
        model, optimiser = accelerator.prepare(network, state.optimiser)
        mine = parts_of(accelerator)
        first = accelerator.is_main_process
        while step < plan.steps and not ended:
            for group in optimiser.param_groups:
                group["lr"] = rate_at(step, plan)
            loss = 0.0
            for part in mine:
                batch = crops.batch(step, part, plan.batch // PARTS, plan.drop)
                with accelerator.accumulate(model):
                    found = _loss(model, batch, plan, step, part, accelerator.device)
                    accelerator.backward(found)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(model.parameters(), 1.0)
                    optimiser.step()
                    optimiser.zero_grad()
                loss += float(found.detach()) / len(mine)
            state.average.step(network.parameters())
            step += 1
            if first:
                curve += [[step, round(loss, 5)]] if step % 10 == 0 or step == plan.steps else []
                log(step, plan.steps, loss)
            if plan.looks and (step % plan.looks == 0 or step == plan.steps):
                ended = _looked(folder, step, state, look) if first else ""
                ended = told(ended, accelerator)
            if first and (step % EVERY == 0 or ended or step == plan.steps):
                state.save(folder, step, curve, ended, watch)
        if first:
            write_json(folder / "curve.json", {"step_loss": curve})
            write_json(folder / "ended.json", {"step": step, "why": ended})
            write_tensors(folder / "last.safetensors", state.averaged())


def _precision(plan: Plan) -> str:
    return "bf16" if plan.device == "cuda" and torch.cuda.is_bf16_supported() else "no"


def rate_at(step: int, plan: Plan) -> float:
    """Learning rate: up over the first tenth (at most 100 steps), then down to 0 along a cosine."""
    warm = max(1, min(100, plan.steps // 10))
    if step < warm:
        return plan.rate * (step + 1) / warm
    return plan.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, plan.steps - warm)))


def _loss(model: torch.nn.Module, batch: Batch, plan: Plan, step: int, part: int, device: torch.device) -> Tensor:
    rng = rng_of(seed_of(plan.seed, "noise", step, part))
    torch.manual_seed(seed_of(plan.seed, "dropout", step, part))
    clean, shown, kind = (torch.from_numpy(a).to(device) for a in (batch.clean, batch.condition, batch.kind))
    if plan.target == "joint":
        return _joint_loss(model, clean, shown, kind, rng)
    known = None
    if plan.target == "fields":
        known, clean, shown = shown[:, :1], shown[:, 1:], shown[:, :0]
    t, noise = _times(rng, clean), _noise(rng, clean)
    return flow_loss(clean, model(noised(clean, noise, t), t, shown, kind), t, known)


def _times(rng: np.random.Generator, clean: Tensor) -> Tensor:
    return torch.from_numpy(rng.normal(LOGIT_MEAN, LOGIT_SD, len(clean))).float().sigmoid().to(clean.device)


def _noise(rng: np.random.Generator, clean: Tensor) -> Tensor:
    return torch.from_numpy(rng.standard_normal(clean.shape, "float32")).to(clean.device)


def _joint_loss(model: torch.nn.Module, clean: Tensor, shown: Tensor, kind: Tensor, rng: np.random.Generator) -> Tensor:
    """The loss of pictures, and that of fields where they are known; what is not known is noise, and has no loss.

    A crop of which nothing is known (of the pool, or one that was dropped) teaches how pictures look beside fields of
    noise: the time of its fields is 1. Of the others TOGETHER have one time, as sampling walks, and the rest two.
    """
    known, fields = shown[:, :1], shown[:, 1:]
    t, other = _times(rng, clean), _times(rng, clean)
    dice = torch.from_numpy(rng.random((2, len(clean)))).to(clean.device)
    t_fields = torch.where(dice[0] < TOGETHER, t, other)
    labelled = known.amax((1, 2, 3)) > 0
    t = torch.where(labelled & (dice[1] < ALONE), torch.ones_like(t), t)
    t_fields = torch.where(labelled, t_fields, torch.ones_like(t))
    noise, noise_fields = _noise(rng, clean), _noise(rng, fields)
    noisy = torch.where(known > 0, noised(fields, noise_fields, t_fields), noise_fields)
    predicted = model(torch.cat([noised(clean, noise, t), noisy], 1), t, shown[:, :0], kind, t_fields)
    n = clean.shape[1]
    return flow_loss(clean, predicted[:, :n], t) + flow_loss(fields, predicted[:, n:], t_fields, known)


class _State:
    """All that changes while training."""

    def __init__(self, network: Denoiser, plan: Plan) -> None:
        self.network = network
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=plan.rate, betas=(0.9, 0.95), weight_decay=0.01)
        self.average = EMAModel(network.parameters(), decay=DECAY)

    def averaged(self) -> Tensors:
        """The averaged weights by their names in the network."""
        return averaged(self.network, self.average)

    def save(self, folder: Path, step: int, curve: Json, ended: str, watch: Watch | None) -> None:
        """The checkpoint, whole or not at all."""
        tensors = {f"average.{k}": v for k, v in self.averaged().items()}
        about = {"step": step, "curve": curve, "ended": ended, "averaged": self.average.optimization_step,
                 "looks": [] if watch is None else watch.as_json()}
        write_tensors(folder / CHECKPOINT, tensors | remembered("network", self.network, self.optimiser), about)

    def load(self, folder: Path, watch: Watch | None, device: torch.device) -> tuple[int, list[list[float]], str]:
        """Step, loss curve and why it ended, of the checkpoint; 0, none and "" without one."""
        self.network.to(device)
        self.average.to(device)
        if not (folder / CHECKPOINT).exists():
            return 0, [], ""
        tensors, about = read_tensors(folder / CHECKPOINT)
        remind("network", self.network, self.optimiser, tensors)
        for name, shadow in self.averaged().items():
            shadow.copy_(tensors[f"average.{name}"])
        self.average.optimization_step = about["averaged"]
        if watch is not None:
            watch.restore(about["looks"])
        return about["step"], about["curve"], about["ended"]


def _looked(folder: Path, step: int, state: _State, look: Look | None) -> str:
    """Keep the averaged weights of this step, and look at what they draw."""
    if look is None:
        return ""
    write_tensors(folder / LOOKS / f"{step:06d}.safetensors", state.averaged())
    network = Denoiser(state.network.shape)
    network.load_state_dict(state.averaged())
    return look(step, network.to(next(state.network.parameters()).device).eval())


if __name__ == "__main__":
    train(Path(sys.argv[1]), None, None, lambda step, steps, loss: print(f"{step}/{steps} {loss:.4f}", flush=True))

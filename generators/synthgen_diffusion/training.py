"""Training the denoiser, on one process or several; whatever their number, the same bytes.

A step's batch is always two parts, and its gradient the mean of theirs: one process goes through both, two go through
one each, and the sum of two numbers has no order. By accelerate, so that `accelerate launch` can start it too:

    accelerate launch --cpu --num_processes 2 -m synthgen_diffusion.training FOLDER
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from synthgen.neural.crops import Batch, Crops
from synthgen.neural.scene import Wishes, load_scene
from synthgen.neural.watch import Watch
from synthgen.seeds import rng_of, seed_of
from synthgen.store import Stored, read_json, write_json
from synthgen.types import Json
from synthgen_diffusion.network import Denoiser, Shape, flow_loss, noised

PARTS = 2
EVERY = 50  # steps between checkpoints: what a kill can cost
DECAY = 0.999  # of the averaged weights, reached by the ramp (1 + k) / (10 + k)
LOGIT_MEAN, LOGIT_SD = 0.3, 1.0  # of t: a little more often noisy than clean (Esser et al. 2024, eq. 19)
CHECKPOINT, PLAN, WEIGHTS = "checkpoint.safetensors", "plan.json", "weights.safetensors"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and on what: px of the crops, steps, crops per step, learning rate, steps between looks (0 = none),
    share of labelled crops shown without their labels; seed of all randomness."""

    px: int
    steps: int
    batch: int
    rate: float
    looks: int
    drop: float
    seed: int
    device: str = "cpu"


Look = Callable[[int, Denoiser], str]  # (steps done, averaged network) → why training should end, or ""


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
                 seed_of(plan.seed, "crops"), kinds)


def train(folder: Path, watch: Watch | None, look: Look | None, log: Callable[[float, float, float], None]) -> None:
    """Train in a folder, from its checkpoint where there is one. Every process of a group calls this.

    Only the first looks, logs (steps, of how many, loss) and writes: `looks/STEP.safetensors`, the averaged weights of
    each look, `curve.json`, and `last.safetensors`.
    """
    plan, shape = read_plan(folder)
    crops = crops_in(folder, plan)
    torch.set_num_threads(1) if plan.device == "cpu" else None
    with _own_randomness(), _accelerator(plan) as accelerator:
        torch.manual_seed(seed_of(plan.seed, "network"))
        network = Denoiser(shape)
        state = _State(network, plan)
        step, curve, ended = state.load(folder, watch, accelerator.device)
        model, optimiser = accelerator.prepare(network, state.optimiser)
        mine = range(accelerator.process_index, PARTS, accelerator.num_processes)
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
                ended = _told(ended, accelerator)
            if first and (step % EVERY == 0 or ended or step == plan.steps):
                state.save(folder, step, curve, ended, watch)
        if first:
            write_json(folder / "curve.json", {"step_loss": curve})
            write_json(folder / "ended.json", {"step": step, "why": ended})
            save_file(state.averaged(), folder / "last.safetensors")


def rate_at(step: int, plan: Plan) -> float:
    """Learning rate: up over the first tenth (at most 100 steps), then down to 0 along a cosine."""
    warm = max(1, min(100, plan.steps // 10))
    if step < warm:
        return plan.rate * (step + 1) / warm
    return plan.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, plan.steps - warm)))


def _loss(model: torch.nn.Module, batch: Batch, plan: Plan, step: int, part: int, device: torch.device) -> Tensor:
    rng = rng_of(seed_of(plan.seed, "noise", step, part))
    clean = torch.from_numpy(batch.clean).to(device)
    t = torch.from_numpy(rng.normal(LOGIT_MEAN, LOGIT_SD, len(clean))).float().sigmoid().to(device)
    noise = torch.from_numpy(rng.standard_normal(batch.clean.shape, "float32")).to(device)
    torch.manual_seed(seed_of(plan.seed, "dropout", step, part))
    kind = torch.from_numpy(batch.kind).to(device)
    predicted = model(noised(clean, noise, t), t, torch.from_numpy(batch.condition).to(device), kind)
    return flow_loss(clean, predicted, t)


class _State:
    """All that changes while training, as tensors by name: no pickles."""

    def __init__(self, network: Denoiser, plan: Plan) -> None:
        self.network = network
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=plan.rate, betas=(0.9, 0.95), weight_decay=0.01)
        self.average = EMAModel(network.parameters(), decay=DECAY)

    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights by their names in the network."""
        names = [name for name, _ in self.network.named_parameters()]
        return {n: p.detach().cpu().contiguous() for n, p in zip(names, self.average.shadow_params, strict=True)}

    def save(self, folder: Path, step: int, curve: Json, ended: str, watch: Watch | None) -> None:
        """The checkpoint, whole or not at all."""
        tensors = {f"average.{k}": v for k, v in self.averaged().items()}
        for name, parameter in self.network.named_parameters():
            tensors[f"weight.{name}"] = parameter.detach().cpu().contiguous()
            moments = self.optimiser.state[parameter]
            for moment in ("step", "exp_avg", "exp_avg_sq"):
                tensors[f"{moment}.{name}"] = moments[moment].detach().cpu().contiguous()
        about = {"step": step, "curve": curve, "ended": ended, "averaged": self.average.optimization_step,
                 "looks": [] if watch is None else watch.as_json()}
        part = folder / f".{CHECKPOINT}.part"
        save_file(tensors, part, {"about": json.dumps(about)})
        os.replace(part, folder / CHECKPOINT)

    def load(self, folder: Path, watch: Watch | None, device: torch.device) -> tuple[int, list[list[float]], str]:
        """Step, loss curve and why it ended, of the checkpoint; 0, none and "" without one."""
        path = folder / CHECKPOINT
        self.network.to(device)
        self.average.to(device)
        if not path.exists():
            return 0, [], ""
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
        tensors = load_file(path, device=str(device))
        with torch.no_grad():
            named = self.network.named_parameters()
            for (name, parameter), shadow in zip(named, self.average.shadow_params, strict=True):
                parameter.copy_(tensors[f"weight.{name}"])
                shadow.copy_(tensors[f"average.{name}"])
                self.optimiser.state[parameter] = {
                    moment: tensors[f"{moment}.{name}"].cpu() if moment == "step" else tensors[f"{moment}.{name}"]
                    for moment in ("step", "exp_avg", "exp_avg_sq")}
        self.average.optimization_step = about["averaged"]
        if watch is not None:
            watch.restore(about["looks"])
        return about["step"], about["curve"], about["ended"]


def _looked(folder: Path, step: int, state: _State, look: Look | None) -> str:
    """Keep the averaged weights of this step, and look at what they draw."""
    if look is None:
        return ""
    (folder / "looks").mkdir(exist_ok=True)
    save_file(state.averaged(), folder / "looks" / f"{step:06d}.safetensors")
    network = Denoiser(state.network.shape)
    network.load_state_dict(state.averaged())
    return look(step, network.to(next(state.network.parameters()).device).eval())


def _told(ended: str, accelerator: Accelerator) -> str:
    """What the first process says, in all of them: only whether to end matters there."""
    if accelerator.num_processes == 1:
        return ended
    flag = torch.tensor([float(bool(ended))], device=accelerator.device)
    total = accelerator.reduce(flag, "sum")
    return ended if accelerator.is_main_process else "ended" * bool(total.item())


@contextmanager
def _own_randomness() -> Iterator[None]:
    """torch's global generator as it was found."""
    with torch.random.fork_rng():
        yield


@contextmanager
def _accelerator(plan: Plan) -> Iterator[Accelerator]:
    """An accelerator for this process, and none left behind: accelerate keeps its state for good otherwise."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if PARTS % world:
        raise ValueError(f"{world} processes cannot share {PARTS} parts of a batch; start 1 or {PARTS}")
    on_gpu = plan.device != "cpu"
    mixed = "bf16" if plan.device == "cuda" and torch.cuda.is_bf16_supported() else "no"
    accelerator = Accelerator(cpu=not on_gpu, mixed_precision=mixed, gradient_accumulation_steps=PARTS // world,
                              step_scheduler_with_optimizer=False)
    try:
        yield accelerator
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        AcceleratorState._reset_state(True)
        GradientState._reset_state()


if __name__ == "__main__":
    train(Path(sys.argv[1]), None, None, lambda step, steps, loss: print(f"{step}/{steps} {loss:.4f}", flush=True))

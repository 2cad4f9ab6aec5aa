"""Training painter and critic against each other, on one process or two; whatever their number, the same bytes.

A step's batch is always two parts. The critic's gradient is the mean of those of both, then the painter's is; with two
processes each goes through one part, and gradients are summed between them. They are reduced by hand: a wrapper that
does it by hooks would also reduce the critic's while the painter learns. By accelerate, which can start it too:

    accelerate launch --cpu --num_processes 2 -m synthgen_gan.training FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from synthgen.errors import DataError
from synthgen.layouts import LayoutName
from synthgen.neural.crops import Crops
from synthgen.neural.group import Log, Look
from synthgen.neural.processes import PARTS, accelerator_of, own_randomness, parts_of, told
from synthgen.neural.scene import Scene, Wishes, load_scene
from synthgen.neural.tensors import LOOKS, read_tensors, write_tensors
from synthgen.neural.watch import Watch
from synthgen.seeds import rng_of, seed_of
from synthgen.store import Stored, read_json, write_json
from synthgen_gan.augment import Change, change
from synthgen_gan.losses import NOTHING, far_off, judged, painted, sameness, steepness
from synthgen_gan.network import Painter, Shape, shape_of
from synthgen_gan.shown import Showing, Shown
from synthgen_gan.state import State

EVERY = 50  # steps between checkpoints: what a kill can cost
LAZY = 8  # steps between two looks at the critic's steepness (Karras et al., StyleGAN2, CVPR 2020, appendix B)
COARSE = 4  # px that are one where a painted picture is held against the real one
CHECKPOINT, PLAN = "checkpoint.safetensors", "plan.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and on what: px of the crops, steps, crops per step, learning rates of painter and critic, steps between
    looks (0 = none), weights of the losses beside the first, seed of all randomness."""

    px: int
    steps: int
    batch: int
    rate: float
    critic_rate: float
    looks: int
    likeness: float
    labelmix: float
    calm: float
    variety: float
    seed: int
    device: str = "cpu"


def write_plan(folder: Path, plan: Plan, shape: Shape) -> None:
    """What a process needs beside the data to take part."""
    write_json(folder / PLAN, {"plan": asdict(plan), "shape": asdict(shape)})


def read_plan(folder: Path) -> tuple[Plan, Shape]:
    """What `write_plan` wrote."""
    about = read_json(folder / PLAN)
    return Plan(**about["plan"]), shape_of(about["shape"])


def train(folder: Path, watch: Watch | None, look: Look | None, log: Log) -> None:
    """Train in a folder, from its checkpoint where there is one. Every process of a group calls this.

    folder: `plan.json`, `scene/`, `pool/`. Only the first process looks, logs (step, of how many, the critic's loss)
    and writes: `looks/STEP.safetensors`, the painter's averaged weights at each look, `curve.json`, `ended.json` and
    `last.safetensors`.
    """
    plan, shape = read_plan(folder)
    pool = list(Stored(folder / "pool"))
    kinds = [None if sample.labels is None else sample.labels.image_class for sample in pool]
    crops = Crops(_scene(folder / "scene"), [sample.image for sample in pool], plan.px, seed_of(plan.seed, "crops"),
                  kinds)
    if plan.device == "cpu":
        torch.set_num_threads(1)
    with own_randomness(), accelerator_of(plan.device) as accelerator:
        torch.manual_seed(seed_of(plan.seed, "networks"))
        state = State(shape, accelerator.device)
        showing = Showing(crops, seed_of(plan.seed, "showing"), accelerator.device)
        step, curve, ended = _resumed(folder, state, watch)
        first = accelerator.is_main_process
        while step < plan.steps and not ended:
            losses = _step(state, showing, plan, step, accelerator)
            step += 1
            if first:
                curve += [[step, *(round(v, 5) for v in losses)]] if step % 10 == 0 or step == plan.steps else []
                log(step, plan.steps, losses[0])
            if plan.looks and (step % plan.looks == 0 or step == plan.steps):
                ended = _looked(folder, step, state, look) if first else ""
                ended = told(ended, accelerator)
            if first and (step % EVERY == 0 or ended or step == plan.steps):
                looks = [] if watch is None else watch.as_json()
                about = {"step": step, "curve": curve, "ended": ended, "looks": looks}
                write_tensors(folder / CHECKPOINT, state.as_tensors(), about)
        if first:
            write_json(folder / "curve.json", {"step_loss": [row[:2] for row in curve],
                                               "step_critic_painter_likeness": curve})
            write_json(folder / "ended.json", {"step": step, "why": ended})
            write_tensors(folder / "last.safetensors", state.averaged())


def _scene(folder: Path) -> Scene:
    """The seed, with layouts of every kind that it is large enough for: which ones are asked for later, who knows."""
    kinds: tuple[tuple[LayoutName, ...], ...] = (("shape", "warp"), ("warp",), ("resample",))
    for layouts in kinds[:-1]:
        try:
            return load_scene(folder, Wishes(layouts))
        except DataError:
            continue
    return load_scene(folder, Wishes(kinds[-1]))


def rate_at(step: int, plan: Plan) -> float:
    """The share of the learning rates: up over the first steps, whole to the middle, then down to 0."""
    warm = max(1, min(100, plan.steps // 20))
    return min(1.0, (step + 1) / warm, 2 * (plan.steps - step) / plan.steps)


def likeness_at(step: int, plan: Plan) -> float:
    """The weight of the likeness to the real picture: all of it at first, for colours and light; a tenth of it from the
    first third on, since a layout has more than one picture."""
    return plan.likeness * max(0.1, 1 - 3 * step / plan.steps)


def _step(state: State, showing: Showing, plan: Plan, step: int, accelerator: Accelerator) -> tuple[float, ...]:
    """One step of the critic, then one of the painter. Gives their losses, and the likeness, of this process."""
    for optimiser, rate in ((state.brush, plan.rate), (state.eye, plan.critic_rate)):
        for group in optimiser.param_groups:
            group["lr"] = rate * rate_at(step, plan)
    shown, pictures = {}, {}
    for part in parts_of(accelerator):
        shown[part] = showing.batch(step, part, plan.batch // PARTS)
        row = shown[part]
        pictures[part] = state.painter(row.condition, row.kind, row.latent, row.noise)

    def altered(part: int, who: str) -> Change:
        rng = rng_of(seed_of(plan.seed, "change", who, step, part))
        return change(plan.batch // PARTS, plan.px, rng, accelerator.device)

    def critics() -> Iterator[Tensor]:
        for part, row in shown.items():
            yield _critics_loss(state, row, pictures[part].detach(), altered(part, "critic"), plan, step)

    likeness: list[float] = []

    def painters() -> Iterator[Tensor]:
        for part, row in shown.items():
            altered_ = altered(part, "painter")
            loss = judged(state.critic(altered_.pictures(pictures[part])), _target(altered_, row.goal))
            if len(row.paired):
                far = far_off(pictures[part][row.paired], row.real[row.paired], min(COARSE, plan.px))
                likeness.append(float(far.detach()))
                loss = loss + likeness_at(step, plan) * far
            if plan.variety and state.painter.shape.classes:
                loss = loss + plan.variety * sameness(pictures[part], row.latent)
            yield loss

    critic = _descend(list(state.critic.parameters()), state.eye, critics(), accelerator)
    painter = _descend(list(state.painter.parameters()), state.brush, painters(), accelerator)
    state.average.update_parameters(state.painter)
    return critic, painter, sum(likeness) / max(1, len(likeness))


def _target(altered: Change, target: Tensor) -> Tensor:
    """Labels of pixels as the pictures were altered; those of images stay."""
    return altered.maps(target, NOTHING) if target.ndim == 3 else target


def _critics_loss(state: State, row: Shown, pictures: Tensor, altered: Change, plan: Plan, step: int) -> Tensor:
    """Real crops are what their labels say, painted ones are painted; LabelMix and R1 beside it."""
    kinds = state.critic.shape.kinds
    real, fake = altered.pictures(row.real), altered.pictures(pictures)
    odds_real, odds_fake = state.critic(torch.cat([real, fake])).chunk(2)
    target = _target(altered, row.target)
    loss = judged(odds_real, target)
    loss = loss + judged(odds_fake, painted(_target(altered, row.goal), kinds))
    if plan.labelmix and len(row.paired):
        # Sushko et al., ICLR 2021, section 3.2: of a mixture the critic says what it says of its parts.
        inside = torch.zeros_like(altered.inside)
        inside[row.paired] = row.mix
        mask = altered.maps(inside, False)[row.paired][:, None]
        mixed = torch.where(mask, real[row.paired], fake[row.paired])
        parts = torch.where(mask, odds_real[row.paired], odds_fake[row.paired])
        loss = loss + plan.labelmix * F.mse_loss(state.critic(mixed), parts)
    if plan.calm and step % LAZY == 0:
        loss = loss + LAZY * plan.calm / 2 * steepness(state.critic, real)
    return loss


def _descend(parameters: list[torch.nn.Parameter], optimiser: torch.optim.Optimizer, losses: Iterator[Tensor],
             accelerator: Accelerator) -> float:
    """One step down the mean gradient of the parts' losses, of all processes; gives this process's mean loss."""
    total, values = None, []
    for loss in losses:
        flat = torch.cat([slope.flatten() for slope in torch.autograd.grad(loss, parameters)])
        total = flat if total is None else total + flat
        values.append(float(loss.detach()))
    mean = accelerator.reduce(total, "sum") / PARTS
    for parameter, slope in zip(parameters, mean.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = slope.view_as(parameter)
    optimiser.step()
    return sum(values) / len(values)


def _resumed(folder: Path, state: State, watch: Watch | None) -> tuple[int, list[list[float]], str]:
    """Step, curve and why it ended, of the checkpoint; 0, none and "" without one."""
    if not (folder / CHECKPOINT).exists():
        return 0, [], ""
    tensors, about = read_tensors(folder / CHECKPOINT)
    state.restore(tensors)
    if watch is not None:
        watch.restore(about["looks"])
    return about["step"], about["curve"], about["ended"]


def _looked(folder: Path, step: int, state: State, look: Look | None) -> str:
    """Keep the averaged weights of this step, and look at what they paint."""
    if look is None:
        return ""
    write_tensors(folder / LOOKS / f"{step:06d}.safetensors", state.averaged())
    network = Painter(state.painter.shape)
    network.load_state_dict(state.averaged())
    return look(step, network.to(next(state.painter.parameters()).device).eval())


if __name__ == "__main__":
    train(Path(sys.argv[1]), None, None, lambda step, steps, loss: print(f"{step}/{steps} {loss:.4f}", flush=True))

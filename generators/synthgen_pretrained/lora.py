"""Fine-tuning on the seed: low-rank additions to the attention of a Stable Diffusion U-Net, all else frozen.

LoRA: Hu et al., "LoRA: low-rank adaptation of large language models" (ICLR 2022), equation 3. The layers that get one,
and their Gaussian start, are those of diffusers' own script `train_text_to_image_lora.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from synthgen.errors import DataError, EnvironmentProblem
from synthgen.neural.tensors import read_tensors, remembered, remind, write_tensors
from synthgen.seeds import rng_of, seed_of
from synthgen.types import Image, Log, Mask, Size
from synthgen_pretrained.drawing import free
from synthgen_pretrained.loading import Pipeline, one_thread, seeded
from synthgen_pretrained.quiet import missing, quiet

LAYERS = ["to_k", "to_q", "to_v", "to_out.0"]
EVERY = 25  # steps between checkpoints: what a kill can cost
CHECKPOINT = "lora.checkpoint.safetensors"
MEASURED = 8  # draws of noise, the same before and after, by which the loss is said to have moved
CLIP = 1.0  # largest norm of a step's gradient, as in diffusers' script
State = dict[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """One seed image at the size that the model works at, (h, w, 3); its prompt; and, for pipelines that see a mask,
    (h, w) what they would have to paint."""

    image: Image
    prompt: str
    mask: Mask | None

    @property
    def size(self) -> Size:
        """(h, w), px."""
        return int(self.image.shape[0]), int(self.image.shape[1])


@dataclass(frozen=True, slots=True)
class Training:
    """steps of the optimiser, rank of the additions, learning rate, images per step, seed of all randomness."""

    steps: int
    rank: int
    rate: float
    batch: int
    seed: int


def train(pipeline: Pipeline, lessons: Sequence[Lesson], how: Training, device: str, log: Log, folder: Path
          ) -> tuple[State, tuple[float, float]]:
    """The additions, and the loss before and after, over the same draws of noise; the pipeline is left as it was.

    An interrupted training of the same model and lessons goes on at the checkpoint in `folder`, bit for bit on one
    device; in the end the checkpoint is gone.
    Raises: DataError for a pipeline that is no Stable Diffusion 1 or 2 of which noise or velocity is predicted, in
    float16 on the CPU, or at a rate at which the loss grows beyond numbers; EnvironmentProblem when memory runs out or
    a library is missing.
    """
    pipe = pipeline.pipe
    unet = getattr(pipe, "unet", None)
    if unet is None or getattr(pipe, "vae", None) is None or getattr(pipe, "text_encoder_2", None) is not None:
        raise DataError(f"lora: a {type(pipe).__name__} cannot be fine-tuned here, only pipelines of Stable Diffusion "
                        "1 and 2; leave lora null, and name a folder of a model that was fine-tuned elsewhere")
    if unet.dtype == torch.float16 and device == "cpu":
        raise DataError("lora: on the CPU a model in float16 cannot be fine-tuned; set precision to float32")
    try:
        from diffusers import DDPMScheduler
        from diffusers.training_utils import cast_training_params
        from diffusers.utils import convert_state_dict_to_diffusers
        from peft import LoraConfig
        from peft.utils import get_peft_model_state_dict
    except ImportError as error:
        raise missing(error) from None
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    if schedule.config.prediction_type not in ("epsilon", "v_prediction"):
        raise DataError(f"lora: the model predicts {schedule.config.prediction_type}, and only noise (epsilon) and "
                        "velocity (v_prediction) can be trained here; leave lora null")
    try:
        with one_thread(), quiet(), seeded(how.seed):
            held = [_held(pipe, lesson, device) for lesson in lessons]
            unet.requires_grad_(False)
            unet.add_adapter(LoraConfig(r=how.rank, lora_alpha=how.rank, init_lora_weights="gaussian",
                                        target_modules=LAYERS))
            try:
                cast_training_params(unet)  # the additions learn in full precision
                mine = [p for p in unet.parameters() if p.requires_grad]
                with _accelerator(unet.dtype, device) as accelerator:
                    optimiser = accelerator.prepare(torch.optim.AdamW(mine, lr=how.rate))
                    student = _Student(pipe, schedule, held, accelerator, device)
                    notes = _Notes(folder / CHECKPOINT, how, unet, optimiser, accelerator.scaler)
                    before = student.measured(how.seed) if notes.before is None else notes.before
                    for step in range(notes.step, how.steps):
                        loss = student.loss(student.batch(how.seed, step, how.batch))
                        accelerator.backward(loss)
                        accelerator.clip_grad_norm_(mine, CLIP)
                        optimiser.step()
                        optimiser.zero_grad(set_to_none=True)
                        if (step + 1) % EVERY == 0:
                            notes.write(step + 1, before)
                        log("fine-tune", step + 1, how.steps)
                    after = student.measured(how.seed)
                if not np.isfinite(after):
                    raise DataError(f"lora: the loss is no number after {how.steps} steps at rate {how.rate}; lower it")
                plain = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
                notes.path.unlink(missing_ok=True)
            finally:
                unet.unload_lora()
    except torch.OutOfMemoryError as error:
        free(device)
        raise EnvironmentProblem(f"memory on {device} does not suffice for fine-tuning ({str(error)[:120]}); lower "
                                 "side or lora.batch, or leave lora null") from None
    return {f"unet.{k}": v.detach().float().cpu().contiguous() for k, v in plain.items()}, (before, after)


def add(pipeline: Pipeline, state: State) -> None:
    """Put what `train` learned on a pipeline. Raises: DataError when it does not fit it."""
    with quiet(), seeded(0):
        try:
            pipeline.pipe.load_lora_weights(dict(state))
        except (ValueError, RuntimeError, KeyError) as error:
            raise DataError(f"the fine-tuning does not fit the model ({' '.join(str(error).split())[:200]}); remove "
                            "the folder of this fit and run again") from None


@contextmanager
def _accelerator(dtype: torch.dtype, device: str) -> Iterator[Any]:
    """An accelerator for this process, and none left behind: accelerate keeps its state for good otherwise."""
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState, GradientState
    except ImportError as error:
        raise missing(error) from None
    half = {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(dtype, "no")
    try:
        yield Accelerator(mixed_precision=half, cpu=device == "cpu")
    finally:
        AcceleratorState._reset_state(True)
        GradientState._reset_state()


class _Notes:
    """What a killed training left in a checkpoint: `step` and the loss `before` all steps; 0 and None where it left
    none, or one of another training. Weights, what Adam remembers and the scale of the gradients are put back."""

    def __init__(self, path: Path, how: Training, unet: Any, optimiser: Any, scaler: Any) -> None:
        self.path, self.how, self.unet, self.optimiser, self.scaler = path, how, unet, optimiser, scaler
        self.step, self.before = 0, None
        if path.exists():
            tensors, about = read_tensors(path)
            if about["how"] == asdict(how):
                remind("unet", unet, optimiser, tensors)
                self.step, self.before = about["step"], about["before"]
                if scaler is not None:
                    scaler.load_state_dict(about["scaler"])

    def write(self, step: int, before: float) -> None:
        """Keep what there is after a step."""
        scaler = None if self.scaler is None else self.scaler.state_dict()
        write_tensors(self.path, remembered("unet", self.unet, self.optimiser),
                      {"step": step, "before": before, "how": asdict(self.how), "scaler": scaler})


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """What of a lesson does not change.

    moments: (1, 2·c, h, w) mean and log variance of the latents. beside: (1, c + 1, h, w) mask, and latents of what is
    not masked, for a U-Net that sees them, else None. words: (1, tokens, D).
    """

    moments: Tensor
    beside: Tensor | None
    words: Tensor


def _held(pipe: Any, lesson: Lesson, device: str) -> _Held:
    with torch.no_grad():
        vae = pipe.vae
        words = pipe.encode_prompt(lesson.prompt, device, 1, False)[0]
        pixels = _tensor(lesson.image, device, vae.dtype)
        moments = vae.encode(pixels).latent_dist.parameters
        beside = None
        if pipe.unet.config.in_channels > vae.config.latent_channels:
            masked = np.ones(lesson.size, bool) if lesson.mask is None else lesson.mask
            mask = torch.from_numpy(masked)[None, None].to(device, vae.dtype)  # (1, 1, H, W)
            rest = vae.encode(pixels * (mask < 0.5)).latent_dist.mode() * vae.config.scaling_factor
            beside = torch.cat([F.interpolate(mask, rest.shape[-2:]), rest], 1)
        return _Held(moments, beside, words)


class _Student:
    """The U-Net and what it is shown."""

    def __init__(self, pipe: Any, schedule: Any, held: Sequence[_Held], accelerator: Any, device: str) -> None:
        self.unet, self.scale = pipe.unet, float(pipe.vae.config.scaling_factor)
        self.schedule, self.held, self.accelerator, self.device = schedule, held, accelerator, device
        sizes: dict[tuple[int, ...], list[int]] = {}
        for k, one in enumerate(held):
            sizes.setdefault(tuple(one.moments.shape), []).append(k)
        self.alike = [next(rows for rows in sizes.values() if k in rows) for k in range(len(held))]

    def batch(self, seed: int, step: int, n: int) -> tuple[list[int], torch.Generator]:
        """The lessons of a step, all of one size, and the generator of its noise."""
        rng = rng_of(seed_of(seed, "lora", step))
        alike = self.alike[int(rng.integers(len(self.held)))]
        picks = [alike[int(k)] for k in rng.integers(len(alike), size=n)]
        return picks, torch.Generator("cpu").manual_seed(seed_of(seed, "lora noise", step))

    def loss(self, batch: tuple[list[int], torch.Generator]) -> Tensor:
        """Mean squared error of the noise, or of the velocity (Ho, Jain & Abbeel 2020, equation 14; Salimans & Ho 2022,
        appendix D), at times drawn evenly."""
        picks, generator = batch
        shown = [self.held[k] for k in picks]
        moments = torch.cat([one.moments for one in shown]).float()
        mean, log_variance = moments.chunk(2, 1)
        drawn, noise = (torch.randn(mean.shape, generator=generator).to(self.device) for _ in range(2))
        latents = (mean + torch.exp(0.5 * log_variance.clamp(-30, 20)) * drawn) * self.scale
        times = torch.randint(self.schedule.config.num_train_timesteps, (len(picks),), generator=generator)
        times = times.to(self.device)
        seen = self.schedule.add_noise(latents, noise, times)
        beside = [one.beside for one in shown if one.beside is not None]
        if beside:
            seen = torch.cat([seen, torch.cat(beside).float()], 1)
        words = torch.cat([one.words for one in shown])
        with self.accelerator.autocast():
            guess = self.unet(seen.to(self.unet.dtype), times, encoder_hidden_states=words, return_dict=False)[0]
        velocity = self.schedule.config.prediction_type == "v_prediction"
        wanted = self.schedule.get_velocity(latents, noise, times) if velocity else noise
        return F.mse_loss(guess.float(), wanted)

    @torch.no_grad()
    def measured(self, seed: int) -> float:
        """The loss over MEASURED draws that no step sees."""
        return float(np.mean([float(self.loss(self.batch(seed, -1 - k, 1))) for k in range(MEASURED)]))


def _tensor(image: Image, device: str, dtype: torch.dtype) -> Tensor:
    """(h, w, 3) uint8 → (1, 3, h, w) in [−1, 1]."""
    values: NDArray[np.float32] = image.astype(np.float32) / 127.5 - 1
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None].to(device, dtype)

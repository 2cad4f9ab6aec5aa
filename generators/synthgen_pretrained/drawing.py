"""Orders to a pipeline, in batches, each image from a generator of its own; and what is done when memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from synthgen.errors import DataError, EnvironmentProblem
from synthgen.seeds import seed_of
from synthgen.types import Image, Mask, Size
from synthgen_pretrained.loading import Pipeline, one_thread, seeded
from synthgen_pretrained.quiet import quiet

TRIES = 5  # drawings of one image that a safety checker may black out
TRIAL = (64, 64)  # px, rounded up to what the pipeline asks for


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """One image to draw.

    seed: of its noise. work: (h, w) px. image: (h, w, 3) to start from, or None. mask: (h, w) what is to be painted, or
    None. control: (h, w, 3) for the ControlNet, or None.
    """

    seed: int
    prompt: str
    negative: str
    work: Size
    image: Image | None = None
    mask: Mask | None = None
    control: Image | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """How the pipeline is called; None = its own default."""

    steps: int | None = None
    guidance: float | None = None
    strength: float | None = None
    weight: float | None = None

    def told(self) -> dict[str, float]:
        """What is not None, under the library's names."""
        every = {"num_inference_steps": self.steps, "guidance_scale": self.guidance, "strength": self.strength,
                 "controlnet_conditioning_scale": self.weight}
        return {name: value for name, value in every.items() if value is not None}


class Drawer:
    """Calls a pipeline, as many images at a time as memory allows."""

    def __init__(self, pipeline: Pipeline, settings: Settings, batch: int, device: str) -> None:
        """Raises: DataError when the pipeline does not take what the settings say, or would take no step."""
        self.pipeline, self.settings, self.batch, self.device = pipeline, settings, batch, device
        self.saving = False  # whether the pipeline was already made to save memory
        for name in settings.told():
            if name not in pipeline.takes:
                raise DataError(f"the {self._kind} takes no {name}; leave that option null")
        said = {**pipeline.defaults, **settings.told()}
        steps, strength = said.get("num_inference_steps"), said.get("strength")
        if strength is not None and steps is not None and steps * strength < 1:
            raise DataError(f"{steps} steps at strength {strength} are less than one step; raise steps or strength so "
                            "that their product is at least 1")

    @property
    def _kind(self) -> str:
        return type(self.pipeline.pipe).__name__

    def trial(self, order: Order) -> None:
        """Draw two steps of one order, to see that the parts belong together.

        Raises: DataError when they do not; EnvironmentProblem when memory does not suffice.
        """
        was, self.settings = self.settings, Settings(2, self.settings.guidance, None, self.settings.weight)
        try:
            self.draw([order])
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            said = " ".join(str(error).split())[:200]
            raise DataError(f"the {self._kind} was loaded but cannot draw ({type(error).__name__}: {said}); a "
                            "ControlNet needs a model of its own family, and a model for inpainting serves no other "
                            "mode") from None
        finally:
            self.settings = was

    def draw(self, orders: Sequence[Order]) -> list[NDArray[np.float32]]:
        """(h, w, 3) float32 in [0, 1] of each order, in their order; orders of one size share batches.

        Raises: EnvironmentProblem when memory does not suffice for one image, when half precision overflows, or when
        the model's safety checker refuses an image again and again.
        """
        sizes: dict[Size, list[int]] = {}
        for k, order in enumerate(orders):
            sizes.setdefault(order.work, []).append(k)
        drawn: dict[int, NDArray[np.float32]] = {}
        for rows in sizes.values():
            rest = rows
            while rest:
                part = rest[: self.batch]
                images, refused = self._with_memory([orders[k] for k in part])
                for k, image, wrong in zip(part, images, refused, strict=True):
                    drawn[k] = self._again(orders[k]) if wrong else image
                rest = rest[len(part) :]
        return [drawn[k] for k in range(len(orders))]

    def _again(self, order: Order) -> NDArray[np.float32]:
        """Another drawing of an image that the safety checker blacked out: a black image must not get a label."""
        for number in range(1, TRIES):
            other = seed_of(order.seed, "again", number)
            images, refused = self._with_memory([Order(other, order.prompt, order.negative, order.work, order.image,
                                                       order.mask, order.control)])
            if not refused[0]:
                return images[0]
        raise EnvironmentProblem(
            f"the model's safety checker blacked out {TRIES} drawings of {order.prompt!r}; say other prompts, or, if "
            "it errs on images of your kind, use a copy of the model whose model_index.json says "
            '"safety_checker": [null, null]')

    def _with_memory(self, orders: list[Order]) -> tuple[list[NDArray[np.float32]], list[bool]]:
        """Draw orders of one size; when memory runs out, in smaller batches, and at last with the model offloaded.

        What is given up stays given up: the next batch would not fit either.
        """
        images: list[NDArray[np.float32]] = []
        refused: list[bool] = []
        while len(images) < len(orders):
            part = orders[len(images) : len(images) + self.batch]
            try:
                drawn, wrong = self._call(part)
            except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
                if not _of_memory(error):
                    raise
                said = _short(error)
            else:
                images += drawn
                refused += wrong
                continue
            # Outside the handler, whose traceback keeps the failed call's tensors alive.
            free(self.device)
            self._retreat(len(part), part[0].work, said)
        return images, refused

    def _retreat(self, tried: int, work: Size, said: str) -> None:
        """Ask for less memory: half the batch, then the model in parts on the device, then nothing more."""
        if tried > 1:
            self.batch = tried // 2
            return
        if self.saving:
            h, w = work
            raise EnvironmentProblem(
                f"memory on {self.device} does not suffice for one image of {h} × {w} px with the model offloaded "
                f"({said}); lower side, set precision to float16 or bfloat16, name a smaller model, or say run.device: "
                "cpu, and run the same command again")
        self.saving = True
        pipe = self.pipeline.pipe
        if self.device != "cpu":
            pipe.enable_model_cpu_offload(device=self.device)
        if hasattr(pipe, "enable_attention_slicing"):
            pipe.enable_attention_slicing()

    def _call(self, orders: list[Order]) -> tuple[list[NDArray[np.float32]], list[bool]]:
        """Images of orders of one size, and which of them a safety checker blacked out."""
        first, takes = orders[0], self.pipeline.takes
        said: dict[str, Any] = {"prompt": [o.prompt for o in orders], "output_type": "np",
                                "generator": [torch.Generator("cpu").manual_seed(o.seed) for o in orders]}
        said |= self.settings.told()
        if any(o.negative for o in orders):
            said["negative_prompt"] = [o.negative for o in orders]
        if "height" in takes:
            said["height"], said["width"] = first.work
        if first.image is not None:
            said["image"] = [_picture(o.image) for o in orders]
        if first.mask is not None:
            said["mask_image"] = [_picture(o.mask) for o in orders]
        if first.control is not None:
            said["control_image" if "control_image" in takes else "image"] = [_picture(o.control) for o in orders]
        with one_thread(), seeded(first.seed), quiet():
            out = self.pipeline.pipe(**said)
        images = np.asarray(out.images, np.float32)
        if not np.isfinite(images).all():
            raise EnvironmentProblem("the model gave numbers that are none, as float16 does when it overflows; set "
                                     "precision to bfloat16 or float32")
        flagged = getattr(out, "nsfw_content_detected", None) or [False] * len(orders)
        return list(images), [bool(f) for f in flagged]


def free(device: str) -> None:
    """Give back what is not used any more."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device.startswith("mps"):
        torch.mps.empty_cache()


def _of_memory(error: BaseException) -> bool:
    """Whether memory ran out; on the CPU and on MPS torch says so in words alone."""
    words = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "out of memory" in words or (
        "not enough memory" in words or "can't allocate memory" in words)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _picture(array: Image | Mask | None) -> PIL.Image.Image:
    assert array is not None
    return PIL.Image.fromarray(array if array.dtype == np.uint8 else array.astype(np.uint8) * 255)

"""From a seed to a sample: a scene, an order for the pipeline, and the picture that comes back put in its place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.errors import DataError
from synthgen.noise import noise_model, restore_noise
from synthgen.seeds import rng_of, seed_of
from synthgen.types import Image, Size
from synthgen_pretrained.drawing import TRIAL, Drawer, Order
from synthgen_pretrained.frames import (
    Colour,
    Condition,
    Frame,
    back_to,
    cells,
    condition_image,
    frame_of,
    resized,
    share_inside,
    share_outside,
)
from synthgen_pretrained.lora import Lesson, State
from synthgen_pretrained.prompts import filled, words_of
from synthgen_pretrained.scenes import ClassScenes, Mode, ObjectScenes, Scene

SATURATED = 0.97  # of the range, above which a sensor shows no noise
SEEN = 0.02  # share of a pixel above which the model is said to have painted it


@dataclass(frozen=True, slots=True)
class Words:
    """What the model is told: templates, one of which is taken at random, the words for their fields, what shall not
    be, and the names of the classes."""

    prompts: tuple[str, ...]
    attributes: Mapping[str, tuple[str, ...]]
    negative: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A sample's pixels, its scene, and what the model was told."""

    image: Image
    scene: Scene
    prompt: str
    negative: str
    work: Size


class Studio:
    """Scenes, words and a drawer, together."""

    def __init__(self, scenes: ObjectScenes | ClassScenes, drawer: Drawer, mode: Mode, words: Words, side: int | None,
                 condition: tuple[Condition, Sequence[Colour]] | None, noise: bool) -> None:
        """side: at which the model works, px; None = the one it was made for. condition: what a ControlNet is shown,
        and the classes' colours; None without one.

        Raises: DataError when the pipeline does not say at which side it works, or takes no negative prompt.
        """
        self.scenes, self.drawer, self.mode, self.words, self.condition = scenes, drawer, mode, words, condition
        found = side or drawer.pipeline.side
        if found is None:
            raise DataError("the pipeline does not say for which size of images it was made; set side, px")
        if words.negative and "negative_prompt" not in drawer.pipeline.takes:
            raise DataError("this pipeline takes no negative prompt; leave negative_prompt empty")
        self.side = found
        self.noise = noise_model(scenes.real) if noise else None

    def trial(self) -> None:
        """Draw a small image of two steps with everything that later orders hold. Raises: as `Drawer.trial`."""
        multiple = self.drawer.pipeline.multiple
        h, w = (-(-n // multiple) * multiple for n in TRIAL)
        grey, all_ = np.full((h, w, 3), 127, np.uint8), np.ones((h, w), bool)
        inpaints = self.mode in ("inpaint-objects", "inpaint-background")
        base = grey if inpaints or self.mode == "image" else None
        control = grey if self.condition is not None else None
        self.drawer.trial(Order(0, self.words.prompts[0], self.words.negative, (h, w), base, all_ if inpaints else None,
                                control))

    def lessons(self) -> list[Lesson]:
        """Every seed image as something to learn from."""
        found = []
        for k, sample in enumerate(self.scenes.real):
            scene = self.scenes.example(k)
            frame = self._frame(scene)
            _, mask = self._share(scene, frame)
            said, _ = self._said(scene, rng_of(seed_of(k, "lesson", sample.id)))
            found.append(Lesson(resized(sample.image, frame.work), said, mask))
        return found

    def draw(self, seeds: Sequence[int]) -> Iterator[Picture]:
        """One picture per seed, in their order; as many at a time as the drawer takes. Raises: as `Drawer.draw`."""
        at = 0
        while at < len(seeds):
            few = seeds[at : at + self.drawer.batch]
            at += len(few)
            planned = [self._planned(seed) for seed in few]
            drawn = self.drawer.draw([order for _, order, _ in planned])
            for seed, (scene, order, share), pixels in zip(few, planned, drawn, strict=True):
                image = self._together(scene, share, back_to(pixels, scene.size), seed)
                yield Picture(image, scene, order.prompt, order.negative, order.work)

    def _planned(self, seed: int) -> tuple[Scene, Order, NDArray[np.float32]]:
        """A scene, its order, and the model's share of each pixel."""
        rng = rng_of(seed_of(seed, "pretrained"))
        scene = self.scenes.draw(rng)
        frame = self._frame(scene)
        share, mask = self._share(scene, frame)
        prompt, negative = self._said(scene, rng)
        control = None
        if self.condition is not None and scene.painted is not None:
            kind, colours = self.condition
            control = condition_image(scene.painted.ids, scene.painted.classes, colours, kind, frame.work)
        base = None if scene.base is None else resized(scene.base, frame.work)
        order = Order(seed_of(seed, "pretrained", "noise"), prompt, negative, frame.work, base, mask, control)
        return scene, order, share

    def _frame(self, scene: Scene) -> Frame:
        pipeline = self.drawer.pipeline
        return frame_of(scene.size, self.side, pipeline.multiple, pipeline.cell)

    def _share(self, scene: Scene, frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """The model's share of each pixel, and (h, w) the latent cells that it is asked to paint, None for all."""
        changed, kept = scene.changed, scene.kept
        share = share_outside(kept) if changed is None else share_inside(changed, kept)
        inpaints = self.mode in ("inpaint-objects", "inpaint-background")
        return share, cells(share > 0, frame) if inpaints else None

    def _said(self, scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
        """Prompt and negative prompt."""
        template = self.words.prompts[int(rng.integers(len(self.words.prompts)))]
        words = words_of(scene.shown, self.words.names, self.words.attributes, rng)
        return filled(template, words), filled(self.words.negative, words)

    def _together(self, scene: Scene, share: NDArray[np.float32], drawn: NDArray[np.float32], seed: int) -> Image:
        """The drawn pixels over the real ones, with the sensor's noise put back where the model painted."""
        pixels = drawn
        if scene.base is not None and self.mode != "image":
            below = scene.base.astype(np.float32)
            pixels = below + share[..., None] * (drawn - below)
        if self.noise is not None:
            lacking = (share > SEEN) & (pixels[..., 1] < SATURATED * 255)
            pixels = restore_noise(np.ascontiguousarray(pixels), lacking, self.noise, rng_of(seed_of(seed, "noise")))
        return np.asarray(cv2.convertScaleAbs(np.maximum(pixels, 0)), np.uint8)  # rounds, and stops at 255


def hash_of(state: State | None) -> str:
    """16 hex digits of a SHA-256 over names, shapes and bytes of what a fine-tuning learned; "" without one."""
    if state is None:
        return ""
    total = hashlib.sha256()
    for name in sorted(state):
        value = state[name].contiguous()
        total.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        total.update(value.numpy().tobytes())
    return total.hexdigest()[:16]

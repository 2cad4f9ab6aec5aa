"""Sizes of networks and trainings, by the machine that they are for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    """Side of the crops (px), of the patches that become channels (px), channels per level, residual blocks per level,
    steps, crops per step, learning rate, dropout."""

    px: int
    patch: int
    widths: tuple[int, ...]
    blocks: int
    steps: int
    batch: int
    rate: float
    dropout: float


PRESETS = {
    "cpu-demo": Preset(64, 2, (64, 64), 1, 600, 16, 1e-3, 0.1),
    "cpu-small": Preset(64, 2, (64, 128), 1, 2000, 16, 1e-3, 0.1),
    "gpu-64": Preset(64, 2, (128, 256, 256), 2, 8000, 128, 4e-4, 0.1),
    "gpu-128": Preset(128, 2, (128, 256, 256), 2, 8000, 64, 4e-4, 0.1),
    "gpu-256": Preset(256, 4, (128, 256, 384), 2, 8000, 32, 3e-4, 0.1),
}

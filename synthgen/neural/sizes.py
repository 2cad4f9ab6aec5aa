"""How large a network is trained, on crops of which side."""

from __future__ import annotations

from typing import Literal

from synthgen.neural.scene import Scene
from synthgen.types import Size

PresetName = Literal["auto", "cpu-demo", "cpu-small", "gpu-64", "gpu-128", "gpu-256"]


def preset_of(wanted: PresetName, scene: Scene, device: str) -> PresetName:
    """The preset wished for; auto = cpu-demo on the CPU, else by the smallest side of the seed's images."""
    if wanted != "auto":
        return wanted
    if device == "cpu":
        return "cpu-demo"
    side = min(frame_of(scene))
    return "gpu-64" if side <= 64 else "gpu-128" if side <= 128 else "gpu-256"


def side_of(scene: Scene, px: int, multiple: int) -> int:
    """The side of the crops, px: as wished, no larger than the smallest image asks for, divisible by the network's."""
    return max(multiple, -(-min(px, *frame_of(scene)) // multiple) * multiple)


def frame_of(scene: Scene) -> Size:
    """(H, W) that all of the seed's images have in common, px."""
    return min(h for h, _ in scene.sizes), min(w for _, w in scene.sizes)

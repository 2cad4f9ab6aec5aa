"""One process of a training: its accelerator, and what the processes tell each other. Imports torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

PARTS = 2  # of every batch: one process goes through both, two through one each, and the sum of two has no order


@contextmanager
def own_randomness() -> Iterator[None]:
    """torch's global generator is left as it was found."""
    with torch.random.fork_rng():
        yield


@contextmanager
def accelerator_of(device: str, precision: str = "no") -> Iterator[Accelerator]:
    """An accelerator for this process, and none left behind: accelerate keeps its state for good otherwise.

    precision: "no" or "bf16". Raises: ValueError when the parts cannot be shared out.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if PARTS % world:
        raise ValueError(f"{world} processes cannot share {PARTS} parts of a batch; start 1 or {PARTS}")
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision=precision,
                              gradient_accumulation_steps=PARTS // world, step_scheduler_with_optimizer=False)
    try:
        yield accelerator
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        AcceleratorState._reset_state(True)
        GradientState._reset_state()


def parts_of(accelerator: Accelerator) -> range:
    """The parts of a batch that this process goes through."""
    return range(accelerator.process_index, PARTS, accelerator.num_processes)


def told(ended: str, accelerator: Accelerator) -> str:
    """What the first process says, in all of them: only whether to end matters there."""
    if accelerator.num_processes == 1:
        return ended
    flag = torch.tensor([float(bool(ended))], device=accelerator.device)
    total = accelerator.reduce(flag, "sum")
    return ended if accelerator.is_main_process else "ended" * bool(total.item())

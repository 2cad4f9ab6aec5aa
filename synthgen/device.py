"""Where to compute."""

from __future__ import annotations

from synthgen.errors import EnvironmentProblem


def device_of(wanted: str) -> str:
    """The device to train on. Raises: EnvironmentProblem when the one named is not there."""
    import torch

    have = (
        ["cpu"]
        + (["cuda"] if torch.cuda.is_available() else [])
        + (["mps"] if torch.backends.mps.is_available() else [])
    )
    if wanted == "auto":
        return have[-1]
    if wanted not in have:
        raise EnvironmentProblem(f"run.device: {wanted} is not on this machine; there is {', '.join(have)}")
    return wanted

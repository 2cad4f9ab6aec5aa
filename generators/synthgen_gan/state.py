"""All that changes while painter and critic learn, kept on disk so that a killed training goes on bit for bit."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from synthgen.neural.tensors import Tensors, remembered, remind
from synthgen_gan.critic import Critic
from synthgen_gan.network import Painter, Shape

DECAY = 0.999  # of the painter's averaged weights, reached by a ramp
BETAS = (0.0, 0.99)  # Adam's; no momentum, as is usual where two networks chase each other


class State:
    """Both networks, their optimisers, and the painter's average."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        """New networks, from torch's global random state."""
        self.painter, self.critic = Painter(shape).to(device), Critic(shape).to(device)
        self.brush, self.eye = _adam(self.painter), _adam(self.critic)
        self.average = AveragedModel(self.painter, multi_avg_fn=_average)

    def averaged(self) -> Tensors:
        """The painter's averaged weights, by name."""
        return dict(self.average.module.state_dict())

    def as_tensors(self) -> Tensors:
        """Everything, by name."""
        return {**remembered("painter", self.painter, self.brush), **remembered("critic", self.critic, self.eye),
                "averaged": self.average.n_averaged, **{f"average.{k}": v for k, v in self.averaged().items()}}

    def restore(self, tensors: Tensors) -> None:
        """Put back what `as_tensors` gave."""
        remind("painter", self.painter, self.brush, tensors)
        remind("critic", self.critic, self.eye, tensors)
        self.average.module.load_state_dict({key: tensors[f"average.{key}"] for key in self.averaged()})
        self.average.n_averaged.copy_(tensors["averaged"])


def _average(averages: tuple[Tensor, ...] | list[Tensor], latest: tuple[Tensor, ...] | list[Tensor],
             times: Tensor | int) -> None:
    """Move the averages a little towards the latest weights: by more at first, (1 + k) / (10 + k) of the old remaining
    after k steps, since a short training would else end near its random beginning."""
    decay = min(DECAY, (1 + int(times)) / (10 + int(times)))
    with torch.no_grad():
        for average, weight in zip(averages, latest, strict=True):
            average.lerp_(weight, 1 - decay)


def _adam(network: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), betas=BETAS, eps=1e-8)

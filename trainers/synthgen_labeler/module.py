"""One training: a Lightning module with a slower encoder, a one-cycle rate and an averaged copy of the weights."""

from __future__ import annotations

import copy
import math
from typing import Any, TypeAlias

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from synthgen.seeds import seed_of
from synthgen_labeler.boxes import box_loss
from synthgen_labeler.consistency import Consistency
from synthgen_labeler.network import Network
from synthgen_labeler.pseudo_boxes import BoxConsistency
from synthgen_labeler.targets import dense_loss
from synthgen_labeler.unlabelled import Unlabelled

PoolTerm: TypeAlias = Consistency | BoxConsistency  # what a batch's unlabelled images add to the loss


class Training(pl.LightningModule):
    """AdamW with two rates, warm-up and cosine; the EMA's decay ramps up as min(decay, (1 + t) / (10 + t)).

    pool: the term of the unlabelled images, whose teacher is the averaged copy; pool_weight: of it beside the labels'.
    views: of these images; where some are to come first, they are looked at while labels alone are learned from.
    """

    def __init__(
        self,
        network: Network,
        steps: int,
        rate: float,
        encoder_rate: float,
        decay: float,
        seed: int,
        pool: PoolTerm | None = None,
        pool_weight: float = 1.0,
        views: Unlabelled | None = None,
    ) -> None:
        super().__init__()
        self.views, self.reliable = views, views.reliable if views is not None else None
        self.network, self.pool, self.pool_weight = network, pool, pool_weight
        # An encoder that nothing is taught is its own average; one copy of it is enough.
        still = not any(p.requires_grad for p in network.encoder.parameters())
        self.average = copy.deepcopy(network, {id(network.encoder): network.encoder} if still else None)
        self.average.requires_grad_(False)
        self.steps, self.rate, self.encoder_rate, self.decay, self.seed = steps, rate, encoder_rate, decay, seed

    def training_step(self, batch: dict[str, Tensor], _index: int) -> Tensor:
        """The loss of one batch; dropout depends on the step alone."""
        torch.manual_seed(seed_of(self.seed, "dropout", self.global_step))
        image = batch["image"].contiguous(memory_format=torch.channels_last)
        out = self.network(image)
        if self.network.shape.boxes:
            losses = box_loss(out, batch, self.network.shape.classes, self.network.shape.scale)
        elif self.network.shape.dense:
            losses = dense_loss(out, batch, self.network.shape.classes)
        else:
            losses = {"class": F.cross_entropy(out, batch["class"], label_smoothing=0.1)}
        told = None
        if self.pool is not None:
            self.average.eval()  # Lightning put it into training mode with the rest
            told = self.pool(self.network, self.average, batch, seed_of(self.seed, "channels", self.global_step))
        if told is not None:
            # L = L_labels + w L_pool (FixMatch, algorithm 1); UniMatch halves the sum, which AdamW does not feel.
            losses["pool"] = self.pool_weight * told
        loss: Tensor = torch.stack(list(losses.values())).sum()
        self.log_dict({f"loss/{k}": v.detach() for k, v in losses.items()} | {"loss/all": loss.detach()})
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and at once move the averaged weights: a checkpoint written after the step must hold both."""
        before = self.global_step
        super().optimizer_step(*args, **kwargs)
        t = before + 1
        decay = min(self.decay, (1 + t) / (10 + t))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
            for kept, buffer in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(buffer)
        if self.reliable is not None and self.views is not None:
            self.average.eval()
            self.reliable.look(self.average, self.views, t)

    def configure_optimizers(self) -> Any:
        """AdamW, lower rate for the encoder; 8 % warm-up, then cosine to nothing."""
        encoder = list(self.network.encoder.parameters())
        known = {id(p) for p in encoder}
        rest = [p for p in self.network.parameters() if id(p) not in known]
        optimizer = torch.optim.AdamW(
            [{"params": encoder, "lr": self.encoder_rate}, {"params": rest, "lr": self.rate}], weight_decay=1e-2
        )
        warm = max(1, round(0.08 * self.steps))

        def factor(t: int) -> float:
            if t < warm:
                return (t + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * (t - warm) / max(1, self.steps - warm)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

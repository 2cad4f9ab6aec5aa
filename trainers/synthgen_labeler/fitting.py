"""Training from start, or from its last checkpoint, to a labeler."""

from __future__ import annotations

import json
import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import nn

from synthgen.augment import CLASSIFY, DENSE, Augment
from synthgen.seeds import seed_of
from synthgen.types import Context, Mixture
from synthgen_labeler import CHECKPOINT_EVERY
from synthgen_labeler.data import Data, Plan
from synthgen_labeler.inference import CompactLabeler, Settings
from synthgen_labeler.module import Training
from synthgen_labeler.network import Shape, build

if TYPE_CHECKING:
    from synthgen_labeler import LabelerTrainer

CHECKPOINT = "last.ckpt"


class Progress(pl.Callback):
    """Says how far it is, keeps the loss curve, and writes a checkpoint now and then, whole or not at all."""

    def __init__(self, context: Context, every: int) -> None:
        self.context, self.every = context, every
        self.curve: list[list[float]] = []

    def state_dict(self) -> dict[str, Any]:
        """The curve so far, kept in the checkpoint."""
        return {"curve": self.curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The curve up to the checkpoint."""
        self.curve = state_dict["curve"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After each step."""
        step, total = trainer.global_step, int(trainer.max_steps)
        if step % 10 == 0 or step == total:
            self.curve.append([step, round(float(outputs["loss"].detach()), 5)])
        self.context.log("train", step, total)
        if step % self.every == 0 and step < total:
            part = self.context.folder / f".{CHECKPOINT}.part"
            trainer.save_checkpoint(part)
            os.replace(part, self.context.folder / CHECKPOINT)


class FrozenNorm(pl.Callback):
    """Keeps the encoder's batch statistics at their ImageNet values: batches of 8 crops have none worth having."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Before each step: Lightning put the module into training mode."""
        for module in pl_module.network.encoder.modules():  # type: ignore[union-attr]
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def fit(options: LabelerTrainer, train: Mixture, context: Context) -> CompactLabeler:
    """Train a labeler on a mixture, in `context.folder`."""
    dense = context.task != "classify"
    torch.set_num_threads(context.threads)
    real = [train.samples[int(k)] for k in np.flatnonzero(train.real)[:64]] if dense else []
    like = (real or [train.samples[k] for k in range(min(64, len(train.samples)))]) if dense else []
    tone, radius = (options.tone_for(like), options.radius_for(like)) if dense else (1.0, 1)
    network = build(
        Shape(len(context.classes), dense, options.width, tone, options.zoom),
        context.base / options.weights if isinstance(options.weights, Path) else options.weights,
        seed_of(context.seed, "network"),
    )
    module = Training(network, options.steps, options.rate, options.encoder_rate, options.decay, context.seed)
    augment = Augment(train.augment if train.augment is not None else DENSE if dense else CLASSIFY)
    data = Data(train, augment, Plan(options.steps, options.batch, options.crop, dense, context.seed))
    progress = Progress(context, every=CHECKPOINT_EVERY)
    callbacks: list[pl.Callback] = [progress] + ([FrozenNorm()] if options.weights != "random" else [])
    checkpoint = context.folder / CHECKPOINT
    with _quiet():
        trainer = pl.Trainer(
            max_steps=options.steps,
            accelerator=_accelerator(context.device),
            devices=1,
            callbacks=callbacks,
            logger=[
                CSVLogger(context.folder / "logs", name="", version="csv"),
                TensorBoardLogger(context.folder / "logs", name="", version="tensorboard"),
            ],
            gradient_clip_val=1.0,
            log_every_n_steps=10,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            trainer.fit(
                module, datamodule=data, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True
            )
        except SystemExit:
            # Lightning turns Ctrl-C into exit code 1 and leaves the signal switched off.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
    checkpoint.unlink(missing_ok=True)
    (context.folder / "curve.json").write_text(json.dumps({"step_loss": progress.curve}) + "\n")
    settings = Settings(context.task, context.classes, radius=radius, side=options.crop)
    return CompactLabeler(module.average, settings, context.device, context.threads)


def _accelerator(device: str) -> str:
    return {"cuda": "gpu"}.get(device, device)


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's tips and notices are for its own users; what matters is said by us."""
    names = ("pytorch_lightning", "lightning", "pytorch_lightning.utilities.rank_zero")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)

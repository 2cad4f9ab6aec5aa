"""Training from start, or from its last checkpoint, to a labeler."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import nn

from synthgen.augment import USUAL, Augment
from synthgen.errors import DataError
from synthgen.seeds import rng_of, seed_of
from synthgen.store import write_json
from synthgen.types import Context, Dataset, Json, Mixture, Sample
from synthgen_labeler import CHECKPOINT_EVERY, LITE0
from synthgen_labeler.backbone import read
from synthgen_labeler.calibration import calibrate
from synthgen_labeler.consistency import Consistency
from synthgen_labeler.data import Data, Plan
from synthgen_labeler.inference import NetworkLabeler, Settings, labeler_of
from synthgen_labeler.module import PoolTerm, Training
from synthgen_labeler.network import Shape, Weights, build
from synthgen_labeler.pseudo_boxes import BoxConsistency, boxes_in_labels
from synthgen_labeler.reliable import Reliable
from synthgen_labeler.thresholds import Prior, momentum_for
from synthgen_labeler.unlabelled import PoolPlan, Unlabelled
from synthgen_labeler.watch import seen_in_labels

if TYPE_CHECKING:
    from synthgen_labeler import LabelerTrainer

CHECKPOINT = "last.ckpt"
LEAST_CENTRE = 0.05  # of the height of a box's centre: how many of these low ones are right, calibration finds out
CALIBRATED_ON = 16  # images
RATES = {True: 3e-4, False: 1e-5}  # of EfficientNet-Lite0, and of other encoders
DENSE_VIEWS = 2  # strong views of a pool image: UniMatch's two, which keep each other's channels


class Progress(pl.Callback):
    """Says how far it is, keeps the loss curve, and writes a checkpoint now and then, whole or not at all."""

    def __init__(self, context: Context, every: int) -> None:
        self.context, self.every = context, every
        self.curve: list[list[float]] = []
        self.pool: list[dict[str, Json]] = []
        self.stopped: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """The curve so far, kept in the checkpoint."""
        return {"curve": self.curve, "pool": self.pool, "stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The curve up to the checkpoint."""
        self.curve, self.pool, self.stopped = (state_dict[key] for key in ("curve", "pool", "stopped"))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After each step."""
        step, total = trainer.global_step, int(trainer.max_steps)
        pool: PoolTerm | None = pl_module.pool  # type: ignore[assignment]
        if pool is not None and pool.watch.rung and self.stopped is None:
            self.stopped = step
        if step % 10 == 0 or step == total:
            self.curve.append([step, round(float(outputs["loss"].detach()), 5)])
            if "weak" in batch and pool is not None and self.stopped in (None, step):
                self.pool.append(pool.facts(step))
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


def fit(options: LabelerTrainer, train: Mixture, pool: Dataset, context: Context) -> NetworkLabeler:
    """Train a labeler on a mixture, and on the pool where `options.pool` says so, in `context.folder`."""
    dense, boxes = context.task != "classify", context.task == "detect"
    torch.set_num_threads(context.threads)
    real = [train.samples[int(k)] for k in np.flatnonzero(train.real)[:64]] if dense else []
    like = (real or [train.samples[k] for k in range(min(64, len(train.samples)))]) if dense else []
    tone, radius = (options.tone_for(like), options.radius_for(like)) if dense else (1.0, 1)
    if boxes:
        _fits(like, options.crop)
    place = options.place_of_encoder(context.base)
    spec, weights = (None, _weights(options, context)) if place is None else read(place)
    frozen = options.frozen if options.frozen is not None else float(place is not None)
    network = build(
        Shape(len(context.classes), dense, options.width, tone, options.zoom, frozen, boxes,
              max(2.0 * radius, 4.0), spec),
        weights, seed_of(context.seed, "network"),
    )
    shown = train.augment if train.augment is not None else USUAL[context.task]
    views = _views(options, pool, shown, dense, context.seed, len(context.classes))
    term: PoolTerm | None = None
    if views is not None:
        term = _term(train, context, options, options.steps - views.plan.start, radius)
    module = Training(
        network, options.steps, options.rate, _encoder_rate(options), options.decay, context.seed, term,
        options.pool_weight, views,
    )
    data = Data(train, Augment(shown), _plan(options, context, dense, boxes), views)
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
    curve = {"step_loss": progress.curve} | ({"pool": progress.pool} if views is not None else {})
    (context.folder / "curve.json").write_text(json.dumps(curve) + "\n")
    if views is not None and term is not None:
        _say_of_pool(views, term, progress, context)
    settings = Settings(context.task, context.classes, radius=radius, side=options.crop)
    settings = replace(settings, threshold=LEAST_CENTRE) if boxes else settings
    labeler = labeler_of(module.average, settings, context.device, context.threads)
    # Heights of centres lie far lower than the share that is right. What it learned from gives a first, too sure scale.
    return calibrate(labeler, [(labeler, like[:CALIBRATED_ON])]) if boxes else labeler


def _weights(options: LabelerTrainer, context: Context) -> Weights | Path:
    return context.base / options.weights if isinstance(options.weights, Path) else options.weights


def _encoder_rate(options: LabelerTrainer) -> float:
    """As wished; else low for what was trained on millions of images, and has hundreds of times the weights."""
    return options.encoder_rate if options.encoder_rate is not None else RATES[options.encoder == LITE0]


def _fits(like: Sequence[Sample], crop: int) -> None:
    """Raises: DataError when over a tenth of the boxes is larger than a training crop, which cannot show them."""
    sides = [float((b[2:] - b[:2]).max()) for s in like if s.labels is not None for b in s.labels.boxes]
    large = sum(side > crop for side in sides)
    if large > 0.1 * len(sides):
        raise DataError(f"train.crop: {crop} px is too small: {large} of {len(sides)} boxes are larger, up to "
                        f"{max(sides):.0f} px, and a crop must show what is to be learned; set it to "
                        f"{32 * math.ceil(float(np.quantile(sides, 0.9)) / 32)} or more, or scale the images down")


def _plan(options: LabelerTrainer, context: Context, dense: bool, boxes: bool) -> Plan:
    return Plan(options.steps, options.batch, options.crop, dense, context.seed, boxes, len(context.classes))


def _views(
    options: LabelerTrainer, pool: Dataset, shown: Sequence[Mapping[str, Json]], dense: bool, seed: int, classes: int
) -> Unlabelled | None:
    """The pool's views, where the pool is looked at, with what ranks its images where some are to come first."""
    if not options.pool:
        return None
    start, images = options.pool_start, max(1, round(options.pool * options.batch))
    first = (options.steps - start) // 2 if options.pool_first < 1 else 0
    plan = PoolPlan(start, images, options.crop, dense, DENSE_VIEWS if dense else 1, seed, start + first)
    views = Unlabelled(pool, shown, plan)
    if first:
        # No more are ranked than it takes to show each of the reliable ones once.
        most = min(len(pool), math.ceil(first * images / options.pool_first))
        ranked = np.sort(rng_of(seed_of(seed, "pool ranked")).permutation(len(pool))[:most])
        views.reliable = Reliable(start, ranked, options.pool_first, options.crop, dense, classes)
    return views


def _term(train: Mixture, context: Context, options: LabelerTrainer, steps: int, radius: int) -> PoolTerm:
    """The pool's term of the loss. steps: that look at the pool."""
    K, dense = len(context.classes), context.task != "classify"
    if context.task == "detect":
        return BoxConsistency(*boxes_in_labels(train, K, options.crop), steps, radius)
    shows, shares = seen_in_labels(train, K, options.crop if dense else None)
    prior = None if options.pool_prior is None else Prior(_labelled_shares(train, K), momentum_for(steps))
    return Consistency(K + dense, dense, shows, shares, steps, prior)


def _labelled_shares(train: Mixture, classes: int) -> list[float]:
    """(K,) share of each class among the real images, or, where there are none, among all."""
    of = [train.samples[int(k)].labels for k in (np.flatnonzero(train.real) if train.real.any() else
                                                 range(len(train.samples)))]
    given = np.bincount([x.image_class for x in of if x is not None and x.image_class is not None], minlength=classes)
    return list((given / max(1, given.sum())).astype(float))


def _say_of_pool(views: Unlabelled, term: PoolTerm, progress: Progress, context: Context) -> None:
    """`pool.json`: what the pool was used for, and whether it was given up; a warning when it was."""
    background = () if context.task in ("classify", "detect") else ("background",)
    why = term.watch.why((*background, *context.classes))
    said = (f"learning from the pool was given up at step {progress.stopped}, and the labels alone were learned from "
            f"then on: {why}. Label more images of what is missing, or train without the pool (pool: 0)") if why else ""
    about = {
        "images": len(views.pool), "per_batch": views.plan.images, "from_step": views.plan.start,
        "stopped_at": progress.stopped, "warning": said,
    } | ({"reliable": views.reliable.facts() | {"all_from_step": views.plan.all_from}} if views.reliable else {})
    write_json(context.folder / "pool.json", about)
    if said:
        warnings.warn(f"{context.folder}: {said}", RuntimeWarning, stacklevel=2)


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

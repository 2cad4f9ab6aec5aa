"""The trained labeler: images of any size → labels, tiled with blended seams, averaged over flips and turns."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from synthgen.errors import DataError, EnvironmentProblem
from synthgen.geometry import labels_from_ids, touches_border
from synthgen.types import Image, Json, Labels, Size, State
from synthgen_labeler.backbone import Spec
from synthgen_labeler.boxes import Found, found_boxes, sides_of
from synthgen_labeler.grouping import Group, group
from synthgen_labeler.network import Network, Shape
from synthgen_labeler.views import resized

TILE, OVERLAP, MULTIPLE = 512, 96, 32
LEAST_SURE = 0.05  # of a box's score: what is less sure is not even mentioned
LEAST_HIGH = 0.2  # the same where scores are not calibrated
BATCH = 8  # images whose class is asked for at a time


@dataclass(frozen=True, slots=True)
class Settings:
    """How outputs become labels. temperature, bias: of the scores, fitted on held-out folds; nan = not calibrated.
    one_view: the same two of scores from one view, which are surer of themselves than averages; None: as those.
    radius: of the centre map's maximum filter, px. side: px that `classify` images are resized to."""

    task: str
    classes: tuple[str, ...]
    temperature: float = float("nan")
    radius: int = 3
    threshold: float = 0.2
    min_area: int = 12
    side: int = 96
    bias: float = 0.0
    one_view: tuple[float, float] | None = None

    def scale(self, tta: bool) -> tuple[float, float]:
        """Temperature and bias of scores from several views, or from one."""
        return (self.temperature, self.bias) if tta or self.one_view is None else self.one_view


def d4(x: Tensor, k: int) -> Tensor:
    """Symmetry k of the square (0…7) of (…, H, W): k mod 4 quarter turns, mirrored first for k ≥ 4."""
    return torch.rot90(x.flip(-1) if k >= 4 else x, k % 4, (-2, -1))


def undo_d4(x: Tensor, k: int, *vectors: slice) -> Tensor:
    """The inverse of `d4`; each pair of channels in `vectors` of (B, C, H, W) holds dy, dx and turns as a vector."""
    x = torch.rot90(x, -(k % 4), (-2, -1))
    if vectors and k:
        x = x.clone()
        for pair in vectors:
            dy, dx = x[:, pair].unbind(1)
            for _ in range(k % 4):
                dy, dx = dx, -dy
            x[:, pair] = torch.stack([dy, -dx if k >= 4 else dx], 1)
    return x.flip(-1) if k >= 4 else x


class NetworkLabeler(ABC):
    """A network that labels images; deterministic, and the same for an image whatever is labelled beside it."""

    def __init__(self, network: Network, settings: Settings, device: str = "cpu", threads: int = 1) -> None:
        self.network = network.eval().to(device)
        self.settings, self.device, self.threads = settings, device, threads

    @abstractmethod
    def label(self, images: Sequence[Image], *, tta: bool = True) -> Iterator[Labels]:
        """Labels of each image, in order; scores are calibrated when the labeler is."""

    @torch.inference_mode()
    def features(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(N, `pooled_width`) float32 pooled encoder features; each image alone, resized to the same side."""
        torch.set_num_threads(self.threads)
        out = [
            self.network.features(self._resized(images[i : i + 32])).cpu().numpy() for i in range(0, len(images), 32)
        ]
        return np.concatenate(out) if out else np.zeros((0, self.network.pooled_width), np.float32)

    @torch.inference_mode()
    def dense(self, image: Image, views: int = 8) -> NDArray[np.float32]:
        """(C, H, W) float32: what `merged` makes of the first `views` symmetries of the square.

        Larger images are cut into tiles of 512 px that overlap by 96 and are blended with a linear ramp.
        """
        torch.set_num_threads(self.threads)
        H, W = _size(image)
        if H <= TILE and W <= TILE:
            return self._views(image, views)
        channels = self.network.shape.outputs + self.network.shape.boxes  # of boxes also how far the views differ
        total, weight = np.zeros((channels, H, W), np.float32), np.zeros((H, W), np.float32)
        for y0, y1 in spans(H):
            for x0, x1 in spans(W):
                ramp = (_ramp(y1 - y0, y0 > 0, y1 < H)[:, None] * _ramp(x1 - x0, x0 > 0, x1 < W)[None]).astype(
                    np.float32
                )
                total[:, y0:y1, x0:x1] += self._views(image[y0:y1, x0:x1], views) * ramp
                weight[y0:y1, x0:x1] += ramp
        return np.asarray(total / weight, np.float32)

    def _views(self, image: Image, views: int) -> NDArray[np.float32]:
        H, W = _size(image)
        x = (
            torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
            .float()
            .div(255)
            .unsqueeze(0)
            .to(self.device)
        )
        side_h, side_w = _up(H), _up(W)
        x = F.pad(x, (0, side_w - W, 0, side_h - H), mode="replicate")
        if side_h == side_w:
            batch = torch.cat([d4(x, k) for k in range(views)]).contiguous(memory_format=torch.channels_last)
            outs = list(self.network(batch).split(1))
        else:
            outs = [self.network(d4(x, k).contiguous(memory_format=torch.channels_last)) for k in range(views)]
        return np.asarray(self.merged(outs)[:, :H, :W].cpu().numpy(), np.float32)

    @abstractmethod
    def merged(self, outs: Sequence[Tensor]) -> Tensor:
        """(C, H, W) of the raw outputs (1, C, H, W) for the first symmetries of the square, turned back, averaged."""

    def _resized(self, images: Sequence[Image]) -> Tensor:
        side = self.settings.side
        stack = [resized(image, side) for image in images]
        x = torch.from_numpy(np.stack(stack).transpose(0, 3, 1, 2).copy()).float().div(255)
        return x.to(self.device).contiguous(memory_format=torch.channels_last)

    def save(self, folder: Path) -> None:
        """`weights.safetensors` and `labeler.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.contiguous() for k, v in self.network.state_dict().items()}
        save_file(state, folder / "weights.safetensors")
        shape, settings = asdict(self.network.shape), asdict(self.settings)
        about: dict[str, Any] = {"trainer": "labeler", "shape": shape, "settings": settings}
        t = self.settings.temperature
        settings["temperature"] = t if t == t else None
        (folder / "labeler.json").write_text(json.dumps(about, indent=1) + "\n")


class CompactLabeler(NetworkLabeler):
    """Gives pixels their class and instance (`instances`, `segment`), or the image its class (`classify`)."""

    def label(self, images: Sequence[Image], *, tta: bool = True) -> Iterator[Labels]:
        """Labels of each image, in order; scores are calibrated when the labeler is."""
        torch.set_num_threads(self.threads)
        if self.network.shape.dense:
            for image in images:
                yield self._dense_labels(image, tta)
            return
        for first in range(0, len(images), BATCH):
            chunk = images[first : first + BATCH]
            for image, probs in zip(chunk, self.class_probs(chunk, tta), strict=True):
                score = round(float(probs.max()), 6)
                yield Labels(_size(image), image_class=int(probs.argmax()), image_score=score, reviewed="model")

    def probabilities(self, images: Sequence[Image]) -> Iterator[NDArray[np.float32]]:
        """Of each image, in one view: (K + 1, H, W) float32 class probabilities of its pixels, background first; for
        `classify` (K,) of the whole image."""
        torch.set_num_threads(self.threads)
        if self.network.shape.dense:
            for image in images:
                yield self.dense(image, 1)[: self.network.shape.classes + 1]
            return
        for first in range(0, len(images), BATCH):
            yield from self.class_probs(images[first : first + BATCH], tta=False)

    @torch.inference_mode()
    def class_probs(self, images: Sequence[Image], tta: bool = True) -> NDArray[np.float32]:
        """(N, K) class probabilities (task `classify`); tta: averaged over a mirror image.

        Always BATCH images at a time, the last batch filled up with copies of its last image: another size of batch is
        another order of sums, and what is labelled beside an image must not change its last bit.
        """
        out = []
        for i in range(0, len(images), BATCH):
            chunk = list(images[i : i + BATCH])
            x = self._resized(chunk + chunk[-1:] * (BATCH - len(chunk)))
            views = [x, x.flip(-1)] if tta else [x]
            logits = torch.stack([self.network(v) for v in views]).mean(0)
            t, _ = self.settings.scale(tta)
            out.append((logits / (t if t == t else 1.0)).softmax(1).cpu().numpy()[: len(chunk)])
        return np.concatenate(out) if out else np.zeros((0, self.network.shape.classes), np.float32)

    def groups(self, image: Image, views: int = 8) -> tuple[Group, NDArray[np.float32]]:
        """Instances with their raw scores, and (K + 1, H, W) class probabilities."""
        K, s = self.network.shape.classes, self.settings
        out = self.dense(image, views)
        probs, centre = out[: K + 1], out[K + 1]
        return group(
            probs, centre, out[K + 2 : K + 4], radius=s.radius, threshold=s.threshold, min_area=s.min_area
        ), probs

    def _dense_labels(self, image: Image, tta: bool) -> Labels:
        found, probs = self.groups(image, 8 if tta else 1)
        if self.settings.task == "segment":
            top = probs.argmax(0)
            present = [k for k in range(1, len(probs)) if (top == k).any()]
            ids = np.zeros(top.shape, np.int32)
            for i, k in enumerate(present):
                ids[top == k] = i + 1
            classes = {i + 1: k - 1 for i, k in enumerate(present)}
            scores = [float(probs[k][top == k].mean()) for k in present]
        else:
            ids, classes = found.ids, {k + 1: int(c) for k, c in enumerate(found.classes)}
            scores = [float(s) for s in calibrated(found.scores, *self.settings.scale(tta))]
        labels = labels_from_ids(ids, classes, reviewed="model")
        return replace(labels, scores=np.asarray(scores, np.float32)) if len(labels) else labels

    def merged(self, outs: Sequence[Tensor]) -> Tensor:
        """(K + 1 + 1 + 2, H, W): class probabilities, background first, centre in [0, 1], offsets dy dx in px."""
        K = self.network.shape.classes
        mean = torch.zeros_like(outs[0])
        for k, out in enumerate(outs):
            out = torch.cat([out[:, : K + 1].softmax(1), out[:, K + 1 : K + 2].sigmoid(), out[:, K + 2 :]], 1)
            mean += undo_d4(out, k, slice(K + 2, K + 4))
        return (mean / len(outs))[0]


class BoxLabeler(NetworkLabeler):
    """Finds boxes (`detect`); it gives no pixel a class, so that it is not `Probabilistic`."""

    def label(self, images: Sequence[Image], *, tta: bool = True) -> Iterator[Labels]:
        """Labels of each image, in order: boxes; scores are calibrated when the labeler is. Boxes that are more likely
        wrong than right are named for people to look at, in the state `ignored`: taken at its word it does not say
        them."""
        for image in images:
            found, size = self.boxes(image, 8 if tta else 1), _size(image)
            sure = calibrated(found.scores, *self.settings.scale(tta)).astype(np.float32)
            known = self.settings.temperature == self.settings.temperature
            named = sure >= (LEAST_SURE if known else LEAST_HIGH)
            found, sure = found.of(named), sure[named]
            states: tuple[State, ...] = tuple("ignored" if known and s < 0.5 else "accepted" for s in sure)
            yield Labels(size, found.classes, found.boxes, scores=sure, truncated=touches_border(found.boxes, size),
                         states=states, reviewed="model")

    def boxes(self, image: Image, views: int = 8) -> Found:
        """Boxes with their classes and raw scores."""
        K, s = self.network.shape.classes, self.settings
        out = self.dense(image, views)
        return found_boxes(
            out[:K], out[K : K + 4], out[K + 4], radius=s.radius, threshold=s.threshold, min_area=s.min_area
        )

    def merged(self, outs: Sequence[Tensor]) -> Tensor:
        """(K + 4 + 1, H, W): centre of each class in [0, 1], sides up, left, down, right in px, and how far the views
        differ about a side, px (root mean square)."""
        return merged_boxes(outs, range(len(outs)), self.network.shape.classes, self.network.shape.scale)[0]


def merged_boxes(outs: Sequence[Tensor], symmetries: Sequence[int], classes: int, scale: float) -> Tensor:
    """(B, K + 4 + 1, H, W), as `BoxLabeler.merged` says, of the box head's raw outputs (B, K + 4, H, W) for the images
    seen in these symmetries of the square (`d4`). scale: as `sides_of` takes it."""
    first, last = slice(classes, classes + 2), slice(classes + 2, classes + 4)
    found = []
    for k, out in zip(symmetries, outs, strict=True):
        sides = sides_of(out[:, classes:], scale)
        # As vectors from the pixel to the box's first and last corner, sides turn with the image.
        one = torch.cat([out[:, :classes].sigmoid(), -sides[:, :2], sides[:, 2:]], 1)
        one = undo_d4(one, k, first, last)
        a, b = one[:, first], one[:, last]
        found.append(torch.cat([one[:, :classes], -torch.minimum(a, b), torch.maximum(a, b)], 1))
    every = torch.stack(found)
    mean = every.mean(0)
    spread = (every[:, :, classes:] - mean[:, classes:]).square().mean((0, 2)).sqrt()
    return torch.cat([mean, spread[:, None]], 1)


def labeler_of(network: Network, settings: Settings, device: str = "cpu", threads: int = 1) -> NetworkLabeler:
    """The labeler of what the network's head says."""
    return (BoxLabeler if network.shape.boxes else CompactLabeler)(network, settings, device, threads)


def load(folder: Path, device: str = "cpu", threads: int = 1) -> NetworkLabeler:
    """The labeler that `save` wrote, its encoder with it.

    Raises: DataError when the folder holds none; EnvironmentProblem when its encoder needs a library that is missing.
    """
    try:
        about = json.loads((folder / "labeler.json").read_text())
        state = load_file(folder / "weights.safetensors")
        settings = about["settings"]
        if settings["temperature"] is None:
            settings["temperature"] = float("nan")
        one_view = settings.get("one_view") and tuple(settings["one_view"])
        settings = Settings(**{**settings, "classes": tuple(settings["classes"]), "one_view": one_view})
        network = Network(_shape(about["shape"])).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.load_state_dict(state)
    except EnvironmentProblem:
        raise
    except Exception as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{folder}: there is no labeler here that can be read ({why})") from None
    return labeler_of(network, settings, device, threads)


def _shape(known: dict[str, Json]) -> Shape:
    """The shape that `save` wrote; labelers from before encoders had a choice say nothing of it."""
    encoder = known.get("encoder")
    spec = Spec(encoder["config"], tuple(encoder["mean"]), tuple(encoder["std"])) if encoder is not None else None
    return Shape(**{**known, "encoder": spec})


def calibrated(raw: NDArray[np.float64], temperature: float, bias: float = 0.0) -> NDArray[np.float64]:
    """Scores after temperature scaling (Guo et al. 2017) or, with a bias, Platt's (1999): sigmoid(logit(raw) / T + b);
    unchanged when T is nan."""
    if temperature != temperature:
        return raw
    p = np.clip(raw, 1e-4, 1 - 1e-4)
    return np.asarray(1 / (1 + np.exp(-np.log(p / (1 - p)) / temperature - bias)))


def spans(length: int) -> list[tuple[int, int]]:
    """Start and end of tiles that cover a length, all of the same size, overlapping by at least OVERLAP px."""
    if length <= TILE:
        return [(0, length)]
    n = -(-(length - OVERLAP) // (TILE - OVERLAP))
    starts = np.linspace(0, length - TILE, n).round().astype(int)
    return [(int(s), int(s) + TILE) for s in starts]


def _ramp(n: int, before: bool, after: bool) -> NDArray[np.float64]:
    ramp = np.ones(n)
    rise = (np.arange(OVERLAP) + 1) / (OVERLAP + 1)
    if before:
        ramp[:OVERLAP] = rise
    if after:
        ramp[-OVERLAP:] = np.minimum(ramp[-OVERLAP:], rise[::-1])
    return ramp


def _size(image: Image) -> Size:
    return int(image.shape[0]), int(image.shape[1])


def _up(n: int) -> int:
    return max(MULTIPLE, -(-n // MULTIPLE) * MULTIPLE)

"""A small convolutional encoder, its batch norm calibrated on a pool, and features of all its layers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from synthgen.errors import DataError
from synthgen.images import hash_image
from synthgen.metrics.features import common_size, one_path
from synthgen.types import Dataset, Image, Log

WIDTHS = (32, 64, 96, 96)  # 2 · 288 = 576 features
MOST = 2000  # pool images that are looked at: more would decide nothing new
CALIBRATION = 64  # images per batch when batch norm is calibrated


class Net(nn.Module):
    """Four times: 3 × 3 convolution with stride 2, batch norm, ReLU."""

    def __init__(self) -> None:
        super().__init__()
        pairs = zip((3, *WIDTHS[:-1]), WIDTHS, strict=True)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True))
            for a, b in pairs)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB in [0, 1] → four maps, (B, WIDTHS[i], H / 2^(i+1), W / 2^(i+1))."""
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return maps


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: a sum over two threads has other last digits than over one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's global generator at a seed inside, and as it was afterwards: layers draw their weights from it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def drawn(seed: int) -> Net:
    """A network with random weights (He et al. 2015: normal, variance 2 / fan-in)."""
    with seeded(seed):
        net = Net()
        for part in net.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    return net.eval()


def tiles(pool: Dataset, name: str, at_least: int = 1) -> NDArray[np.uint8]:
    """(N, S, S, 3) uint8: the pool's images through `one_path` at a side of their own, sorted by content.

    At most MOST, evenly spaced in that order. Raises: DataError for fewer than `at_least` images.
    """
    if len(pool) < at_least:
        raise DataError(f"the feature extractor {name} learns from the pool, which holds {len(pool)} images; give "
                        f"data.pool at least {at_least}, or take {name} out of evaluate.features")
    hashes = [(hash_image(sample.image), k) for k, sample in enumerate(pool)]
    order = [k for _, k in sorted(hashes)]
    picks = [order[int(i)] for i in np.linspace(0, len(order) - 1, min(len(order), MOST)).round()]
    side = common_size((int(h), int(w)) for h, w in {pool[k].image.shape[:2] for k in picks})
    return np.stack([one_path(pool[k].image, side) for k in picks])


def tensor(images: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 → (N, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float().div(255)


def calibrate(net: Net, images: NDArray[np.uint8], log: Log) -> Net:
    """The network with batch norm's statistics set to the means over the images; then in evaluation mode."""
    with one_thread(), torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.reset_running_stats()
                part.momentum = None  # a plain mean over the batches instead of an exponential one
        net.train()
        for begin in range(0, len(images), CALIBRATION):
            net(tensor(images[begin : begin + CALIBRATION]))
            log("calibrate features", min(begin + CALIBRATION, len(images)), len(images))
    return net.eval()


@torch.inference_mode()
def pooled(net: Net, images: Sequence[Image]) -> NDArray[np.float32]:
    """(N, 576) float32: of every layer each channel's mean and sd over the image; one image at a time."""
    rows = np.zeros((len(images), 2 * sum(WIDTHS)), np.float32)
    with one_thread():
        for k, image in enumerate(images):
            maps = [m.flatten(2) for m in net(tensor(image[None]))]
            row = [part for m in maps for part in (m.mean(2), m.std(2, correction=0))]
            rows[k] = torch.cat(row, dim=1)[0].numpy()
    return rows


def hash_state(state: dict[str, Tensor]) -> str:
    """The first 16 hex digits of a SHA-256 over the names, shapes and bytes of weights."""
    total = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


def hash_nets(nets: Sequence[Net]) -> str:
    """One hash of all of the networks' weights."""
    return hash_state({f"{k}.{name}": value for k, net in enumerate(nets) for name, value in net.state_dict().items()})


def save(nets: Sequence[Net], folder: Path) -> None:
    """`net-0.safetensors`, …"""
    for k, net in enumerate(nets):
        save_file({name: value.contiguous() for name, value in net.state_dict().items()},
                  folder / f"net-{k}.safetensors")


def load(folder: Path) -> list[Net]:
    """What `save` wrote. Raises: DataError when a file is missing or does not fit."""
    nets = []
    for k in range(len(list(folder.glob("net-*.safetensors")))):
        net = drawn(0)  # draws weights that are overwritten, but leaves the global generator alone
        try:
            net.load_state_dict(load_file(folder / f"net-{k}.safetensors"))
        except Exception as error:
            raise DataError(f"{folder}: net-{k}.safetensors cannot be read ({type(error).__name__}); remove the folder "
                            "and run again") from None
        nets.append(net.eval())
    if not nets:
        raise DataError(f"{folder}: there are no weights here; remove the folder and run again")
    return nets

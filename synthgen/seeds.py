"""Seeds by name: sample k depends on seed k alone, never on order, worker or what else is made."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_of(root: int, *names: str | int) -> int:
    """A seed in [0, 2**63) from a root seed and a path of names, by SHA-256; types are kept apart."""
    # A separator inside a name is doubled, so that no two paths of names give the same text.
    plain = (f"{type(name).__name__[0]}:{name}".replace("\x1f", "\x1f\x1f") for name in names)
    text = "\x1f".join([str(root), *plain])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rng_of(seed: int) -> np.random.Generator:
    """numpy's generator (PCG64) for a seed."""
    return np.random.default_rng(seed)

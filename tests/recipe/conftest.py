"""A whole recipe, and a folder in which it is valid."""

from __future__ import annotations

from pathlib import Path

import pytest

FULL = """\
# A whole recipe: every section, every kind of value.
schema: synthgen/1
name: screws
task: instances
classes: [nut, bolt]
seed: 11
shard_size: 32
data:
  seed: {path: data/seed, format: coco}
  pool:
    path: data/pool
    format: images
    limit: 200
  pool_truth:
    path: data/truth
    format: coco
  test:
    path: data/test
    format: coco
  bits: 12
  max_pixels: 1000000
  max_bad_fraction: 0.05
  leaks: warn
generate:
  - name: paste
    use: dots
    count: 40
    radius: 2.5
    blend: poisson
    steps: 24
    sizes: [16, 32]
    border:
      width: 2
    scale: 1.5
  - name: more
    use: dots
    count: 10
    enabled: false
    scale: auto
filter:
  min_visible: 0.3
  min_area: 20
  duplicates: keep
mix:
  real: 0.3
  per_class: balance
  synthetic_until: 0.2
train:
  use: stub
  calibration_folds: 3
  rounds: 7
label:
  accept: 0.6
  ignore: 0.2
  tta: false
evaluate:
  gate:
    - check: shape
      max: 0.4
    - check: integrity
  on_inconclusive: fail
  permutations: 99
  waivers:
    - check: quarantine
      name: taken out
      reason: known and accepted
      until: 2027-01-31
      by: a person
  max_quarantine: 0.2
  features:
    - spectrum
    - use: shapes
      name: other
export: [coco, lines]
benchmark:
  arms: [real, mixed]
  seeds: 3
  seed_sizes: [4, 10]
  ratios: [0.25]
  margin: 0.05
run:
  out: elsewhere
  device: cpu
  workers: 2
"""


@pytest.fixture
def full() -> str:
    """The text of a valid recipe that uses every section and only plug-ins of tests/fakes."""
    return FULL


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_plugins: None) -> Path:
    """The working directory, with the data folders that the recipe names."""
    for name in ("seed", "pool", "truth", "test"):
        (tmp_path / "data" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path

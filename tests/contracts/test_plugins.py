"""Every installed plug-in keeps its promises; one that is added is covered by being installed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen import plugins
from synthgen.features.labeler import LabelerFeatures
from synthgen.metrics.accuracy import score_image
from synthgen.metrics.features import handcrafted, spectrum
from synthgen.testing import check_check, check_format, check_generator, check_trainer, tiny_context, tiny_real
from synthgen.testing.features import check_features
from synthgen.testing.function import check_function
from synthgen.testing.tiny import tiny_images
from synthgen.types import Evidence, Mixture, Origin
from synthgen_labeler.inference import CompactLabeler, Settings
from synthgen_labeler.network import Shape, build

# Options that make a plug-in quick enough for every test run; one that is not listed runs with its defaults.
QUICK: dict[tuple[str, str], dict[str, Any]] = {
    ("generators", "diffusion"): {"steps": 2, "batch": 2, "px": 32, "widths": [8, 8], "sampling_steps": 2},
    ("generators", "gan"): {"steps": 2, "batch": 4, "px": 32, "widths": (8, 8), "critic": (8, 8), "look_every": 0},
    ("trainers", "labeler"): {"steps": 20, "batch": 4, "crop": 64, "width": 16, "decay": 0.5, "rate": 5e-3},
    ("checks", "realism"): {"permutations": 19},
    ("checks", "drift"): {"permutations": 19},
    ("checks", "utility"): {"resamples": 200},
    ("features", "pool-ssl"): {"steps": 3, "batch": 4},
    ("features", "random-conv"): {"nets": 2},
}


def built(group: plugins.Group, name: str) -> Any:
    """The plug-in with its quick options, as far as it takes them."""
    known = plugins.option_names(plugins.find(group, name))
    return plugins.build(group, name, {k: v for k, v in QUICK.get((group, name), {}).items() if k in known})


def names(group: plugins.Group) -> list[str]:
    return [p.name for p in plugins.installed(group)]


def generators() -> list[Any]:
    """All but `pretrained`, which needs a model: tests/pretrained asks the same of it with tiny ones."""
    learn = {n for n in names("generators") if getattr(plugins.find("generators", n), "LEARNS", False)}
    return [pytest.param(n, marks=pytest.mark.slow if n in learn else ()) for n in names("generators")
            if n != "pretrained"]


# Those that need a file or a server: tests/functions asks the same of them with small ones.
NEEDY = ("template", "labeler", "chat", "clip", "boxes", "sam")


@pytest.mark.parametrize("name", [n for n in names("functions") if n not in NEEDY])
def test_every_labelling_function_keeps_its_promises(name: str) -> None:
    check_function(built("functions", name))


@pytest.mark.slow
@pytest.mark.parametrize("name", generators())
def test_every_generator_keeps_its_promises(name: str) -> None:
    check_generator(built("generators", name), tiny_real(3))


@pytest.mark.slow
@pytest.mark.parametrize("name", names("trainers"))
def test_every_trainer_keeps_its_promises(name: str, tmp_path: Path) -> None:
    real = tiny_real(2)
    mixture = Mixture(real, np.ones(2, bool), np.full(2, 0.5))
    trainer = built("trainers", name)
    check_trainer(trainer, mixture, tiny_context(tmp_path))
    found = trainer.load(tmp_path / "saved").label(tiny_images())
    assert any(len(labels) for labels in found), "it found nothing, so that nothing was compared with nothing"


@pytest.fixture(scope="module")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DINOv2 of two narrow layers, as transformers writes it."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("dinov2")
    transformers.utils.logging.disable_progress_bar()
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=14)
    transformers.Dinov2Model(config).save_pretrained(folder)
    size = {"height": 28, "width": 28}
    transformers.models.bit.image_processing_pil_bit.BitImageProcessorPil(
        size={"shortest_edge": 28}, crop_size=size).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", names("features"))
def test_every_feature_extractor_keeps_its_promises(name: str, request: pytest.FixtureRequest) -> None:
    if name == "transformers":
        check_features(plugins.build("features", name, {"path": str(request.getfixturevalue("tiny_vit"))}))
    elif name == "labeler":
        # The labeler takes 32 images at a time, which moves the last digits of their features.
        check_features(LabelerFeatures().of(untrained_labeler(), "labeler"), tolerance=1e-4)
    else:
        check_features(built("features", name))


def untrained_labeler() -> CompactLabeler:
    """The compact labeler as it is before its first step."""
    network = build(Shape(classes=2, width=8), "random", seed=3)
    return CompactLabeler(network, Settings("instances", ("a", "b"), side=32))


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    seed, pool = tiny_real(6, seed=1), [replace(s, labels=None) for s in tiny_real(6, seed=2)]
    test = tiny_real(5, seed=3)
    synthetic = [
        replace(s, id=f"synthetic-{k}", origin=Origin("synthetic", "test", seed=k, parents=("a",)))
        for k, s in enumerate(tiny_real(6, seed=4))
    ]
    parts = {"synthetic": synthetic, "seed": seed, "pool": pool}
    features = {}
    for part, samples in parts.items():
        images = [s.image for s in samples]
        flat = np.stack([i[::8, ::8].ravel() for i in images]).astype(np.float32)
        features[part] = {
            "spectrum": spectrum(images).astype(np.float32),
            "encoder": flat,
            "handcrafted": handcrafted(images).astype(np.float32),
        }
    records = [score_image(s.labels, s.labels) for s in test if s.labels]
    scores = {arm: {"per_image": records} for arm in ("mixed", "real")}
    return Evidence(synthetic, seed, pool, test, ("class 0", "class 1"), "instances", features, scores)


@pytest.mark.parametrize("name", names("checks"))
def test_every_check_keeps_its_promises(name: str, evidence: Evidence) -> None:
    check_check(built("checks", name), evidence)


@pytest.mark.parametrize("name", names("formats"))
def test_every_format_keeps_its_promises(name: str, tmp_path: Path) -> None:
    check_format(built("formats", name), tmp_path)

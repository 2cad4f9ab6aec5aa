"""Models of transformers: where they may lie, and what is read of them. No network is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from synthgen.errors import DataError
from synthgen.hub import Place, check_folder, from_config, load_encoder, pinned, preprocessing, refuse_missing

COMMIT = "a1" * 20


@pytest.mark.parametrize(("options", "said"), [
    ({}, "either path"), ({"path": Path("x"), "repo": "a/b", "revision": COMMIT}, "either path"),
    ({"repo": "a/b"}, "belong together"), ({"path": Path("x"), "revision": COMMIT}, "belong together"),
])
def test_a_model_lies_in_one_place(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Place(**options)


def test_a_repository_at_a_commit_is_one_text() -> None:
    place = pinned(f"some/dinov2@{COMMIT}")
    assert place == Place(repo="some/dinov2", revision=COMMIT)
    assert str(place) == f"some/dinov2@{COMMIT}"
    assert str(Place(Path("models/x"))) == "models/x"


def test_a_folder_holds_a_configuration_and_weights_that_are_no_pickle(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no model"):
        check_folder(tmp_path)
    (tmp_path / "config.json").touch()
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ValueError, match=r"no weights as \.safetensors"):
        check_folder(tmp_path)
    (tmp_path / "model.safetensors").touch()
    check_folder(tmp_path)


def test_missing_weights_are_counted_and_one_is_named() -> None:
    refuse_missing(Place(Path("x")), [])
    with pytest.raises(DataError, match="x: the checkpoint lacks 2 of the model's weights, a for one"):
        refuse_missing(Place(Path("x")), ["a", "b"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A DINOv2 of one layer, as transformers writes it."""
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    there = tmp_path / f"hub/models--some--dinov2/snapshots/{COMMIT}"
    transformers.Dinov2Model(transformers.Dinov2Config(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=28, patch_size=14)).save_pretrained(there)
    (there / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0]}')
    return there


@pytest.mark.slow
def test_an_encoder_is_made_again_of_its_configuration_alone(folder: Path) -> None:
    net = load_encoder("this test", Place(folder))
    again = from_config("this test", net.config.to_dict())
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}
    assert not again.training
    assert preprocessing("this test", Place(folder)) == {"image_mean": [0, 0, 0]}


@pytest.mark.slow
def test_a_repository_that_was_fetched_needs_no_network_and_another_is_told_how_to_fetch(
        folder: Path, tmp_path: Path) -> None:
    code = ("from synthgen.hub import load_encoder, pinned\n"
            "for name in ('some/dinov2', 'some/other'):\n"
            f"    try: print(load_encoder('this test', pinned(name + '@{COMMIT}')).config.model_type)\n"
            "    except Exception as error: print(type(error).__name__, error)\n")
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    found, told = done.stdout.splitlines()
    assert found == "dinov2"
    assert told.startswith("EnvironmentProblem some/other@a1a1")
    assert f"hf download some/other --revision {COMMIT}" in told


@pytest.mark.slow
def test_a_backbone_that_would_be_fetched_from_elsewhere_is_refused(folder: Path) -> None:
    about = json.loads((folder / "config.json").read_text()) | {"model_type": "detr", "backbone": "resnet50"}
    (folder / "config.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="its backbone is another model, resnet50"):
        load_encoder("this test", Place(folder))

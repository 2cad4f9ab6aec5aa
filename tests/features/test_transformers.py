"""Encoders of the library transformers, on tiny models that it makes itself; no network is touched."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synthgen import plugins
from synthgen.errors import DataError, EnvironmentProblem, PluginError
from synthgen.testing.features import check_features, feature_images

transformers = pytest.importorskip("transformers")
MEAN, SD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def save(folder: Path, model: Any, side: int = 28) -> Path:
    """Model and processor, as transformers writes them."""
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "image_processor_type": "BitImageProcessor", "do_resize": True, "size": {"height": side, "width": side},
        "do_center_crop": False, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": MEAN, "image_std": SD, "resample": 2}))
    return folder


def dinov2() -> Any:
    return transformers.Dinov2Model(transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=14))


def clip() -> Any:
    small = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return transformers.CLIPModel(transformers.CLIPConfig(
        text_config={**small, "vocab_size": 50, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 1},
        vision_config={**small, "image_size": 28, "patch_size": 14}, projection_dim=8))


def convnext() -> Any:
    return transformers.ConvNextModel(transformers.ConvNextConfig(hidden_sizes=[8, 8, 8, 10], depths=[1, 1, 1, 1]))


def extractor(folder: Path, **options: Any) -> Any:
    return plugins.build("features", "transformers", {"path": str(folder), **options})


@pytest.mark.parametrize(("make", "width"), [(dinov2, 16), (clip, 12), (convnext, 10)], ids=["dinov2", "clip", "conv"])
def test_any_vision_encoder_keeps_the_promises(make: Any, width: int, tmp_path: Path) -> None:
    side = 64 if make is convnext else 28
    found = extractor(save(tmp_path, make(), side))
    check_features(found)
    assert found.features(feature_images()).shape == (10, width)


def test_the_features_are_the_models_own_after_the_folders_own_preprocessing(tmp_path: Path) -> None:
    model = dinov2().eval()
    save(tmp_path, model)
    image = feature_images(28)[0]                     # of the processor's side, so nothing is resized
    x = torch.tensor((image / 255 - MEAN) / SD).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        hidden = model(pixel_values=x).last_hidden_state[0].numpy()
    assert extractor(tmp_path).features([image])[0] == pytest.approx(hidden[0], abs=1e-4)
    assert extractor(tmp_path, tokens="mean").features([image])[0] == pytest.approx(hidden.mean(0), abs=1e-4)


def test_weights_preprocessing_and_tokens_each_make_another_identity(tmp_path: Path) -> None:
    model = dinov2()
    first = extractor(save(tmp_path / "a", model)).identity()
    assert extractor(save(tmp_path / "copy", model)).identity() == first
    assert extractor(tmp_path / "a", tokens="mean").identity()["preprocessing"] != first["preprocessing"]
    assert extractor(save(tmp_path / "b", model, side=42)).identity()["preprocessing"] != first["preprocessing"]
    with torch.no_grad():
        model.embeddings.cls_token += 1e-3
    other = extractor(save(tmp_path / "c", model)).identity()
    assert (other["weights"] != first["weights"], other["preprocessing"]) == (True, first["preprocessing"])


def test_a_checkpoint_that_lacks_weights_is_refused_instead_of_drawn_at_random(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = save(tmp_path, dinov2()) / "model.safetensors"
    state = load_file(file)
    lost = next(name for name in state if "layer.1" in name)
    save_file({k: v for k, v in state.items() if k != lost}, file, {"format": "pt"})
    with pytest.raises(DataError, match=r"lacks 1 of the model's weights, .*layer\.1"):
        extractor(tmp_path).features([])


def test_pickled_weights_are_never_read(tmp_path: Path) -> None:
    model = dinov2()
    save(tmp_path, model)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"cannot load its model from here .*model\.safetensors"):
        extractor(tmp_path).features([])


def test_code_that_lies_beside_the_weights_is_never_run(tmp_path: Path) -> None:
    save(tmp_path, dinov2())
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Model: pass\nclass Config: pass\n")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="cannot load its model"):
        extractor(tmp_path).features([])
    assert not (tmp_path / "ran").exists()


def test_a_model_of_texts_is_refused(tmp_path: Path) -> None:
    save(tmp_path, transformers.BertModel(transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)))
    with pytest.raises(DataError, match="bert model takes input_ids, not images"):
        extractor(tmp_path).features([])


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold config\.json"):
        extractor(tmp_path).features([])


@pytest.mark.parametrize(("options", "said"), [
    ({}, "name either path"),
    ({"path": ".", "repo": "a/b", "revision": "0" * 40}, "name either path"),
    ({"repo": "a/b"}, "repo and revision belong together"),
    ({"path": ".", "revision": "0" * 40}, "repo and revision belong together"),
    ({"repo": "a/b", "revision": "main"}, "revision"),
    ({"repo": "just-a-name", "revision": "0" * 40}, "repo"),
])
def test_the_hub_is_asked_only_for_a_repository_at_a_commit(options: dict[str, Any], said: str) -> None:
    with pytest.raises(PluginError, match=said):
        plugins.build("features", "transformers", options)


def test_the_missing_library_is_told_with_the_line_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'synthgen-cv\[transformers\]'"):
        extractor(tmp_path).features([])


def test_the_librarys_bars_are_as_they_were_and_nothing_was_printed(
        tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, dinov2())
    transformers.utils.logging.enable_progress_bar()
    capfd.readouterr()
    assert np.isfinite(extractor(tmp_path).features(feature_images()[:2])).all()
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled()

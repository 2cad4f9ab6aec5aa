"""Foundation models as labelling functions, on tiny models that transformers makes itself; no network is touched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen import plugins
from synthgen.errors import DataError, PluginError
from synthgen.testing import tiny_context, tiny_real
from synthgen.testing.function import check_function

pytestmark = pytest.mark.slow  # transformers takes long to import

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
SMALL = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXT = {**SMALL, "vocab_size": 54, "eos_token_id": 53, "bos_token_id": 52, "pad_token_id": 53,
        "max_position_embeddings": 32}
EYE = {**SMALL, "image_size": 28, "patch_size": 14}


def saved(folder: Path, model: Any, processor: dict[str, Any]) -> Path:
    """A model with a tokeniser of letters and a processor, as transformers writes them."""
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    letters = [chr(c) for c in range(97, 123)]
    tokens = [*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": 32}))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.fixture(autouse=True)
def weights() -> None:
    """The same random weights each time: of some a detector has nothing to say of the picture."""
    torch.manual_seed(0)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=EYE, projection_dim=8)
    size = {"height": 28, "width": 28}
    return saved(tmp_path / "clip", transformers.CLIPModel(config), {
        "image_processor_type": "CLIPImageProcessor", "size": size, "crop_size": size, "do_center_crop": False})


def test_clip_gives_an_image_the_class_whose_words_fit_best(clip, tmp_path):
    ask = plugins.build("functions", "clip", {"path": str(clip), "words": {"class 1": "dog"}})
    check_function(ask, "classify")
    image = tiny_real(1)[0].image
    found = ask(image)
    assert found.image_score >= 0.5
    shy = plugins.build("functions", "clip", {"path": str(clip), "at_least": 1.0})
    shy.prepare(tiny_context(tmp_path, "classify"))
    assert shy(image) is None
    with pytest.raises(DataError, match="no class 'cat'"):
        plugins.build("functions", "clip", {"path": str(clip), "words": {"cat": "cat"}}).prepare(
            tiny_context(tmp_path, "classify"))


def test_boxes_of_words_lie_in_the_image(tmp_path):
    config = transformers.Owlv2Config(text_config=TEXT, vision_config=EYE, projection_dim=12)
    folder = saved(tmp_path / "owl", transformers.Owlv2ForObjectDetection(config), {
        "image_processor_type": "Owlv2ImageProcessor", "size": {"height": 28, "width": 28}})
    find = plugins.build("functions", "boxes", {"path": str(folder), "threshold": 0.0})
    check_function(find, "detect")
    assert len(find(tiny_real(1)[0].image)) > 0


def test_sam_outlines_the_boxes_of_another_function(tmp_path):
    eye = transformers.SamVisionConfig(hidden_size=12, output_channels=8, num_hidden_layers=1, num_attention_heads=2,
                                       image_size=64, patch_size=16, mlp_dim=16, num_pos_feats=4,
                                       global_attn_indexes=[0])
    config = transformers.SamConfig(
        vision_config=eye,
        prompt_encoder_config=transformers.SamPromptEncoderConfig(hidden_size=8, image_size=64, patch_size=16,
                                                                  mask_input_channels=4),
        mask_decoder_config=transformers.SamMaskDecoderConfig(hidden_size=8, mlp_dim=16, num_hidden_layers=1,
                                                              num_attention_heads=2, iou_head_hidden_dim=8))
    folder = saved(tmp_path / "sam", transformers.SamModel(config), {
        "image_processor_type": "SamImageProcessor", "size": {"longest_edge": 64},
        "pad_size": {"height": 64, "width": 64}})
    outline = plugins.build("functions", "sam", {"path": str(folder)})
    check_function(outline)
    one = tiny_real(1)[0]
    found = outline(one.image, replace(one.labels, masks=None))
    assert len(found.masks) == len(found) <= len(one.labels)
    assert np.isin(found.classes, one.labels.classes).all()


@pytest.mark.parametrize("name", ["clip", "boxes", "sam"])
def test_a_model_lies_in_one_place_and_is_there(name, tmp_path):
    with pytest.raises(PluginError, match="either path"):
        plugins.build("functions", name, {})
    with pytest.raises(PluginError, match="repo and revision belong together"):
        plugins.build("functions", name, {"repo": "some/where"})
    with pytest.raises(DataError, match="cannot load its model from here"):
        plugins.build("functions", name, {"path": str(tmp_path)}).prepare(tiny_context(tmp_path))

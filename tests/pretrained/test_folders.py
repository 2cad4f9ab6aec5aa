"""Which folders are taken, which are refused, and what the refusal says; and how the Hub is asked."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from synthgen.errors import DataError, EnvironmentProblem
from synthgen.testing import tiny_context, tiny_real
from synthgen.types import Labels
from synthgen_pretrained.folders import check_controlnet, check_pipeline, fetched, variant_of, weights_hash, whole
from synthgen_pretrained.loading import load

COMMIT = "0123456789" * 4
Make = Callable[..., Any]


@pytest.fixture
def copy(plain: Path, tmp_path: Path) -> Path:
    """A pipeline that a test may spoil."""
    return Path(shutil.copytree(plain, tmp_path / "model"))


def change(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def fit(generator: Any, folder: Path) -> None:
    generator.fit(tiny_real(1, (24, 32)), [], tiny_context(folder))


def pickled(part: Path, name: str) -> None:
    """The weights of a part as a pickle alone."""
    (weights,) = part.glob("*.safetensors")
    torch.save(load_file(weights), part / name)
    weights.unlink()


@pytest.mark.parametrize(("part", "name"), [("unet", "diffusion_pytorch_model.bin"), ("vae", "model.ckpt"),
                                            ("text_encoder", "pytorch_model.bin"), ("unet", "weights.pt")])
def test_weights_that_are_a_pickle_are_refused_with_the_way_out(
        part: str, name: str, copy: Path, tmp_path: Path, make: Make) -> None:
    pickled(copy / part, name)
    with pytest.raises(DataError) as told:
        fit(make(model=copy), tmp_path)
    said = str(told.value)
    assert str(copy / part / name) in said
    for word in ("pickle", "only .safetensors are read", "save_pretrained"):
        assert word in said


@pytest.mark.slow
def test_a_pickle_beside_safetensors_is_not_read_and_disturbs_nobody(copy: Path, tmp_path: Path, make: Make) -> None:
    before = weights_hash(copy)
    (copy / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"no pickle at all")
    (copy / "v1-5-pruned.ckpt").write_bytes(b"nor this")
    assert weights_hash(copy) == before
    fit(make(model=copy), tmp_path)


def test_a_controlnet_that_is_a_pickle_is_refused(plain: Path, control: Path, tmp_path: Path, make: Make) -> None:
    spoiled = Path(shutil.copytree(control, tmp_path / "control"))
    pickled(spoiled, "diffusion_pytorch_model.bin")
    with pytest.raises(DataError, match="these weights are a pickle"):
        fit(make(model=plain, controlnet=spoiled), tmp_path)


def test_a_folder_that_is_not_there_or_holds_no_pipeline_is_refused(tmp_path: Path, make: Make) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        fit(make(model=tmp_path / "nowhere"), tmp_path)
    with pytest.raises(DataError, match=r"no folder of a diffusers pipeline: model_index\.json is missing"):
        check_pipeline(tmp_path)
    (tmp_path / "one.safetensors").touch()
    with pytest.raises(DataError, match=r"one\.safetensors alone is a checkpoint of another layout"):
        check_pipeline(tmp_path)
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(DataError, match="this is no JSON"):
        check_pipeline(tmp_path)


def test_a_pipeline_in_the_place_of_a_controlnet_is_refused_and_the_other_way_round(plain: Path, control: Path) -> None:
    with pytest.raises(DataError, match=r"config\.json is missing"):
        check_controlnet(plain)
    with pytest.raises(DataError, match="this is a UNet2DConditionModel, not a ControlNet"):
        check_controlnet(plain / "unet")
    with pytest.raises(DataError, match=r"model_index\.json is missing"):
        check_pipeline(control)


def test_code_that_lies_beside_the_weights_is_never_run(copy: Path, tmp_path: Path, make: Make) -> None:
    evil = f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n"
    for place in (copy / "evil.py", copy / "unet" / "evil.py", copy / "pipeline.py"):
        place.write_text(evil)
    fit(make(model=copy), tmp_path)  # code that nobody asks for lies there, and no more
    index = json.loads((copy / "model_index.json").read_text())
    for entries, said in (({"_class_name": ["evil", "Evil"]}, "wants code of its own"),
                          ({"unet": ["evil", "Evil"]}, r"the part unet comes from evil\.Evil"),
                          ({"unet": ["os", "path"]}, r"the part unet comes from os\.path")):
        (copy / "model_index.json").write_text(json.dumps({**index, **entries}))
        with pytest.raises(DataError, match=said):
            fit(make(model=copy), tmp_path)
    assert not (tmp_path / "ran").exists()


def test_code_of_a_text_encoders_own_is_never_run(copy: Path, tmp_path: Path, make: Make) -> None:
    (copy / "text_encoder" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    change(copy / "text_encoder" / "config.json", auto_map={"AutoConfig": "evil.Config"})
    fit(make(model=copy), tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_checkpoint_that_lacks_weights_is_refused_instead_of_drawn_at_random(
        part: str, copy: Path, tmp_path: Path, make: Make) -> None:
    (file,) = (copy / part).glob("*.safetensors")
    state = load_file(file)
    save_file(dict(sorted(state.items())[1:]), file, {"format": "pt"})
    with pytest.raises(DataError, match=r"lacks 1 of the network's weights"):
        fit(make(model=copy), tmp_path)


def test_weights_that_are_cut_off_are_told_as_what_they_are(copy: Path, tmp_path: Path, make: Make) -> None:
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="no UNet2DConditionModel can be loaded from here"):
        fit(make(model=copy), tmp_path)


def test_a_part_without_its_folder_is_told(copy: Path, tmp_path: Path, make: Make) -> None:
    shutil.rmtree(copy / "vae")
    with pytest.raises(DataError, match="no AutoencoderKL can be loaded from here"):
        fit(make(model=copy), tmp_path)


def test_weights_of_half_precision_alone_are_taken(copy: Path, plain: Path, tmp_path: Path, make: Make) -> None:
    for part in ("unet", "vae", "text_encoder"):
        (file,) = (copy / part).glob("*.safetensors")
        file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))
        assert variant_of(copy / part) == "fp16"
        assert variant_of(plain / part) is None
    fit(make(model=copy), tmp_path)


def test_a_pipeline_that_makes_something_else_is_refused_with_the_mode(tmp_path: Path, make: Make, tiny: Any) -> None:
    folder = tiny.saved(diffusers.DDIMPipeline(
        diffusers.UNet2DModel(sample_size=8, block_out_channels=(8,), down_block_types=("DownBlock2D",),
                              up_block_types=("UpBlock2D",), norm_num_groups=4, layers_per_block=1),
        diffusers.DDIMScheduler()), tmp_path / "ddim")
    with pytest.raises(DataError, match="makes no pipeline for mode inpaint-objects of it"):
        fit(make(model=folder), tmp_path)


def test_a_controlnet_of_another_family_is_told_before_anything_is_drawn(
        plain: Path, tmp_path: Path, make: Make, tiny: Any) -> None:
    other = diffusers.UNet2DConditionModel.from_config({**tiny.unet(4).config, "cross_attention_dim": 24})
    net = diffusers.ControlNetModel.from_unet(other, conditioning_embedding_out_channels=(4, 8))
    with pytest.raises(DataError, match="a ControlNet needs a model of its own family"):
        fit(make(model=plain, controlnet=tiny.saved(net, tmp_path / "other")), tmp_path)


def test_a_model_for_inpainting_in_another_mode_is_told_as_such(
        inpaint: Path, control: Path, tmp_path: Path, make: Make) -> None:
    with pytest.raises(DataError, match="no pipeline for mode controlnet of it"):
        fit(make(model=inpaint, mode="controlnet", controlnet=control), tmp_path)
    real = [replace(s, labels=Labels(s.labels.size, image_class=0)) for s in tiny_real(1, (24, 32))]
    with pytest.raises(DataError, match="a model for inpainting serves no other mode"):
        make(model=inpaint, mode="text").fit(real, [], tiny_context(tmp_path, "classify"))


@pytest.mark.parametrize("library", ["diffusers", "transformers", "accelerate", "peft"])
def test_a_missing_library_is_told_with_the_line_to_type(
        library: str, plain: Path, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = [name for name in sys.modules if name == library or name.startswith(f"{library}.")]
    for name in (library, *hidden):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'synthgen-cv\[pretrained\]'"):
        fit(make(model=plain, lora={"steps": 1}), tmp_path)


def test_one_byte_of_any_file_that_is_read_makes_another_hash(copy: Path, control: Path) -> None:
    seen = {weights_hash(copy, None), weights_hash(copy, control), weights_hash(control), weights_hash(copy, copy)}
    assert len(seen) == 4
    for file in ("model_index.json", "unet/config.json", "vae/diffusion_pytorch_model.safetensors",
                 "tokenizer/tokenizer.json", "scheduler/scheduler_config.json"):
        (copy / file).write_bytes((copy / file).read_bytes() + b"\n")
        seen.add(weights_hash(copy, None))
    assert len(seen) == 9


def test_the_hash_does_not_depend_on_where_the_folder_is(copy: Path, plain: Path) -> None:
    assert weights_hash(copy) == weights_hash(plain)


def test_the_hub_is_asked_for_safetensors_of_one_commit_and_first_the_cache(
        plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def download(repo: str, **told: Any) -> Path:
        asked.append({"repo": repo, **told})
        if told["local_files_only"]:
            raise FileNotFoundError("not in the cache")
        return plain

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    assert fetched("some/model", COMMIT, pipeline=True) == plain
    common = {"repo": "some/model", "revision": COMMIT, "use_safetensors": True, "trust_remote_code": False}
    assert asked == [{**common, "local_files_only": True}, {**common, "local_files_only": False}]
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", lambda repo, **told: asked.append(told) or plain)
    assert fetched("some/model", COMMIT, pipeline=True) == plain
    assert len(asked) == 3


def test_of_a_controlnet_only_its_config_and_its_weights_are_fetched(
        control: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, **told: asked.append(told) or str(control))
    assert fetched("some/control", COMMIT, pipeline=False) == control
    assert asked[0]["revision"] == COMMIT
    assert all(name.startswith(("config.json", "diffusion_pytorch_model")) for name in asked[0]["allow_patterns"])
    assert not any(name.endswith((".bin", ".py", "*")) for name in asked[0]["allow_patterns"])


def test_a_fetch_that_was_interrupted_is_done_again(copy: Path, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert not whole(copy)
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download",
                        lambda repo, **told: copy if told["local_files_only"] else plain)
    assert fetched("some/model", COMMIT, pipeline=True) == plain


def test_a_model_in_several_files_is_whole_when_all_are_there(copy: Path) -> None:
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    names = sorted(state)
    where = {name: f"diffusion_pytorch_model-0000{1 + k % 2}-of-00002.safetensors" for k, name in enumerate(names)}
    for shard in set(where.values()):
        save_file({n: state[n] for n in names if where[n] == shard}, file.with_name(shard), {"format": "pt"})
    file.with_name(f"{file.name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    file.unlink()
    assert whole(copy)
    load("text", copy, None, "float32", "cpu")
    file.with_name(shard).unlink()
    assert not whole(copy)


@pytest.mark.parametrize(("error", "kind", "said"), [
    (OSError("Could not find the necessary `safetensors` weights in {…}"), DataError, "pickles are never read"),
    (OSError("nothing here, and no network"), EnvironmentProblem, "hf download some/model --revision 0123"),
])
def test_what_the_hub_cannot_give_is_told_with_the_way_out(
        error: Exception, kind: type, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repo: str, **told: Any) -> Path:
        raise error

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    with pytest.raises(kind, match=said):
        fetched("some/model", COMMIT, pipeline=True)


def test_a_repository_that_does_not_exist_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    answer: Any = SimpleNamespace(headers={}, request=None)
    for error, said in ((RepositoryNotFoundError("no", response=answer), "it does not exist"),
                        (GatedRepoError("no", response=answer), "it asks for a login")):
        def download(repo: str, error: Exception = error, **told: Any) -> Path:
            raise error

        monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
        with pytest.raises(DataError, match=said):
            fetched("some/model", COMMIT, pipeline=True)


@pytest.mark.slow
def test_a_generator_on_the_hub_is_fitted_from_the_cache(
        plain: Path, control: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", lambda repo, **told: plain)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, **told: control)
    named = make(repo="some/model", revision=COMMIT, mode="controlnet", controlnet_repo="some/control",
                 controlnet_revision=COMMIT)
    local = make(model=plain, mode="controlnet", controlnet=control)
    images = []
    for generator in (named, local):
        fit(generator, tmp_path)
        images.append(next(iter(generator.sample([3]))))
    assert (images[0].image == images[1].image).all()
    assert images[0].origin.weights == images[1].origin.weights

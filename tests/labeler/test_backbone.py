"""Encoders of transformers in the labeler, on tiny models that the tests make themselves; no network is touched."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synthgen import plugins
from synthgen.errors import DataError, EnvironmentProblem, PluginError
from synthgen.hub import Place
from synthgen.store import labels_to_json
from synthgen.testing import tiny_context, tiny_images, tiny_real
from synthgen.types import Labels, Mixture
from synthgen_labeler import LITE0, LabelerTrainer, fitting
from synthgen_labeler.backbone import Backbone, Spec, read
from synthgen_labeler.inference import load
from synthgen_labeler.module import Training
from synthgen_labeler.network import Network, Shape, SimplePyramid, build

pytestmark = pytest.mark.slow  # transformers takes long to import

T = pytest.importorskip("transformers")
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL: dict[str, Any] = {"steps": 8, "batch": 2, "crop": 32, "width": 8}


def dinov2(**changed: Any) -> Any:
    return T.Dinov2Model(T.Dinov2Config(**VIT, mlp_ratio=2, image_size=28, patch_size=14, **changed))


def registers() -> Any:
    return T.Dinov2WithRegistersModel(T.Dinov2WithRegistersConfig(**VIT, mlp_ratio=2, image_size=28, patch_size=14))


def vit() -> Any:
    return T.ViTModel(T.ViTConfig(**VIT, intermediate_size=32, image_size=32, patch_size=16))


def dinov3() -> Any:
    return T.DINOv3ViTModel(T.DINOv3ViTConfig(**VIT, intermediate_size=32, image_size=32, patch_size=16,
                                              num_register_tokens=2))


def segformer() -> Any:
    return T.SegformerForSemanticSegmentation(T.SegformerConfig(
        hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=8))


def rt_detr() -> Any:
    return T.RTDetrForObjectDetection(T.RTDetrConfig(
        backbone_config=T.RTDetrResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1],
                                             out_features=["stage2", "stage3", "stage4"], layer_type="basic"),
        encoder_hidden_dim=16, encoder_in_channels=[8, 16, 16], d_model=16, decoder_in_channels=[16, 16, 16],
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=5, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, num_denoising=0))


def saved(folder: Path, model: Any, **preprocessing: Any) -> Path:
    """Model and processor, as transformers writes them."""
    T.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    about = {"image_processor_type": "BitImageProcessor", "size": {"height": 28, "width": 28}, "do_rescale": True,
             "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": MEAN, "image_std": STD, **preprocessing}
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DINOv2 of two layers."""
    torch.manual_seed(0)
    return saved(tmp_path_factory.mktemp("dinov2"), dinov2())


@pytest.fixture(scope="module")
def hierarchical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SegFormer of four stages."""
    torch.manual_seed(0)
    return saved(tmp_path_factory.mktemp("segformer"), segformer())


def mixture(task: str, n: int = 3) -> Mixture:
    samples = tiny_real(n)
    if task == "classify":
        samples = [replace(s, labels=Labels(s.labels.size, image_class=k % 2), image=s.image // 3 + 160 * (k % 2))
                   for k, s in enumerate(samples)]                        # dark ones and bright ones
    return Mixture(samples, np.ones(n, bool), np.full(n, 1 / n))


def trained(
    folder: Path, encoder: Any, task: Any = "instances", log: Any = None, **options: Any
) -> dict[str, bytes]:
    """The files of a training."""
    folder.mkdir(exist_ok=True)
    context = replace(tiny_context(folder, task), **({"log": log} if log is not None else {}))
    trainer = LabelerTrainer(**{**SMALL, **options}, encoder=encoder)
    trainer.fit(mixture(task), [], tiny_real(4) if trainer.pool else [], context).save(folder)
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


# --- what it sees


@pytest.mark.parametrize(("make", "channels", "multiple", "words"), [
    (dinov2, (16,), 14, 16), (registers, (16,), 14, 16), (vit, (16,), 16, 16), (dinov3, (16,), 16, 16),
    (segformer, (8, 8, 16, 16), 32, 0), (rt_detr, (8, 8, 16, 16), 32, 0),
    (lambda: rt_detr().model.backbone.model, (8, 8, 16, 16), 32, 0),
], ids=["dinov2", "registers", "vit", "dinov3", "segformer", "rt-detr", "its backbone alone"])
def test_the_labeler_sees_with_any_encoder_whose_features_lie_on_a_grid(
        make: Callable[[], Any], channels: tuple[int, ...], multiple: int, words: int, tmp_path: Path) -> None:
    spec, state = read(Place(saved(tmp_path, make())))
    network = build(Shape(2, width=8, encoder=spec, frozen=1), state, 0).eval()
    encoder = network.encoder
    assert (encoder.channels, encoder.multiple, encoder.words) == (channels, multiple, words)
    assert json.loads(json.dumps(spec.config)) == spec.config
    assert str(tmp_path) not in json.dumps(spec.config), "the folder's place is no part of the labeler"
    x = torch.rand(2, 3, 50, 71)
    assert network(x).shape == (2, 6, 50, 71)
    assert network.features(x).shape == (2, network.pooled_width) == (2, sum(channels[-3:]) + words)


def test_the_features_of_tokens_are_the_models_own_at_their_places(folder: Path) -> None:
    spec, state = read(Place(folder))
    network = build(Shape(2, width=8, encoder=spec), state, 0).eval()
    own = T.Dinov2Model.from_pretrained(folder).eval()
    x = torch.rand(1, 3, 28, 42)
    toned = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        seen, tokens = network.encoder(network.prepared(x)), own(pixel_values=toned).last_hidden_state[0]
    assert torch.allclose(seen.token[0], tokens[0], atol=1e-5)
    assert torch.allclose(seen.maps[0][0, :, 1, 2], tokens[1 + 1 * 3 + 2], atol=1e-5), "row 1, column 2 of 2 × 3"


def test_what_rt_detr_sees_with_is_taken_with_its_weights(tmp_path: Path) -> None:
    model = rt_detr().eval()
    with torch.no_grad():                             # statistics other than those that it is made with
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(0.1)
    spec, state = read(Place(saved(tmp_path, model, do_normalize=False)))
    assert (spec.mean, spec.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        mine = build(Shape(2, width=8, encoder=spec), state, 0).encoder(x).maps
        for found, own in zip(mine[1:], model.model.backbone.model(x).feature_maps, strict=True):
            assert torch.allclose(found, own, atol=1e-5)


@pytest.mark.parametrize(("said", "mean", "std"), [
    ({}, MEAN, STD),
    ({"rescale_factor": 1 / 127.5}, [m / 2 for m in MEAN], [s / 2 for s in STD]),
    ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51.0] * 3}, [0.5] * 3, [0.2] * 3),
    ({"image_mean": 0.5, "image_std": 0.25}, [0.5] * 3, [0.25] * 3),
    ({"do_normalize": False}, [0.0] * 3, [1.0] * 3),
    ({"image_processor_type": "DINOv3ViTImageProcessorFast"}, MEAN, STD),
], ids=["usual", "to 2", "in bytes", "one number", "not at all", "a processor that is not installed"])
def test_images_are_normalised_as_the_folder_says(said: Any, mean: Any, std: Any, tmp_path: Path) -> None:
    spec, _ = read(Place(saved(tmp_path, dinov2(), **said)))
    assert spec.mean == pytest.approx(mean)
    assert spec.std == pytest.approx(std)


@pytest.mark.parametrize("size", [(1, 1), (13, 15), (14, 28), (33, 70)])
def test_sides_that_no_patch_divides_are_filled_up_and_cut_off_to_the_pixel(
        size: tuple[int, int], folder: Path) -> None:
    spec, state = read(Place(folder))
    network = build(Shape(1, width=16, encoder=spec), state, 0).eval()
    torch.nn.init.normal_(network.out.weight)
    x = torch.rand(1, 3, *size)
    below, right = -size[0] % 14, -size[1] % 14
    whole = torch.nn.functional.pad(x, (0, right, 0, below), mode="replicate")
    with torch.no_grad():
        assert torch.allclose(network(x), network(whole)[..., : size[0], : size[1]], atol=1e-6)
        large = Network(replace(network.shape, zoom=1.5))
        assert large(x).shape[-2:] == size


def test_the_simple_pyramid_has_four_scales_even_of_one_place() -> None:
    scales = SimplePyramid(12)
    for h, w in ((1, 1), (3, 4)):
        found = scales(torch.rand(2, 12, h, w))
        assert [tuple(m.shape) for m in found] == [
            (2, 3, 4 * h, 4 * w), (2, 6, 2 * h, 2 * w), (2, 12, h, w), (2, 12, -(-h // 2), -(-w // 2))]


# --- what is trained


@pytest.mark.parametrize(("which", "task"), [
    ("folder", "instances"), ("folder", "segment"), ("folder", "detect"), ("folder", "classify"),
    ("hierarchical", "instances"), ("hierarchical", "classify"),
])
def test_every_task_learns_and_labels_with_a_frozen_encoder(
        which: str, task: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    encoder = request.getfixturevalue(which)
    options: dict[str, Any] = {"rate": 1e-2, "batch": 4, "encoder_rate": 1.0}
    ((_, start),) = json.loads(trained(tmp_path / "1", encoder, task, steps=1, **options)["curve.json"])["step_loss"]
    curve = json.loads(trained(tmp_path / "60", encoder, task, steps=60, **options)["curve.json"])["step_loss"]
    assert np.mean([loss for _, loss in curve[-3:]]) < 0.9 * start
    labeler = load(tmp_path / "60")
    before = read(Place(encoder))[1]
    assert all(torch.equal(v, before[k]) for k, v in labeler.network.encoder.state_dict().items()), "it is frozen"
    found = list(labeler.label(tiny_images()))
    assert [x.size for x in found] == [i.shape[:2] for i in tiny_images()]
    assert all((x.image_class is not None) == (task == "classify") for x in found)
    assert labeler.features([]).shape == (0, labeler.network.pooled_width)


def test_frozen_says_how_much_of_the_encoder_is_trained_from_its_end(folder: Path) -> None:
    spec, _ = read(Place(folder))

    def taught(share: float) -> list[str]:
        return [n for n, p in Backbone(spec, share).named_parameters() if p.requires_grad]

    everything = taught(0)
    assert taught(1) == []
    assert len(everything) > len(taught(0.8)) > 0
    assert set(taught(0.8)) < set(everything)
    assert any("layernorm" in name for name in taught(0.8)), "what comes last"
    assert not any("embeddings" in name for name in taught(0.8)), "what comes first"


def test_an_encoder_that_is_not_frozen_is_trained_and_its_average_is_its_own(folder: Path, tmp_path: Path) -> None:
    trained(tmp_path, folder, frozen=0.5, steps=4)
    now, before = load(tmp_path).network.encoder.state_dict(), read(Place(folder))[1]
    assert {torch.equal(now[k], before[k]) for k in now} == {True, False}
    spec, state = read(Place(folder))
    for frozen in (0.0, 1.0):
        module = Training(build(Shape(2, width=8, encoder=spec, frozen=frozen), state, 0), 2, 1e-3, 1e-3, 0.9, 0)
        assert (module.average.encoder is module.network.encoder) == (frozen == 1)
        assert not any(p.requires_grad for p in module.average.parameters())


def test_nothing_is_dropped_and_no_statistic_moves_while_training(tmp_path: Path) -> None:
    spec, state = read(Place(saved(tmp_path, dinov2(hidden_dropout_prob=0.5, drop_path_rate=0.5))))
    network = build(Shape(2, width=8, encoder=spec, frozen=0), state, 0).train()
    x = torch.rand(1, 3, 28, 28)
    assert torch.equal(network.encoder(x).maps[0], network.encoder(x).maps[0])
    assert network.training
    assert not any(part.training for part in network.encoder.modules())


def test_features_of_the_pool_are_perturbed_at_the_encoders_own_channels(folder: Path, tmp_path: Path) -> None:
    spec, state = read(Place(folder))
    network = build(Shape(2, width=8, encoder=spec), state, 0).eval()
    torch.nn.init.normal_(network.out.weight)
    x = torch.rand(2, 3, 32, 32)
    keep = torch.ones(2, 16)
    keep[0, ::2] = 0
    with torch.no_grad():
        plain, kept = network(x), network(x, [keep])
    assert torch.equal(plain[1], kept[1])
    assert not torch.allclose(plain[0], kept[0])
    curve = json.loads(trained(tmp_path, folder, pool=1.0, pool_from=0.25)["curve.json"])
    assert curve["pool"], "the pool was learned from"


def test_efficientnet_lite0_is_frozen_where_that_is_asked_for(tmp_path: Path) -> None:
    trained(tmp_path, LITE0, frozen=1.0, encoder_rate=1.0)
    now = load(tmp_path).network.encoder.state_dict()
    given = build(Shape(2, width=8), "imagenet", 0).encoder.state_dict()
    assert all(torch.equal(now[k], given[k]) for k in given)


# --- the same again


class KilledError(BaseException):
    """Stands for SIGKILL."""


def test_the_same_training_gives_the_same_bytes_killed_or_not_wherever_the_folder_lies(
        folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = trained(tmp_path / "a", folder, frozen=0.5, pool=1.0, pool_from=0.25)
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY", 3)

    def log(what: str, done: float, total: float) -> None:
        if done == 5:
            raise KilledError

    elsewhere = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    with pytest.raises(KilledError):
        trained(tmp_path / "b", elsewhere, log=log, frozen=0.5, pool=1.0, pool_from=0.25)
    assert (tmp_path / "b" / fitting.CHECKPOINT).exists()
    assert trained(tmp_path / "b", elsewhere, frozen=0.5, pool=1.0, pool_from=0.25) == straight


@pytest.mark.parametrize("which", ["folder", "hierarchical"])
def test_a_labeler_needs_the_encoders_folder_no_more(
        which: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    encoder = Path(shutil.copytree(request.getfixturevalue(which), tmp_path / "encoder"))
    context = tiny_context(tmp_path / "m")
    context.folder.mkdir()
    labeler = LabelerTrainer(**SMALL, encoder=encoder).fit(mixture("instances"), [], [], context)
    labeler.save(tmp_path / "m")
    shutil.rmtree(encoder)
    back = LabelerTrainer().load(tmp_path / "m")
    assert [labels_to_json(x) for x in back.label(tiny_images())] == [
        labels_to_json(x) for x in labeler.label(tiny_images())]
    back.save(tmp_path / "again")
    assert (tmp_path / "again/labeler.json").read_bytes() == (tmp_path / "m/labeler.json").read_bytes()
    assert (tmp_path / "again/weights.safetensors").read_bytes() == (tmp_path / "m/weights.safetensors").read_bytes()


# --- what is refused


def test_an_encoder_is_told_wrong_at_its_own_option(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").touch()
    for options, said in [
        ({"encoder": str(tmp_path)}, r"encoder: .*no weights as \.safetensors"),
        ({"encoder": str(tmp_path.parent)}, r"encoder: .*holds no model of transformers"),
        ({"encoder": "models/dinov2", "weights": "random"}, "leave weights out"),
        ({"frozen": 1.5}, "frozen"),
    ]:
        with pytest.raises(PluginError, match=said):
            plugins.build("trainers", "labeler", options)


def test_a_repository_is_taken_at_its_commit_alone() -> None:
    commit = "0" * 40
    place = LabelerTrainer(encoder=f"facebook/dinov2-small@{commit}").place_of_encoder(Path("x"))
    assert place == Place(repo="facebook/dinov2-small", revision=commit)
    assert LabelerTrainer(encoder=Path("m")).place_of_encoder(Path("x")) == Place(Path("x/m"))
    assert LabelerTrainer().place_of_encoder(Path("x")) is None


def test_an_encoder_that_lacks_weights_or_was_shown_other_images_is_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    state = load_file(broken / "model.safetensors")
    lost = next(name for name in state if "layer.1" in name)
    save_file({k: v for k, v in state.items() if k != lost}, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match="lacks 1 of the model's weights"):
        trained(tmp_path / "a", broken)
    with pytest.raises(DataError, match="shown blue before red"):
        trained(tmp_path / "b", saved(tmp_path / "bgr", dinov2(), do_flip_channel_order=True))
    silent = Path(shutil.copytree(folder, tmp_path / "silent"))
    (silent / "preprocessor_config.json").write_text('{"image_processor_type": "BitImageProcessor"}')
    with pytest.raises(DataError, match="does not say with which image_mean"):
        trained(tmp_path / "c", silent)


@pytest.mark.parametrize("make", [
    lambda: T.ViTMAEModel(T.ViTMAEConfig(**VIT, intermediate_size=32, image_size=32, patch_size=16)),
    lambda: T.YolosModel(T.YolosConfig(**VIT, intermediate_size=32, image_size=[32, 32], patch_size=16)),
    lambda: T.SamVisionModel(T.SamVisionConfig(
        hidden_size=12, output_channels=8, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=16,
        mlp_dim=16, num_pos_feats=4, global_attn_indexes=[0])),
], ids=["tokens left out", "tokens of something else behind", "images of one size alone"])
def test_features_that_lie_on_no_grid_or_need_one_size_are_refused_and_not_guessed_at(
        make: Callable[[], Any], tmp_path: Path) -> None:
    spec, _ = read(Place(saved(tmp_path, make())))
    with pytest.raises(DataError, match=r"lie on no grid|does not take images of 64 × 128 px"):
        Backbone(spec)


def test_without_the_library_the_line_to_type_is_told(
        folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(tmp_path, folder, steps=1)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'synthgen-cv\[transformers\]'"):
        load(tmp_path)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'synthgen-cv\[transformers\]'"):
        trained(tmp_path / "b", folder)


def test_a_spec_of_no_known_model_is_no_labeler(folder: Path, tmp_path: Path) -> None:
    trained(tmp_path, folder, steps=1)
    about = json.loads((tmp_path / "labeler.json").read_text())
    about["shape"]["encoder"]["config"]["model_type"] = "evil"
    (tmp_path / "labeler.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="no labeler here"):
        load(tmp_path)
    with pytest.raises(ValueError, match="evil"):
        Backbone(Spec({"model_type": "evil"}, (0.0,) * 3, (1.0,) * 3))

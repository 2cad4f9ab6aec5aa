"""The copying check: what it refuses, what it leaves open, and what it only counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthgen.checks import copying
from synthgen.checks.copying import Copying
from synthgen.seeds import rng_of
from synthgen.types import Evidence, Measurement, Origin, Sample


def samples(n: int, seed: int, name: str) -> list[Sample]:
    rng = rng_of(seed)
    out = []
    for k in range(n):
        coarse = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        image = coarse.repeat(6, 0).repeat(6, 1)
        out.append(Sample(f"{name}-{k}", image, origin=Origin("synthetic", "gan", known_by="condition")))
    return out


def measured(synthetic: list[Sample], pool: int = 420, seed: int = 5, **options: Any) -> list[Measurement]:
    evidence = Evidence(synthetic, samples(seed, 1, "seed"), samples(pool, 2, "pool"), (), ("thing",), "instances", {})
    return [m for m in Copying(**options)(evidence, rng_of(0)) if m.name != "near doubles"]


def doubles(synthetic: list[Sample], pool: list[Sample]) -> list[Measurement]:
    evidence = Evidence(synthetic, samples(5, 1, "seed"), pool, (), ("thing",), "instances", {})
    return [m for m in Copying()(evidence, rng_of(0)) if m.name == "near doubles"]


def faint(sample: Sample, k: int) -> Sample:
    noise = rng_of(k).normal(0, 2, sample.image.shape)
    return replace(sample, id=f"{sample.id}-again", image=np.clip(sample.image + noise, 0, 255).astype(np.uint8))


def test_a_generator_that_repeats_itself_is_told_softly_and_real_data_that_do_so_too_are_the_measure() -> None:
    new, pool = samples(60, 3, "new"), samples(200, 2, "pool")
    (fine,) = doubles(new, pool)
    assert (fine.verdict, fine.value) == ("pass", 0)
    again = [*new[:30], *(faint(s, k) for k, s in enumerate(new[:30]))]
    (found,) = doubles(again, pool)
    assert (found.verdict, found.hard) == ("fail", False)
    assert found.value > 0.9
    real_too = [*pool[:30], *(faint(s, k) for k, s in enumerate(pool[:30]))]
    assert doubles(again, real_too)[0].verdict == "pass"
    assert doubles(again[::-1], pool[::-1])[0] == found


def test_images_of_their_own_pass() -> None:
    (found,) = measured(samples(20, 3, "new"))
    assert (found.verdict, found.value, found.n) == ("pass", 0, (20, 420))


def test_the_pixels_of_a_seed_image_are_seen_without_any_pool_whoever_made_them() -> None:
    seed, new = samples(5, 1, "seed"), samples(6, 3, "new")
    composed = replace(seed[2], id="composed", origin=Origin("synthetic", "compose", known_by="construction"))
    found, *_ = measured([*new, replace(seed[0], id="same"), composed], pool=0)
    assert (found.name, found.verdict, found.hard, found.n) == ("pixels of the seed", "fail", True, (8, 5))
    assert found.value == pytest.approx(2 / 8)
    assert [(f.id, f.nearest) for f in found.flagged] == [("same", "seed-0"), ("composed", "seed-2")]
    assert not [m for m in measured(new, pool=0) if m.name.startswith("pixels")]
    allowed, *_ = measured([*new, replace(seed[0], id="same")], pool=0, max_share=0.2)
    assert (allowed.name, allowed.verdict) == ("pixels of the seed", "pass")


def test_a_copy_refuses_and_names_the_pair() -> None:
    seed = samples(5, 1, "seed")
    bad = replace(seed[2], id="copy", image=np.ascontiguousarray(np.rot90(seed[2].image)))
    (found,) = measured([bad, *samples(19, 3, "new")])
    assert (found.verdict, found.hard, found.worst) == ("fail", True, ("copy",))
    assert "copy to seed-2" in found.why
    assert measured([bad, *samples(19, 3, "new")], max_share=0.1)[0].verdict == "pass"


def test_a_pool_that_could_not_have_shown_it_is_no_pass() -> None:
    (few,) = measured(samples(100, 3, "new"), pool=60)
    assert few.verdict == "inconclusive"
    assert "405 pool images" in few.remedy
    (none,) = measured(samples(20, 3, "new"), pool=10)
    assert (none.verdict, none.hard) == ("skipped", True)


def test_a_seed_as_large_as_the_part_of_the_pool_that_is_looked_at_is_compared_all_the_same(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "MOST", 12)
    (found,) = measured(samples(2, 3, "new"), pool=60, seed=25)
    assert (found.verdict, found.n) == ("inconclusive", (2, 60))
    assert "than 25 real images" in found.why


def test_declared_re_use_is_counted_and_not_judged() -> None:
    origin = Origin("synthetic", "compose", known_by="construction")
    made = [replace(s, origin=origin, meta={"sources": [0, k % 2 + 1]}) for k, s in enumerate(samples(6, 3, "made"))]
    (found,) = measured(made, pool=0)
    assert (found.name, found.verdict, found.value) == ("declared re-use", "pass", 1.0)
    assert "3 objects" in found.why


def test_a_copy_painted_anew_is_found_by_an_encoders_features_and_the_refusal_says_by_which() -> None:
    seed, pool, new = samples(5, 1, "seed"), samples(850, 2, "pool"), samples(19, 3, "new")
    # What an encoder would say: content in eight numbers; the copy has a seed image's content and pixels of its own.
    rng = rng_of(0)
    features = {name: rng.normal(size=(n, 8)).astype(np.float32) for name, n in
                (("synthetic", 20), ("seed", 5), ("pool", 850))}
    features["synthetic"][0] = features["seed"][3] + 1e-3
    synthetic = [replace(samples(1, 9, "x")[0], id="repainted"), *new]

    def found(**of: Any) -> Measurement:
        evidence = Evidence(synthetic, seed, pool, (), ("thing",), "instances", of)
        return next(m for m in Copying()(evidence, rng_of(0)) if m.name == "near copies of the seed")

    with_encoder = found(**{name: {"encoder": rows, "spectrum": rows} for name, rows in features.items()})
    assert (with_encoder.verdict, with_encoder.worst) == ("fail", ("repainted",))
    assert "by thumbnails or encoder features" in with_encoder.why
    assert "repainted to seed-3, by encoder features" in with_encoder.why
    assert with_encoder.flagged[0].nearest == "seed-3"
    # How an image was made is no content, and an encoder that learned the seed's labels has no rows of the seed.
    unseen = found(**{name: {"spectrum": rows, **({"labeler": rows} if name != "seed" else {})}
                      for name, rows in features.items()})
    assert unseen.verdict == "pass"
    assert "by thumbnails (" in unseen.why


def test_a_small_pool_is_spent_on_thumbnails_alone() -> None:
    seed, pool, new = samples(5, 1, "seed"), samples(60, 2, "pool"), samples(60, 3, "new")
    rng = rng_of(0)
    features = {name: {"encoder": rng.normal(size=(n, 8)).astype(np.float32)} for name, n in
                (("synthetic", 60), ("seed", 5), ("pool", 60))}
    evidence = Evidence(new, seed, pool, (), ("thing",), "instances", features)
    (found,) = (m for m in Copying()(evidence, rng_of(0)) if m.name == "near copies of the seed")
    assert found.verdict == "inconclusive"
    assert "by thumbnails (" in found.why
    assert found.why.endswith("; not by encoder features, for which the pool is too small")


def test_features_of_a_part_of_the_images_are_not_used_and_that_is_said() -> None:
    seed, pool, new = samples(5, 1, "seed"), samples(850, 2, "pool"), samples(20, 3, "new")
    rows = {name: {"encoder": rng_of(0).normal(size=(n, 8)).astype(np.float32)} for name, n in
            (("synthetic", 10), ("seed", 5), ("pool", 850))}
    evidence = Evidence(new, seed, pool, (), ("thing",), "instances", rows, independent=new[::2])
    (found,) = (m for m in Copying()(evidence, rng_of(0)) if m.name == "near copies of the seed")
    assert found.why.endswith("; not by encoder features, which a part of the images alone has")

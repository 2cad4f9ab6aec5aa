"""Leakage refuses what ties class to source, and classes that only synthetic images betray by their traces."""

from __future__ import annotations

import numpy as np
import pytest

from synthgen.checks.leakage import SOURCE, TRACES, Leakage
from synthgen.metrics.features import evenly_picked, handcrafted, spectrum
from synthgen.types import Evidence, Labels, Sample

RNG = np.random.default_rng
BLANK = np.zeros((4, 4, 3), np.uint8)


def boxes(classes):
    return Labels(size=(4, 4), classes=classes, boxes=[[0, 0, 2, 2]] * len(classes))


def draw(rng, n, *shares):
    """n images; class k is shown by a share of them."""
    return [Sample(f"s{k}", BLANK, boxes(np.flatnonzero(rng.random(len(shares)) < shares))) for k in range(n)]


def counted(rng, n, mean):
    return [Sample(f"s{k}", BLANK, boxes([0] * int(rng.poisson(mean)))) for k in range(n)]


def classed(rng, n, share):
    return [Sample(f"s{k}", BLANK, Labels(size=(4, 4), image_class=int(rng.random() < share))) for k in range(n)]


def run(synthetic, seed, classes=("cat", "dog"), task="detect", features=(), **options):
    found = Evidence(synthetic, seed, (), (), classes, task, dict(features))
    return {m.name: m for m in Leakage(**{"permutations": 199, **options})(found, RNG(0))}


def test_the_same_classes_in_both_sources_pass_with_many_images():
    m = run(draw(RNG(1), 1200, 0.5, 0.4), draw(RNG(2), 1200, 0.5, 0.4))[SOURCE]
    assert (m.verdict, m.hard, m.n) == ("pass", True, (1200, 1200))
    assert m.value <= m.interval[1] <= 0.1
    assert m.p > 0.01


def test_a_class_that_was_added_synthetically_is_refused_and_named_with_a_way_out():
    m = run(draw(RNG(1), 300, 0.5, 0.95), draw(RNG(2), 60, 0.5, 0.3))[SOURCE]
    assert m.verdict == "fail"
    assert "showing dog" in m.why
    assert m.interval[0] > 0.1
    assert m.p == 1 / 200
    assert "two stages" in m.remedy
    assert "same synthetic share" in m.remedy


def test_a_dropped_class_is_refused():
    assert run(draw(RNG(1), 200, 0.5, 0.0), draw(RNG(2), 60, 0.5, 0.5))[SOURCE].verdict == "fail"


def test_a_small_seed_is_inconclusive_and_says_how_many_images_would_settle_it():
    m = run(draw(RNG(1), 400, 0.5, 0.4), draw(RNG(2), 12, 0.5, 0.4))[SOURCE]
    assert m.verdict == "inconclusive"
    assert "on the smaller side (now 12)" in m.remedy
    few = run(draw(RNG(1), 400, 1, 0), draw(RNG(2), 4, 0, 1))[SOURCE]
    assert few.verdict == "inconclusive"
    assert "4 images" in few.why


def test_classify_tests_the_images_class():
    m = run(classed(RNG(1), 300, 0.9), classed(RNG(2), 80, 0.5), task="classify")[SOURCE]
    assert m.verdict == "fail"
    assert "associated with its class" in m.why


def test_one_class_tests_objects_and_their_number_and_says_so():
    m = run(counted(RNG(1), 300, 12), counted(RNG(2), 80, 4), classes=("cat",))[SOURCE]
    assert m.verdict == "fail"
    assert "few, some or many objects" in m.why
    assert "with one class" in m.why
    empty = [Sample(f"e{k}", BLANK, boxes([])) for k in range(60)]
    assert "any object" in run(empty, counted(RNG(2), 60, 9), classes=("cat",))[SOURCE].why
    full = run([Sample(f"f{k}", BLANK, boxes([0])) for k in range(60)], [Sample(f"g{k}", BLANK, boxes([0]))
                                                                        for k in range(60)], classes=("cat",))[SOURCE]
    assert full.value == 0


def test_the_weight_of_the_sources_is_the_mixs_and_not_their_number():
    seed, synthetic = draw(RNG(2), 60, 0.5, 0.3), draw(RNG(1), 3000, 0.5, 0.7)
    shown = run(synthetic, seed)[SOURCE].value
    counted_plainly = run(synthetic, seed, real_share=None)[SOURCE].value
    assert shown > 2 * counted_plainly


@pytest.mark.slow
def test_false_alarms_stay_under_the_nominal_level():
    failed = 0
    for k in range(200):
        rng = RNG(k)
        failed += run(draw(rng, 100, 0.5, 0.3, 0.1), draw(rng, 25, 0.5, 0.3, 0.1), classes=("a", "b", "c"),
                      permutations=99)[SOURCE].verdict == "fail"
    assert failed <= 10


def pictures(rng, n, mark=False):
    """Images of which the second half shows class 1, brighter in both sources; `mark` adds a faint grid to them."""
    out, grid = [], 6 * (np.indices((32, 32)).sum(0) % 2)
    for k in range(n):
        cls = int(k >= n // 2)
        values = rng.normal(100 + 5 * cls, 8, (32, 32)) + rng.normal(0, 12) + (grid if mark and cls else 0)
        image = np.repeat(np.clip(values, 0, 255).astype(np.uint8)[..., None], 3, 2)
        out.append(Sample(f"p{k}", image, Labels(size=(32, 32), image_class=cls)))
    return out


def features(**sides):
    return {name: {"spectrum": spectrum(s.image for s in samples).astype(np.float32),
                   "handcrafted": handcrafted(s.image for s in samples).astype(np.float32)}
            for name, samples in sides.items()}


def traces(synthetic, seed, **more):
    return run(synthetic, seed, task="classify", features=features(synthetic=synthetic, seed=seed), **more)[TRACES]


def test_a_class_linked_watermark_is_refused_and_named():
    m = traces(pictures(RNG(1), 200, mark=True), pictures(RNG(2), 100))
    assert (m.verdict, m.hard) == ("fail", True)
    assert "AUC 1.00 among synthetic" in m.why
    assert m.interval[0] > 0.15
    assert "one generator with one set of options" in m.remedy


def test_what_tells_the_class_in_real_images_too_is_no_leak():
    m = traces(pictures(RNG(1), 200), pictures(RNG(2), 200))
    assert m.verdict in ("pass", "inconclusive")
    marked = traces(pictures(RNG(1), 200, mark=True), pictures(RNG(2), 200, mark=True))
    assert marked.verdict == "pass"
    assert marked.value == pytest.approx(0, abs=0.02)


def test_traces_are_skipped_with_the_reason_where_images_or_features_are_too_few():
    synthetic, seed = pictures(RNG(1), 60), pictures(RNG(2), 19)
    m = traces(synthetic, seed)
    assert (m.verdict, m.hard) == ("skipped", False)
    assert "60 synthetic and 19 seed" in m.why
    none = run(synthetic, seed, task="classify", features={})
    for name in (TRACES, "class-linked traces"):
        assert (none[name].verdict, none[name].hard) == ("skipped", True)      # nothing was asked: no pass
        assert "low-level features" in none[name].why


def test_features_of_some_of_very_many_images_are_asked_all_the_same():
    synthetic, seed = pictures(RNG(1), 201, mark=True), pictures(RNG(2), 100)
    some = [synthetic[k] for k in evenly_picked(201, 67)]
    found = run(synthetic, seed, task="classify", features=features(synthetic=some, seed=seed))
    assert found[TRACES].verdict == "fail"
    assert found["class-linked traces"].verdict == "fail"


def test_file_order_changes_no_digit():
    synthetic, seed = pictures(RNG(1), 60, mark=True), pictures(RNG(2), 40)

    def both(order):
        some = [synthetic[k] for k in order]
        return repr(run(some, seed[::-1], task="classify", features=features(synthetic=some, seed=seed[::-1])))

    assert both(range(60)) == both(RNG(0).permutation(60))


def test_no_labels_and_no_images_are_skipped():
    for synthetic in ([], [Sample("u", BLANK)]):
        (m,) = run(synthetic, draw(RNG(0), 6, 0.5, 0.5)).values()
        assert (m.verdict, m.hard) == ("skipped", True)


@pytest.mark.parametrize("options", [{"max_v": 0}, {"max_v": 1}, {"max_gain": 0}, {"real_share": 0}, {"real_share": 1}])
def test_nonsense_options_are_refused(options):
    with pytest.raises(ValueError):
        Leakage(**options)


def test_a_trace_that_one_class_carries_is_refused_even_where_classes_are_plain_to_see():
    def bright(samples):                                    # classes told apart by brightness in both sources
        return [Sample(s.id, np.clip(s.image.astype(int) + 60 * s.labels.image_class, 0, 255).astype(np.uint8),
                       s.labels) for s in samples]

    def linked(synthetic, seed):
        features_ = features(synthetic=synthetic, seed=seed)
        return run(synthetic, seed, task="classify", features=features_)["class-linked traces"]

    marked = linked(bright(pictures(RNG(1), 120, mark=True)), bright(pictures(RNG(2), 80)))
    assert (marked.verdict, marked.hard) == ("fail", True)
    assert "plainest: dog" in marked.why
    plain = linked(bright(pictures(RNG(1), 120)), bright(pictures(RNG(2), 80)))
    assert plain.verdict in ("pass", "inconclusive")
    few = linked(pictures(RNG(1), 8), pictures(RNG(2), 6))
    assert few.verdict == "skipped"

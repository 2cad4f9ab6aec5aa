"""Mask shift passes real masks and composites, refuses shifted and grown masks, and says by how much."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from synthgen import plugins
from synthgen.checks import mask_shift
from synthgen.checks.mask_shift import MaskShift
from synthgen.formats import Reading
from synthgen.geometry import decode, labels_from_masks
from synthgen.metrics import mask_shift as metric
from synthgen.testing import tiny_context
from synthgen.types import Evidence, Labels, Sample
from synthgen_compose import Compose

RNG = np.random.default_rng
NUCLEI = Path(__file__).parents[2] / "assets" / "nuclei"
MAIN, OFFSET, RANK = "masks follow images", "edge offset", "contrast rank"


@pytest.fixture(scope="module")
def real():
    """Twelve tiles; the four of the seed come first."""
    read = plugins.build("formats", "coco", {}).read
    return [s for part in ("seed", "pool-truth") for s in read(NUCLEI / part, ["nucleus"], Reading())
            if isinstance(s, Sample)]


@pytest.fixture(scope="module")
def composed(real):
    generator = Compose()
    generator.fit(real[:4], [], tiny_context(Path(), classes=1))
    return list(generator.sample([(k << 8) | (k % 3) for k in range(40)]))


def remasked(samples, how):
    return [replace(s, labels=labels_from_masks(how(decode(s.labels.masks, s.labels.size)), s.labels.classes.tolist()))
            for s in samples]


def moved(down, right):
    def how(masks):
        padded = np.pad(masks, ((0, 0), (9, 9), (9, 9)))
        return padded[:, 9 - down:padded.shape[1] - 9 - down, 9 - right:padded.shape[2] - 9 - right]

    return how


def grown(by):
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(by) + 1,) * 2)
    change = cv2.dilate if by > 0 else cv2.erode
    return lambda masks: np.stack([change(m.astype(np.uint8), kernel).astype(bool) for m in masks])


def run(synthetic, seed, task="instances", classes=("nucleus",), **options):
    found = Evidence(synthetic, seed, (), (), classes, task, {})
    return {m.name: m for m in MaskShift(**{"permutations": 199, **options})(found, RNG(0))}


@pytest.mark.slow
def test_composites_follow_their_images_as_real_nuclei_do(real, composed):
    found = run(composed, real)
    assert {name: m.verdict for name, m in found.items()} == {MAIN: "pass", OFFSET: "pass", RANK: "pass"}
    m = found[MAIN]
    assert (m.value, m.hard, m.n, m.worst) == (0, True, (40, 12), ())
    assert m.interval == pytest.approx((0, 0.088), abs=0.001)
    assert m.null == pytest.approx((0, 0.265), abs=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("by", [(4, 0), (3, -3), (0, 6)])
def test_masks_shifted_by_about_four_px_are_refused(real, composed, by):
    found = run(remasked(composed, moved(*by)), real)
    m = found[MAIN]
    assert (m.verdict, m.hard) == ("fail", True)
    assert m.value > 0.8
    assert m.interval[0] > m.null[1] + 0.1
    assert len(m.worst) == 12
    assert "flips" in m.remedy
    assert found[RANK].verdict == "fail"


@pytest.mark.slow
@pytest.mark.parametrize("by", [-3, 3])
def test_masks_grown_or_shrunk_by_three_px_are_refused_with_the_way_back(real, composed, by):
    few = [s for s in remasked(composed, grown(by)) if len(s.labels)]
    m = run(few, real)[OFFSET]
    assert (m.verdict, m.hard) == ("fail", True)
    assert m.value == pytest.approx(3, abs=0.7)
    assert ("shrink" if by > 0 else "grow") in m.remedy
    assert m.p <= 0.02
    assert m.worst


@pytest.mark.slow
def test_among_masks_partly_shifted_the_worst_are_the_shifted_ones_and_a_small_seed_leaves_doubt(real, composed):
    for shifted, verdict in ((30, "fail"), (16, "inconclusive")):
        mixed = remasked(composed[:shifted], moved(5, 0)) + composed[shifted:]
        m = run(mixed, real)[MAIN]
        assert m.verdict == verdict
        assert len(m.worst) == 12
        assert set(m.worst) <= {s.id for s in mixed[:shifted]}
    assert "would settle it" in m.remedy


def test_other_real_tiles_are_no_worse_than_the_seeds(real):
    """Every split of the real tiles into 6 and 6 that is tried: nothing is ever refused."""
    for k in range(8):
        order = RNG(k).permutation(12)
        found = run([real[i] for i in order[:6]], [real[i] for i in order[6:]], permutations=79)
        assert all(m.verdict in ("pass", "inconclusive") for m in found.values())


def drawn(rng, n, offset=0):
    yy, xx = np.mgrid[:48, :48]
    out = []
    for k in range(n):
        y, x, r = rng.uniform(18, 30), rng.uniform(18, 30), rng.uniform(7, 11)
        mask = (yy - y) ** 2 + (xx - x) ** 2 <= r * r
        pixels = np.where(mask, 140.0, 80.0)[..., None] + rng.normal(0, 25, (48, 48, 3))
        out.append(Sample(f"d{k}", np.clip(pixels, 0, 255).astype(np.uint8),
                          labels_from_masks(np.roll(mask, offset, 1)[None], [0])))
    return out


@pytest.mark.slow
def test_false_alarms_stay_under_the_nominal_level(monkeypatch):
    """200 null draws of eight images against eight; each image is measured once."""
    everything = drawn(RNG(3), 60)
    fits = {id(s.image): metric.mask_fit(s.image, s.labels) for s in everything}
    monkeypatch.setattr(mask_shift, "mask_fit", lambda image, labels, reach: fits[id(image)])
    failed = 0
    for k in range(200):
        order = RNG(k).permutation(60)[:16]
        found = run([everything[i] for i in order[:8]], [everything[i] for i in order[8:]], permutations=79)
        failed += any(m.verdict == "fail" for m in found.values())
    assert failed <= 10


def test_noisy_real_masks_make_the_same_share_tolerable():
    """A seed that is half wrong forgives synthetic masks that are half wrong: the reference is measured."""
    bad = drawn(RNG(4), 20) + drawn(RNG(5), 20, offset=6)
    assert run(bad, drawn(RNG(6), 20) + drawn(RNG(7), 20, offset=6))[MAIN].verdict != "fail"
    assert run(bad, drawn(RNG(6), 40))[MAIN].verdict == "fail"


@pytest.mark.parametrize("task", ["classify", "detect"])
def test_tasks_without_masks_are_skipped_with_the_reason(task):
    (m,) = run(drawn(RNG(0), 6), drawn(RNG(1), 6), task=task).values()
    assert (m.verdict, m.hard) == ("skipped", False)
    assert task in m.why


def test_boxes_no_objects_full_masks_and_no_images_are_skipped_with_the_reason():
    some = drawn(RNG(0), 6)
    boxes = [replace(s, labels=replace(s.labels, masks=None)) for s in some]
    empty = [replace(s, labels=Labels(size=(48, 48))) for s in some]
    full = [replace(s, labels=labels_from_masks(np.ones((1, 48, 48), bool), [0])) for s in some]
    broken = [replace(s, labels=replace(s.labels, masks=("zz",))) for s in some]
    for theirs in (boxes, empty, full, broken, []):
        (m,) = run(theirs, some).values()
        assert m.verdict == "skipped"
        assert "0 synthetic and 6 seed images" in m.why


def test_one_image_decides_nothing():
    found = run(drawn(RNG(0), 1, offset=6), drawn(RNG(1), 1))
    assert {m.verdict for m in found.values()} == {"inconclusive"}
    assert "1 image" in found[MAIN].why


def test_file_order_changes_no_digit():
    a, b = drawn(RNG(0), 9, offset=2), drawn(RNG(1), 8)
    assert repr(run(a, b)) == repr(run(a[::-1], [b[k] for k in RNG(2).permutation(8)]))


@pytest.mark.parametrize("options", [{"max_excess": 0}, {"max_offset": 0}, {"reach": 1}, {"max_offset": float("nan")}])
def test_nonsense_options_are_refused(options):
    with pytest.raises(ValueError):
        MaskShift(**options)

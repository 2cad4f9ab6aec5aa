"""Every planted defect is found, by its own name, and sound labels pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthgen import store
from synthgen.checks.integrity import KINDS, Integrity, defects, fills, run_lengths
from synthgen.geometry import encode, labels_from_masks
from synthgen.types import Evidence, Labels, Sample

SIZE = (12, 16)


def sound():
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 2:6, 3:9] = True
    masks[1, 7:12, 0:5] = True
    labels = labels_from_masks(masks, [0, 1])
    return replace(labels, amodal=labels.masks, visible=np.array([1, np.nan], np.float32))


def one(mask):
    return encode(mask[None])[0]


def planted():
    good = sound()
    empty = one(np.zeros(SIZE, bool))
    everything = one(np.ones(SIZE, bool))
    smaller = one(np.ones((3, 3), bool))
    return {
        "class": replace(good, classes=np.array([0, 2])),
        "mask size": replace(good, masks=(good.masks[0], smaller)),
        "mask empty": replace(good, masks=(good.masks[0], empty), boxes=np.r_[good.boxes[:1], [[0, 0, 0, 0]]],
                              amodal=None),
        "box bounds": replace(good, boxes=good.boxes + np.float32([[0, 0, 0, 0], [-1, 0, 0, 0]])),
        "box of mask": replace(good, boxes=good.boxes + np.float32([[1, 0, 0, 0], [0, 0, 0, 0]])),
        "overlap": replace(good, masks=(everything, good.masks[1]), amodal=None,
                           boxes=np.r_[[[0, 0, 16, 12]], good.boxes[1:]]),
        "amodal": replace(good, amodal=(good.masks[1], good.masks[1])),
        "visible": replace(good, visible=np.array([1.2, 0.5], np.float32)),
        "labelled": replace(good, masks=None, amodal=None),
    }


def samples(labels):
    return [Sample(f"s{k}", np.zeros((*SIZE, 3), np.uint8), x) for k, x in enumerate(labels)]


def evidence(dataset, task="instances"):
    return Evidence(dataset, (), (), (), ("a", "b"), task, {})


def verdicts(dataset, task="instances", **options):
    return {m.name: m for m in Integrity(**options)(evidence(dataset, task), np.random.default_rng(0))}


def test_sound_labels_pass_every_kind():
    found = verdicts(samples([sound(), Labels(size=SIZE)]))
    assert set(found) == set(KINDS)
    assert {m.verdict for m in found.values()} == {"pass"}
    assert all(m.hard and m.value == 0 and m.n == (2, 0) for m in found.values())


@pytest.mark.parametrize("kind", list(planted()))
def test_a_planted_defect_is_found_by_its_own_name(kind):
    found = defects(planted()[kind], 2, "instances")
    assert kind in found
    # A box outside the image, or round an empty mask, cannot also be its mask's or in bounds.
    assert found - {kind} <= {"mask empty": {"box bounds"}, "box bounds": {"box of mask"}}.get(kind, set())
    m = verdicts(samples([sound(), planted()[kind], sound()]))[kind]
    assert (m.verdict, m.hard, m.worst) == ("fail", True, ("s1",))
    assert m.value == pytest.approx(1 / 3)
    assert "1 of 3 samples" in m.why
    assert m.remedy


def test_ids_that_stand_twice_and_samples_without_labels_are_found():
    twice = [replace_id(s, "same") for s in samples([sound(), sound(), None])]
    found = verdicts(twice)
    assert found["unique id"].worst == ("same", "same")
    assert found["labelled"].worst == ("same",)


def replace_id(sample, name):
    return Sample(name, sample.image, sample.labels)


def test_ignored_instances_may_overlap():
    labels = replace(planted()["overlap"], states=("ignored", "accepted"))
    assert defects(labels, 2, "instances") == set()


def test_broken_amodal_and_ignore_masks_are_found():
    assert "mask size" in defects(replace(sound(), ignore="~~~"), 2, "instances")
    assert "mask size" in defects(replace(sound(), amodal=("", sound().masks[1])), 2, "instances")


@pytest.mark.parametrize("box", [[np.nan, 0, 3, 3], [3, 3, 3, 6], [5, 0, 2, 4], [0, 0, 16.5, 5],
                                 [0, 0, np.inf, 5]])
def test_boxes_that_are_none_are_found_without_masks(box):
    labels = Labels(size=SIZE, boxes=np.array([box]), classes=np.array([0]))
    assert defects(labels, 1, "detect") == {"box bounds"}
    whole = Labels(size=SIZE, boxes=np.array([[0, 0, 16, 12]]), classes=np.array([0]))
    assert defects(whole, 1, "detect") == set()


def test_classify_needs_an_image_class_in_the_map():
    assert defects(Labels(size=SIZE), 2, "classify") == {"labelled"}
    assert defects(Labels(size=SIZE, image_class=2), 2, "classify") == {"class"}
    assert defects(Labels(size=SIZE, image_class=1), 2, "classify") == set()


def test_a_share_of_defects_may_be_allowed_and_no_samples_are_skipped():
    data = samples([sound()] * 9 + [planted()["class"]])
    assert verdicts(data, max_share=0.1)["class"].verdict == "pass"
    assert verdicts(data, max_share=0.09)["class"].verdict == "fail"
    assert verdicts([])["integrity"].verdict == "skipped"
    with pytest.raises(ValueError):
        Integrity(max_share=-0.1)


def test_run_lengths_are_pycocotools_own():
    from pycocotools import mask as coco_mask

    rng = np.random.default_rng(0)
    for H, W in ((1, 1), (7, 5), (300, 400)):
        for share in (0, 0.02, 0.5, 1):
            mask = rng.random((H, W)) < share
            counts = run_lengths(one(mask))
            again = coco_mask.frPyObjects({"size": [H, W], "counts": counts.tolist()}, H, W)
            assert (coco_mask.decode(again) == mask).all()
            assert fills(one(mask), (H, W))
            assert not fills(one(mask), (H, W + 1))


@pytest.mark.parametrize("text", ["", " ", "a", "ÿ", "o" * 40, "P" * 60, "\n0"])
def test_text_that_is_no_mask_is_none(text):
    assert not fills(text, SIZE)


def test_a_stored_dataset_is_read_without_its_images(tmp_path, monkeypatch):
    store.write_all(tmp_path, samples([sound(), planted()["visible"]]))
    stored = store.Stored(tmp_path)
    monkeypatch.setattr(store, "from_png", lambda data: pytest.fail("an image was decoded"))
    found = verdicts(stored)
    assert found["visible"].worst == ("s1",)


def test_a_label_that_cannot_be_read_is_a_defect_of_its_sample(tmp_path, monkeypatch):
    store.write_all(tmp_path, samples([sound(), sound()]))
    stored = store.Stored(tmp_path)
    about = stored.about(1)
    about["labels"]["boxes"] = [[0, 0, 1, 1]]
    monkeypatch.setattr(store.Stored, "about", lambda self, k: about)
    found = verdicts(stored)
    assert found["readable"].value == 1
    assert found["readable"].verdict == "fail"

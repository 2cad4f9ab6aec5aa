"""A package goes out to an annotation tool, comes back changed, renamed, alone or twice, and nothing is lost."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import PIL.Image
import pytest

from synthgen import plugins
from synthgen.errors import DataError
from synthgen.formats import Format, Reading
from synthgen.geometry import decode, encode, labels_from_masks
from synthgen.images import hash_image, list_images
from synthgen.people.decisions import Decisions, hash_labels
from synthgen.people.package import FORMATS, MANIFEST, packages, queued, write_package
from synthgen.people.take import Taken, form_of, summary, take
from synthgen.store import Stored, labels_to_json, write_json, write_shard
from synthgen.types import Labels, Origin, Sample

CLASSES = ["cell", "größe"]
AT = "2026-11-22T12:00:00Z"
MASKED = [f for f in FORMATS if f != "yolo"]


def labelled(k: int) -> Sample:
    """Image k of the pool: a model's two objects, of which one is doubtful; the last has none."""
    image = np.random.default_rng(k).integers(0, 255, (24, 30, 3), dtype=np.uint8)
    masks = np.zeros((3, 24, 30), bool)
    masks[0, 2:9, 3 : 10 + k] = True
    masks[1, 12:22, 15:25] = True
    masks[2, 0:1, 29:30] = True
    labels = labels_from_masks(masks, [0, 1, 0], reviewed="model")
    labels = replace(labels, scores=np.array([0.9, 0.4, 0.1], np.float32), states=("accepted", "to_review", "ignored"))
    if k in (0, 4):
        labels = replace(labels, states=("accepted", "accepted", "ignored"))
    if k == 5:
        labels = Labels((24, 30), masks=(), reviewed="model")
    made = Origin("pseudo", "labeler", known_by="model")
    return Sample(f"pool-{k}", image, labels, made, {"file": f"a/bild {k}.jpg"})


@pytest.fixture
def pool(tmp_path: Path) -> Stored:
    write_shard(tmp_path / "shards", 0, [labelled(k) for k in range(6)])
    return Stored(tmp_path / "shards")


@pytest.fixture
def send(pool: Stored, tmp_path: Path) -> Callable[..., Path]:
    """Writes a package of the whole pool, pool-3 blind."""

    def run(form: str, name: str = "package") -> Path:
        write_json(tmp_path / "queue.json", [{"id": "pool-3", "why": "audit", "blind": True}])
        queue = queued(pool, tmp_path / "queue.json", 6)
        write_package(pool, queue, 6, {}, form, CLASSES, tmp_path / name, tmp_path / "records")
        return tmp_path / name

    return run


@pytest.fixture
def back(pool: Stored, tmp_path: Path) -> Callable[..., Taken]:
    """Takes what came back."""

    def run(path: Path, form: str, **known: Any) -> Taken:
        place = {e.id: k for k, e in enumerate(pool.entries)}
        return take(path, form, CLASSES, packages(tmp_path / "records", form), lambda name: pool[place[name]].image,
                    "ada", AT, **known)

    return run


def worked_on(package: Path, form: str, out: Path, change: Callable[[Sample], Sample | None]) -> Path:
    """The package as a tool would give it back, with labels changed; None takes an image out."""
    writer = cast(Format, plugins.build("formats", form, {}))

    def samples() -> Iterator[Sample]:
        for item in writer.read(package, CLASSES, Reading()):
            assert isinstance(item, Sample), item
            if (changed := change(item)) is not None:
                yield changed

    writer.write(samples(), out, CLASSES)
    return out


def by_person(sample: Sample, labels: Labels) -> Sample:
    return replace(sample, labels=replace(labels, reviewed="human"), origin=Origin("real"))


def edited(sample: Sample) -> Sample:
    """pool-0 as it was; 1 moved; 2 class changed, one added, one gone; 3 (blind) answered; 4 emptied; 5 confirmed."""
    k = number_of(sample)
    labels = sample.labels
    if k == 3:
        return by_person(sample, labels_from_masks(one_box(4, 4, 9, 9), [1]))
    if k in (4, 5):
        return by_person(sample, Labels((24, 30), masks=(), empty="confirmed"))
    assert labels is not None
    masks = decode(labels.masks or (), labels.size)
    if k == 1:
        masks[0, 2:9, 3] = False
        return by_person(sample, replace(labels, masks=encode(masks), boxes=labels_from_masks(masks, [0, 1]).boxes))
    if k == 2:
        new = np.concatenate([masks[:1], one_box(12, 2, 20, 8)])
        return by_person(sample, labels_from_masks(new, [1, 0]))
    return by_person(sample, labels)


def one_box(top: int, left: int, bottom: int, right: int) -> Any:
    mask = np.zeros((1, 24, 30), bool)
    mask[0, top:bottom, left:right] = True
    return mask


NUMBERS = {hash_image(labelled(k).image): k for k in range(6)}


def number_of(sample: Sample) -> int:
    return NUMBERS[hash_image(sample.image)]


def test_what_waits_comes_first_and_the_queue_before_it(pool: Stored, tmp_path: Path) -> None:
    none = tmp_path / "none.json"
    assert [x.id for x in queued(pool, none, None)] == ["pool-1", "pool-2", "pool-3"]
    assert [x.id for x in queued(pool, none, 5)][:5] == ["pool-1", "pool-2", "pool-3", "pool-0", "pool-4"]
    write_json(none, [{"id": "pool-5", "why": "audit", "blind": True}, {"id": "pool-2"}])
    picked = [(x.id, x.why, x.blind) for x in queued(pool, none, None)]
    assert picked == [("pool-5", "audit", True), ("pool-2", "", False)]
    assert [x.id for x in queued(pool, none, 6)] == ["pool-5", "pool-2", "pool-1", "pool-3", "pool-0", "pool-4"]
    for wrong in ([{"id": "stranger"}], {"id": 3}, [3], [{}]):
        write_json(none, wrong)
        with pytest.raises(DataError, match=r"none\.json"):
            queued(pool, none, None)


@pytest.mark.parametrize("form", FORMATS)
def test_a_package_names_every_image_by_its_pixels_and_hides_what_is_blind(
    form: str, send: Callable[..., Path], pool: Stored
) -> None:
    package = send(form)
    manifest = json.loads((package / MANIFEST).read_text())
    assert [x["id"] for x in manifest["images"]] == ["pool-3", "pool-1", "pool-2", "pool-0", "pool-4", "pool-5"]
    for entry in manifest["images"]:
        k = NUMBERS[entry["image"]]
        assert entry["id"] == f"pool-{k}"
        assert (package / entry["file"]).is_file()
        assert entry["prelabel"] == hash_labels(pool.labels(k))
    reader = cast(Format, plugins.build("formats", form, {}))
    found = {number_of(x): x.labels for x in reader.read(package, CLASSES, Reading()) if isinstance(x, Sample)}
    assert found[3] is None or not len(found[3])
    assert len(found[1] or ()) == 2                              # the third is set aside by the model itself
    assert form_of(package) == form
    assert f"--format {form}" in (package / "README.md").read_text()


@pytest.mark.parametrize("form", MASKED)
def test_what_people_changed_is_told_and_nothing_else(
    form: str, send: Callable[..., Path], back: Callable[..., Taken], tmp_path: Path
) -> None:
    taken = back(worked_on(send(form), form, tmp_path / "done", edited), form, minutes=3.0)
    assert taken.problems == []
    assert taken.strangers == taken.untouched == taken.unconfirmed == []
    told = summary(taken)
    names = ("images", "unchanged", "moved", "class_changed", "added", "deleted", "confirmed_empty")
    counts = {name: told[name] for name in names}
    assert counts == {"images": 6, "unchanged": 3, "moved": 1, "class_changed": 1, "added": 2, "deleted": 3,
                      "confirmed_empty": 2}
    assert told["minutes_per_image"] == pytest.approx(0.5)
    actions = {d.id: d.action for d in taken.decisions}
    assert actions == {"pool-0": "accept", "pool-1": "redraw", "pool-2": "redraw", "pool-3": "answer",
                       "pool-4": "confirm-empty", "pool-5": "confirm-empty"}
    blind = next(d for d in taken.decisions if d.id == "pool-3")
    assert (blind.blind, blind.prelabel, blind.by, blind.at) == (True, "", "ada", AT)
    first = next(d for d in taken.decisions if d.id == "pool-0").labels
    assert first.scores is not None
    assert first.scores.tolist() == [1, 1]
    assert first.masks == (labelled(0).labels.masks or ())[:2]                     # type: ignore[union-attr]


@pytest.mark.parametrize("form", FORMATS)
def test_taking_the_same_work_twice_adds_nothing(
    form: str, send: Callable[..., Path], back: Callable[..., Taken], tmp_path: Path
) -> None:
    done = worked_on(send(form), form, tmp_path / "done", edited)
    log = Decisions(tmp_path / "people")
    assert log.extend(back(done, form, everything=True).decisions) == 6
    assert log.extend(back(done, form, everything=True, minutes=9.0).decisions) == 0


@pytest.mark.parametrize("form", FORMATS)
def test_a_package_that_nobody_touched_decides_nothing_unless_somebody_says_so(
    form: str, send: Callable[..., Path], back: Callable[..., Taken]
) -> None:
    package = send(form)
    assert back(package, form).decisions == []
    everything = {d.id: d.action for d in back(package, form, everything=True).decisions}
    assert {everything[f"pool-{k}"] for k in (0, 1, 2, 4)} == {"accept"}
    assert everything["pool-3"] == "answer"                      # blind, and nothing was drawn: there is nothing


@pytest.mark.parametrize("form", FORMATS)
def test_images_are_known_by_their_pixels_whatever_their_name_and_encoding(
    form: str, send: Callable[..., Path], back: Callable[..., Taken], tmp_path: Path
) -> None:
    renamed = worked_on(send(form), form, tmp_path / "done",
                        lambda s: replace(edited(s), meta={"file": f"new name {number_of(s)}.png"}))
    for file in list_images(renamed):
        if "Segmentation" in str(file):
            continue
        with PIL.Image.open(file) as image:
            image.load()
            image.save(file, "PNG", compress_level=9)            # other bytes, the same pixels
    assert {d.id for d in back(renamed, form, everything=True).decisions} == {f"pool-{k}" for k in range(6)}


@pytest.mark.parametrize("form", FORMATS)
def test_labels_come_back_alone_or_zipped(
    form: str, send: Callable[..., Path], back: Callable[..., Taken], tmp_path: Path
) -> None:
    kept: Callable[[Sample], Sample] = lambda s: replace(edited(s), meta={"file": f"bild {number_of(s)}.png"})  # noqa: E731
    done = worked_on(send(form), form, tmp_path / "done", kept)
    expected = summary(back(done, form, everything=True))
    with zipfile.ZipFile(tmp_path / "done.zip", "w") as archive:
        for file in sorted(done.rglob("*")):
            archive.write(file, file.relative_to(done).as_posix())
    assert form_of(tmp_path / "done.zip") == form
    assert summary(back(tmp_path / "done.zip", form, everything=True)) == expected
    if form == "yolo":                                           # a blind image changes its folder there
        return
    for folder in ("images", "JPEGImages"):
        shutil.rmtree(done / folder, ignore_errors=True)
    alone = {"cvat": done / "annotations.xml", "labelstudio": done / "tasks.json", "coco": done / "annotations.json"}
    if form in alone:
        assert summary(back(alone[form], form, everything=True)) == expected


def test_a_person_who_labels_in_label_studio_is_timed_and_named(
    send: Callable[..., Path], back: Callable[..., Taken], tmp_path: Path
) -> None:
    package = send("labelstudio")
    tasks = json.loads((package / "tasks.json").read_text())
    for task in tasks:
        result = task["predictions"][0]["result"] if task["predictions"] else []
        one = {"result": result, "lead_time": 12.5, "completed_by": {"id": 3, "email": "bo@x.org"}, "updated_at": AT}
        other = {"result": result[:1], "lead_time": 30, "completed_by": 4, "was_cancelled": False}
        cancelled = {"result": [], "lead_time": 99, "completed_by": 5, "was_cancelled": True}
        twice = {**one, "result": [], "lead_time": 2}             # the same person, before
        task["annotations"] = [twice, one, other, cancelled] if task["id"] % 2 else [cancelled]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    taken = back(tmp_path / "export.json", "labelstudio")
    assert {(d.by, d.seconds, d.tool) for d in taken.decisions} == {
        ("bo@x.org", 12.5, "label-studio"), ("4", 30.0, "label-studio")}
    assert len(taken.decisions) == 6                             # three tasks, two people each
    assert len(taken.untouched) == 3
    log = Decisions(tmp_path / "people")
    assert log.extend(taken.decisions) == 6
    assert log.extend(back(tmp_path / "export.json", "labelstudio").decisions) == 0


def test_labelimg_saves_and_verifies_without_our_own_words(
    send: Callable[..., Path], back: Callable[..., Taken]
) -> None:
    package = send("voc")
    for k, root in ((0, "annotation"), (1, 'annotation verified="yes"')):
        file = package / "Annotations" / f"bild {k}.xml"
        text = file.read_text()
        start, end = text.find("  <synthgen>"), text.find("</synthgen>\n") + len("</synthgen>\n")
        file.write_text((text[:start] + text[end:] if k == 0 else text).replace("<annotation>", f"<{root}>"))
    taken = back(package, "voc")
    assert {d.id: d.action for d in taken.decisions} == {"pool-0": "accept", "pool-1": "accept"}


def test_emptied_without_a_word_is_no_decision_in_cvat(
    send: Callable[..., Path], back: Callable[..., Taken], tmp_path: Path
) -> None:
    done = worked_on(
        send("cvat"), "cvat", tmp_path / "done",
        lambda s: replace(s, labels=Labels((24, 30), masks=(), reviewed="model")) if s.labels else s)
    taken = back(done, "cvat")
    assert taken.decisions == []
    assert len(taken.unconfirmed) == 4


def test_images_that_were_never_sent_are_named(
    send: Callable[..., Path], back: Callable[..., Taken], tmp_path: Path
) -> None:
    done = worked_on(send("coco"), "coco", tmp_path / "done",
                     lambda s: replace(edited(s), image=255 - s.image) if number_of(s) == 1 else edited(s))
    taken = back(done, "coco")
    assert len(taken.strangers) == 1
    assert len(taken.decisions) == 5


def test_decided_images_are_not_sent_again_and_a_full_folder_is_left_alone(
    pool: Stored, send: Callable[..., Path], back: Callable[..., Taken], tmp_path: Path
) -> None:
    log = Decisions(tmp_path / "people")
    log.extend(back(worked_on(send("coco"), "coco", tmp_path / "done", edited), "coco").decisions)
    with pytest.raises(DataError, match="every image that waits has been decided"):
        write_package(pool, queued(pool, tmp_path / "no", None), None, log.latest(), "coco", CLASSES,
                      tmp_path / "again", tmp_path / "records")
    assert not (tmp_path / "again").exists()
    with pytest.raises(DataError, match="exists already"):
        send("coco")


@pytest.mark.parametrize("damage", ["no zip", "nothing", "another format"])
def test_what_is_no_package_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    if damage == "no zip":
        path.write_bytes(b"PK nonsense")
    elif damage == "another format":
        path = tmp_path / "f"
        (path / "a").mkdir(parents=True)
        PIL.Image.new("RGB", (4, 4)).save(path / "a" / "x.png")
    with pytest.raises(DataError):
        form_of(path)


def test_boxes_and_classes_of_images_go_round_too(tmp_path: Path) -> None:
    boxed = replace(labelled(1), labels=replace(cast(Labels, labelled(1).labels), masks=None))
    classed = replace(labelled(2), labels=Labels((24, 30), image_class=1, image_score=0.5, image_state="to_review",
                                                 reviewed="model"))
    for form, sample in [(f, boxed) for f in FORMATS] + [("cvat", classed), ("labelstudio", classed)]:
        home = tmp_path / f"{form}-{sample.id}"
        write_shard(home / "shards", 0, [sample])
        pool = Stored(home / "shards")
        write_package(pool, queued(pool, home / "q", None), None, {}, form, CLASSES, home / "out", home / "records")
        taken = take(home / "out", form, CLASSES, packages(home / "records", form), lambda _: sample.image, "ada", AT,  # noqa: B023
                     everything=True)
        assert [d.action for d in taken.decisions] == ["accept"], form
        assert taken.decisions[0].labels.image_class == (1 if sample is classed else None)
        assert labels_to_json(taken.decisions[0].labels)["reviewed"] == "human"

"""The line: what it refuses, what it keeps, what it makes again and why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from synthgen.cli import main
from synthgen.errors import DataError, TooManyBadItems
from synthgen.geometry import areas, decode, encode, labels_from_masks
from synthgen.images import png_bytes
from synthgen.run import STAGES, job_of, plan
from synthgen.stages import filter as filtering
from synthgen.stages import generate, ingest, label, mix
from synthgen.stages.weights import of_seed
from synthgen.testing import tiny_real

pytestmark = pytest.mark.slow  # trains, or runs the whole line again and again

Tree = Callable[[Path], dict[str, bytes]]


def test_too_many_unreadable_images_stop_the_run_with_code_5_and_are_named(project: Any) -> None:
    (project.folder / "seed" / "images" / "real-1.png").write_bytes(b"no image")
    with pytest.raises(TooManyBadItems, match=r"data.seed: 1 of 4 images cannot be used.*\n.*real-1.png") as caught:
        project.run(until="ingest")
    assert caught.value.exit_code == 5
    assert main(["run", str(project.recipe), "--until", "ingest"]) == 5
    assert not (project.run_folder / "0-ingest" / "seed").exists()


def test_a_few_unreadable_images_are_quarantined_with_the_reason(project: Any) -> None:
    (project.folder / "seed" / "images" / "real-1.png").write_bytes(b"no image")
    project.run("data.max_bad_fraction=0.25", until="ingest")
    (line,) = (project.run_folder / "0-ingest/seed/quarantine.jsonl").read_text().splitlines()
    assert "real-1.png" in json.loads(line)["file"]
    assert project.json("0-ingest/seed/summary.json") == {"samples": 3, "quarantined": 1, "repaired": 0}
    seed = ingest.part(job_of(project.load()), "seed")
    assert [s.id for s in seed] == ["seed-000000", "seed-000001", "seed-000002"]


def test_objects_of_a_class_that_the_recipe_forgot_are_said_while_it_runs(project: Any, capsys: Any) -> None:
    file = project.folder / "seed" / "annotations.json"
    about = json.loads(file.read_text())
    about["categories"].append({"id": 99, "name": "debris", "supercategory": ""})
    for annotation in about["annotations"][:2]:
        annotation["category_id"] = 99
    file.write_text(json.dumps(about))
    assert main(["run", str(project.recipe), "--until", "ingest"]) == 0
    said = "2 labels of the seed were not taken as they stand (its class 'debris' is not among the classes wanted"
    assert said in " ".join(capsys.readouterr().err.split())
    assert main(["preview", str(project.recipe), "-n", "2", "-o", str(project.folder / "sheet.png")]) == 0
    assert said in " ".join(capsys.readouterr().err.split())


def test_what_the_pool_or_the_test_holds_changes_nothing_that_learns_from_the_seed_alone(project: Any) -> None:
    def needs(*overrides: str) -> dict[str, Any]:
        job = job_of(project.load(*overrides))
        return {unit.name: unit.needs for _, module in STAGES[:9] for unit in module.units(job)}

    plain = needs()
    alone = ("1-committee/fold-0", "4-train/seed-only") if "1-committee/fold-0" in plain else ("4-train/seed-only",)
    for other in (needs("data.pool.limit=3"), needs("data.test.limit=4"), needs("data.leaks=warn")):
        assert all(other[name] == plain[name] for name in alone)
        assert other["0-ingest/guard"] != plain["0-ingest/guard"]
    assert needs("data.seed.limit=3")["4-train/seed-only"] != plain["4-train/seed-only"]


def test_data_that_was_mended_is_read_again(project: Any) -> None:
    path = project.folder / "seed" / "images" / "real-1.png"
    whole = path.read_bytes()
    path.write_bytes(b"no image")
    with pytest.raises(TooManyBadItems):
        project.run(until="ingest")
    path.write_bytes(whole)
    project.run(until="ingest")
    assert project.made["0-ingest/seed"] == "new"
    assert project.json("0-ingest/seed/summary.json")["samples"] == 4


def test_labels_of_the_pool_are_not_read(project: Any) -> None:
    shutil.rmtree(project.folder / "pool")
    shutil.copytree(project.folder / "seed", project.folder / "pool")
    for k in range(4):
        path = project.folder / "pool" / "images" / f"real-{k}.png"
        path.write_bytes(png_bytes(tiny_real(4, seed=50)[k].image))
    project.run("data.pool.format=coco", until="ingest")
    assert {s.labels for s in ingest.part(job_of(project.load()), "pool")} == {None}


def exact(image: Any, path: Path) -> None:
    path.with_suffix(".png").write_bytes(png_bytes(image))


def re_encoded(image: Any, path: Path) -> None:
    cv2.imwrite(str(path.with_suffix(".jpg")), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


@pytest.mark.parametrize(("copy", "how"), [(exact, "the same pixels"), (re_encoded, "nearly the same")])
def test_a_test_image_in_the_pool_is_refused_and_both_files_are_named(copy: Any, how: str, project: Any) -> None:
    copy(tiny_real(5, seed=3)[2].image, project.folder / "pool" / "leaked")
    with pytest.raises(DataError, match="1 images of the locked test") as caught:
        project.run(until="ingest")
    assert f"real-2.png in pool: leaked.{'png' if copy is exact else 'jpg'} ({how})" in str(caught.value)
    assert main(["run", str(project.recipe), "--until", "ingest"]) == 3
    project.run("data.leaks=warn", until="ingest")
    (leak,) = project.json("0-ingest/guard/guard.json")["leaks"]
    assert (leak["test"], leak["how"]) == ("test-000002", how)


def test_the_test_split_is_locked_by_the_hash_of_each_image(project: Any) -> None:
    project.run(until="ingest")
    assert len(set(project.json("0-ingest/guard/guard.json")["test"].values())) == 5
    assert project.json("0-ingest/guard/guard.json")["leaks"] == []


def test_doubles_are_dropped_and_counted(project: Any) -> None:
    project.change(generate=[{"name": "c", "use": "copies", "count": 5}])
    project.run(until="filter")
    summary = project.json("2-filter/summary.json")
    assert (summary["made"], summary["kept"], summary["reasons"]) == (5, 1, {"image: double": 4})
    assert summary["generators"]["c"]["images lost"] == 4
    dropped = [json.loads(x)["id"] for x in (project.run_folder / "2-filter/dropped.jsonl").read_text().splitlines()]
    assert dropped == [f"c-{k:06d}" for k in range(1, 5)]
    assert [s.id for s in filtering.kept(job_of(project.load()))] == ["c-000000"]


def test_copies_of_seed_images_are_dropped_and_may_be_kept_on_request(project: Any) -> None:
    project.change(generate=[{"name": "c", "use": "copies", "as_it_is": True, "count": 3}])
    project.run(until="filter")
    assert project.json("2-filter/summary.json")["kept"] == 0
    project.run("filter.duplicates=keep", until="filter")
    assert project.json("2-filter/summary.json")["kept"] == 3
    assert project.made == {"2-filter": 'changed: duplicates: "drop" → "keep"'}


def test_hardly_visible_instances_become_ignored_pixels() -> None:
    size = (20, 20)
    whole = np.zeros((3, *size), bool)
    whole[0, :10, :10] = whole[1, 10:, :10] = whole[2, 10:, 10:] = True
    modal = whole.copy()
    modal[1, 11:], modal[2, 12:] = False, False  # a tenth and a fifth of them show
    labels = replace(labels_from_masks(modal, [0, 1, 0]), amodal=encode(whole))
    new, few = filtering.without_slivers(labels, 0.2, 1)
    assert few == 1
    assert (new.classes.tolist(), new.amodal) == ([0, 0], (labels.amodal[0], labels.amodal[2]))
    assert np.array_equal(decode([new.ignore], size)[0], modal[1])
    assert filtering.without_slivers(labels, 0.0, 1) == (labels, 0)
    again, few = filtering.without_slivers(new, 0.5, 1)
    assert few == 1
    assert np.array_equal(decode([again.ignore], size)[0], modal[1] | modal[2]), "what was ignored before stays so"
    gone, all_of_them = filtering.without_slivers(labels, 0.0, 10**6)
    assert (len(gone), all_of_them) == (0, len(labels))
    assert areas([gone.ignore], gone.size)[0] == areas(labels.masks, labels.size).sum()


def test_balanced_weights_meet_each_class_equally_often() -> None:
    from synthgen.recipe.schema import Mix

    counts = [{0: 5}, {0: 1}, {0: 2}, {1: 1}]
    weights = mix.weights_of(counts, Mix(per_class="balance"))
    assert weights.sum() == pytest.approx(1)
    assert weights[:3].sum() == pytest.approx(weights[3])
    assert mix.weights_of(counts, Mix()).tolist() == [0.25] * 4
    assert mix.weights_of([], Mix()).tolist() == []
    alone = mix.weights_of([{}, {0: 1}], Mix(per_class="balance"))
    assert alone.sum() == pytest.approx(1)
    assert alone[0] > 0


def test_the_mixture_is_the_seed_and_what_was_kept_and_the_seed_can_stand_alone(project: Any) -> None:
    project.run("mix.real=0.25", "mix.synthetic_until=0.5", until="mix")
    job = job_of(project.load("mix.real=0.25", "mix.synthetic_until=0.5"))
    mixed = mix.mixture(job)
    assert [s.origin.kind for s in mixed.samples] == ["real"] * 4 + ["synthetic"] * 12
    assert (mixed.real_share, mixed.synthetic_until, mixed.augment) == (0.25, 0.5, None)
    assert mixed.weights[mixed.real].sum() == pytest.approx(1)
    assert mixed.weights[~mixed.real].sum() == pytest.approx(1)
    rng = np.random.default_rng(0)
    assert not mixed.real[mixed.draw(0.4, 50, rng)].any()
    assert mixed.real[mixed.draw(0.6, 400, rng)].mean() == pytest.approx(0.25, abs=0.01)
    assert of_seed(job).real.tolist() == [True] * 4
    assert [s.id for s in of_seed(job, without=["seed-000001"]).samples] == [
        "seed-000000",
        "seed-000002",
        "seed-000003",
    ]


@pytest.mark.parametrize(
    ("score", "state"),
    [
        (0.0, "ignored"),
        (0.1499, "ignored"),
        (0.15, "to_review"),
        (0.4999, "to_review"),
        (0.5, "accepted"),
        (1.0, "accepted"),
    ],
)
def test_a_label_is_accepted_ignored_or_for_a_person(score: float, state: str) -> None:
    from synthgen.recipe.schema import Label

    known = tiny_real(1)[0].labels
    labels = label.sorted_out(replace(known, scores=np.full(len(known), score), image_score=score), Label())
    assert set(labels.states) == {state}
    assert labels.image_state == state


def test_the_whole_line_exports_the_seed_the_synthetic_and_the_labelled_pool_and_tells_the_losses(project: Any) -> None:
    verdict = project.run()
    assert verdict["verdict"] == "pass"
    for name in ("coco", "yolo"):
        about = project.json(f"7-export/{name}/losses.json")
        # Pool images with labels that were not accepted cannot be said in YOLO, and wait for a person.
        assert about["images"] == 4 + 12 + 5 if name == "coco" else 4 + 12 <= about["images"] < 4 + 12 + 5
        assert all({"what", "count", "example"} == set(x) for x in about["losses"])
        told = (project.run_folder / "7-export" / name / "DATASET_CARD.md").read_text("utf-8")
        assert told.startswith("# tiny: PASS: ")
        assert f"{about['images']} images for the task instances" in told
        lock = project.json("recipe.lock.json")
        assert f"`{lock['units']['6-evaluate']}`" in told
        assert project.json(f"7-export/{name}/croissant.json")["rai:hasSyntheticData"] is True
    states = project.json("5-label/summary.json")["instances"]
    assert min(states.values()) > 0
    assert verdict["test"]["mixed"]["dice"]["value"] > 0.5


def test_an_export_made_again_and_one_made_by_the_command_have_the_same_bytes(project: Any, tree: Tree) -> None:
    project.change(export=["coco"])
    project.run()
    first = tree(project.run_folder / "7-export/coco")
    shutil.rmtree(project.run_folder / "7-export")
    project.run()
    assert project.made == {"7-export/coco": "new"}
    assert tree(project.run_folder / "7-export/coco") == first
    out = project.folder / "out"
    assert main(["export", str(project.recipe), "--to", "coco", "-o", str(out), "-q"]) == 0
    assert tree(out) == {name: data for name, data in first.items() if name != "done.json"}
    assert {"DATASET_CARD.md", "croissant.json", "losses.json"} <= first.keys()


def test_a_format_that_holds_no_label_of_the_run_is_refused_and_nothing_is_written(
        project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    project.change(export=["coco"])
    project.run()
    for name in ("imagefolder", "images"):
        out = project.folder / "out" / name
        assert main(["export", str(project.recipe), "--to", name, "-o", str(out)]) == 3
        assert not list(project.folder.glob("out/*"))
        assert f"the format {name} can hold none of these labels" in capsys.readouterr().err
    project.change(export=["coco", "imagefolder"])
    assert main(["run", str(project.recipe), "-q"]) == 3
    assert not (project.run_folder / "7-export/imagefolder").exists()
    assert (project.run_folder / "7-export/coco").exists()


def test_a_refused_dataset_is_not_exported_and_an_old_export_goes(project: Any) -> None:
    project.run()
    assert (project.run_folder / "7-export" / "coco").is_dir()
    project.change(generate=[{"name": "c", "use": "copies", "bad_box": True, "count": 3}])
    assert main(["run", str(project.recipe), "-q"]) == 4
    assert not (project.run_folder / "7-export").exists()
    # The verdict of the run before still lies in 6-evaluate; nobody may take it for this one's.
    assert main(["gate", str(project.recipe)]) == 4
    assert main(["gate", str(project.run_folder)]) == 4
    assert main(["export", str(project.recipe), "--to", "coco", "-o", str(project.folder / "out")]) == 4
    assert not (project.folder / "out").exists()


def test_a_recipe_without_generators_pool_or_test_goes_through(project: Any) -> None:
    data = json.loads(project.recipe.read_text())["data"]
    project.change(generate=[], data={"seed": data["seed"]})
    assert project.run()["verdict"] in ("pass", "warn")
    assert project.json("7-export/coco/losses.json")["images"] == 4


def steps(project: Any, *overrides: str) -> dict[str, str | None]:
    return {s.unit: s.why for s in plan(job_of(project.load(*overrides)))}


def test_the_plan_says_new_before_and_reuse_after_and_does_nothing(project: Any, tree: Tree) -> None:
    first = steps(project)
    assert set(first.values()) == {"new"}
    assert not project.run_folder.exists()
    project.run()
    assert list(first) == [unit for _, unit, _ in project.told]
    before = tree(project.run_folder)
    assert set(steps(project).values()) == {None}
    assert tree(project.run_folder) == before
    project.run()
    assert project.made == {}


def test_how_it_is_run_remakes_nothing(project: Any) -> None:
    project.run()
    assert set(steps(project, "run.workers=2", "run.device=auto").values()) == {None}


@pytest.mark.parametrize(
    ("override", "first", "reused"),
    [
        ("seed=8", "1-fit/a", {"0-ingest/seed", "0-ingest/pool", "0-ingest/test", "0-ingest/guard"}),
        ("label.accept=0.6", "5-label", {"2-filter", "3-mix", "4-train/model"}),
        ("evaluate.permutations=20", "2-screen/verdict", {"3-mix", "4-train/mixed", "4-train/model", "5-label"}),
        ("train.calibration_folds=3", "1-committee/fold-0", {"3-mix", "4-train/mixed", "4-train/seed-only"}),
        ("mix.real=0.4", "3-mix", {"1-generate/a", "2-filter", "4-train/seed-only", "1-committee/fold-0"}),
        ("train.level=90", "4-train/mixed", {"3-mix"}),
        ("data.leaks=warn", "0-ingest/guard", {"0-ingest/seed", "0-ingest/pool", "0-ingest/test"}),
    ],
)
def test_a_change_remakes_what_follows_from_it_and_nothing_else(
    override: str, first: str, reused: set[str], project: Any
) -> None:
    project.run()
    after = steps(project, override)
    changed = [unit for unit, why in after.items() if why is not None]
    assert changed[0] == first
    key = override.partition("=")[0].rpartition(".")[2]
    assert ("fold" if key == "calibration_folds" else key) in (after[first] or "")
    assert reused.isdisjoint(changed)


def test_a_further_format_is_all_that_is_made_for_it(project: Any) -> None:
    project.run()
    project.change(export=["coco", "yolo", "masks"])
    project.run()
    assert project.made == {"7-export/masks": "new"}


def test_one_generators_count_leaves_the_others_as_they_are(project: Any, tree: Tree) -> None:
    a, b = ({"name": name, "use": "compose", "layout": "resample", "count": 4} for name in "ab")
    project.change(generate=[a, b])
    project.run(until="mix")
    before = tree(project.run_folder / "1-generate" / "b")
    first = tree(project.run_folder / "1-generate" / "a")
    project.run("generate.a.count=6", until="mix")
    assert project.made["1-generate/a"] == "changed: count: 4 → 6"
    assert {"1-generate/b", "0-ingest/seed"}.isdisjoint(project.made)
    assert tree(project.run_folder / "1-generate" / "b") == before
    # Sample k is what it was, whatever the count; and whatever else the recipe holds.
    assert tree(project.run_folder / "1-generate" / "a")["shards/00000.tar"] == first["shards/00000.tar"]
    project.change(generate=[b])
    shutil.rmtree(project.run_folder)
    project.run(until="generate")
    assert tree(project.run_folder / "1-generate" / "b")["shards/00000.tar"] == before["shards/00000.tar"]


def test_the_shard_size_changes_no_sample(project: Any) -> None:
    project.run(until="generate")
    one = [s.image.tobytes() for s in generate.made(job_of(project.load()))]
    project.run("shard_size=5", until="generate")
    assert [s.image.tobytes() for s in generate.made(job_of(project.load()))] == one


@pytest.mark.slow
def test_more_workers_change_no_byte(project: Any, tree: Tree) -> None:
    kept = (".hashes.json", "events.jsonl", "recipe.resolved.json")
    # Only what runs in processes of its own with plug-ins that are installed.
    project.run(until="generate")
    one = {k: v for k, v in tree(project.run_folder).items() if k not in kept and not k.startswith(".lock")}
    shutil.rmtree(project.run_folder)
    project.run("run.workers=2", until="generate")
    two = {k: v for k, v in tree(project.run_folder).items() if k not in kept and not k.startswith(".lock")}
    assert {k for k in one if one[k] != two.get(k)} <= {"recipe.lock.json"}
    assert one.keys() == two.keys()


@pytest.mark.parametrize("what", ["weights", "encoder", "background"])
def test_a_file_that_an_option_names_is_part_of_the_needs(what: str, project: Any) -> None:
    folder = project.folder / "grounds"
    folder.mkdir()
    exact(np.full((70, 90, 3), 30, np.uint8), folder / "x")
    (folder / "w.safetensors").write_bytes(b"1")
    (folder / "config.json").write_text("{}")
    named = str(folder) if what == "encoder" else str(folder / "w.safetensors")
    project.change(
        generate=[{"name": "a", "use": "compose", "layout": "resample", "background": [str(folder)], "count": 2}],
        train={"use": "labeler", "encoder" if what == "encoder" else "weights": named, "calibration_folds": 0},
    )
    first = steps_keys(project)
    exact(np.full((70, 90, 3), 99, np.uint8), folder / "x")
    (folder / "w.safetensors").write_bytes(b"2")
    unit = "1-generate/a" if what == "background" else "4-train/seed-only"
    assert steps_keys(project)[unit] != first[unit]


def steps_keys(project: Any) -> dict[str, Any]:
    from synthgen.run import STAGES

    job = job_of(project.load())
    return {u.name: u.needs for _, module in STAGES for u in module.units(job)}


def test_a_second_process_on_the_same_run_folder_is_refused_with_code_6(
    project: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from synthgen.work import only_process

    with only_process(project.run_folder):
        assert main(["run", str(project.recipe)]) == 6
    assert "is in use by process" in capsys.readouterr().err

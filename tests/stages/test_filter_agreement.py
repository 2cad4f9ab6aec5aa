"""The agreement filter: wrong labels of a generator that learns are found, right ones stay, and what was not checked is
not passed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass as plain
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from synthgen import plugins
from synthgen.cli import main
from synthgen.geometry import decode, encode, labels_from_masks
from synthgen.recipe.schema import Filter
from synthgen.report.facts import facts_of
from synthgen.report.filtered import filtered as filtered_pictures
from synthgen.report.page import html
from synthgen.report.pictures import stretch_of
from synthgen.report.source import OnDisk, load_run
from synthgen.run import job_of, plan
from synthgen.seeds import rng_of
from synthgen.stages import consistency, filter, generate, mix  # noqa: A004 - the stage is called so
from synthgen.stages.consistency import Committee, outcomes, reference
from synthgen.store import Stored, write_all
from synthgen.testing import tiny_real
from synthgen.types import Context, Dataset, Image, Labels, Mixture, Origin, Sample
from synthgen.work import Work

STRICT = ConfigDict(extra="forbid")


def planted(sample: Sample, kind: str, rng: np.random.Generator) -> Sample:
    """A sample whose labels have one kind of error.

    shifted: every mask lies 6 px beside its object. missing: the image does not show one object. extra: the labels do
    not have it. swapped: they give it another class. empty: there is no object, and no label. cut: its upper rows say
    nothing.
    """
    labels = sample.labels
    assert labels is not None
    assert labels.masks is not None
    masks, image = decode(labels.masks, labels.size), sample.image.copy()
    # The second largest object, since larger than the usual one may be two that touch.
    first = int(np.argsort(-masks.sum((1, 2)))[1])
    ground = image[~masks.any(0)]
    if kind == "shifted":
        labels = labels_from_masks(np.roll(masks, (6, 6), (1, 2)), labels.classes)
    elif kind == "missing":
        image[cv2.dilate(masks[first].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0] = np.median(ground, 0)
    elif kind == "extra":
        labels = labels_from_masks(np.delete(masks, first, 0), np.delete(labels.classes, first))
    elif kind == "swapped":
        classes = labels.classes.copy()
        classes[first] = 1 - classes[first]
        labels = replace(labels, classes=classes)
    elif kind == "empty":
        image, labels = np.broadcast_to(np.median(ground, 0), image.shape).astype(np.uint8), Labels(labels.size)
    elif kind == "cut":
        rows = np.zeros(labels.size, bool)
        rows[:9] = True
        labels = replace(labels, ignore=encode(rows[None])[0])
    noise = rng.normal(0, 1, image.shape)
    return replace(sample, image=np.clip(image + noise, 0, 255).astype(np.uint8), labels=labels,
                   meta={"kind": kind, "object": encode(masks[first : first + 1])[0]})


@dataclass(kw_only=True, config=STRICT)
class Learned:
    """Gives real images again, with errors in their labels; says that it learned them."""

    LEARNS: ClassVar[bool] = True
    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "detect", "classify")

    kinds: tuple[str, ...] = ("right",)
    exact: bool = False

    def fit(self, real: Dataset, pool: Dataset, context: Context) -> None:
        self.real, self.task = list(real), context.task

    def sample(self, seeds: Sequence[int]) -> Iterator[Sample]:
        for seed in seeds:
            rng = rng_of(seed)
            one, kind = self.real[int(rng.integers(len(self.real)))], self.kinds[int(rng.integers(len(self.kinds)))]
            known = "construction" if self.exact else "condition"
            origin = Origin("synthetic", "learned", seed=seed, parents=(one.id,), known_by=known)
            if self.task == "classify":
                assert one.labels is not None
                right = one.labels.image_class or 0
                image = np.clip(one.image + rng.normal(0, 2, one.image.shape), 0, 255).astype(np.uint8)
                said = replace(one.labels, image_class=right if kind == "right" else 1 - right)
                yield Sample(f"x-{seed}", image, said, origin, {"kind": kind})
            else:
                yield replace(planted(one, kind, rng), id=f"x-{seed}", origin=origin)

    def save(self, folder: Path) -> None:
        write_all(folder, self.real)
        (folder / "task").write_text(self.task)

    def load(self, folder: Path, device: str = "cpu") -> None:
        self.real, self.task = list(Stored(folder)), (folder / "task").read_text()


@plain
class Soft:
    """Sees brightness: bright things are objects, very bright ones of class 1. Says how sure it is of that."""

    task: str

    def probabilities(self, images: Sequence[Image]) -> Iterator[NDArray[np.float32]]:
        for image in images:
            grey = cv2.GaussianBlur(image.mean(-1).astype(np.float32), (0, 0), 0.7)
            bright, very = (1 / (1 + np.exp(-(grey - level) / 5)) for level in (100, 168))
            probs = np.stack([1 - bright, bright * (1 - very), bright * very])
            if self.task == "classify":
                p = float(np.clip(very.mean() * 4, 0.02, 0.98))
                yield np.asarray([1 - p, p, 0], np.float32)
            else:
                yield probs.astype(np.float32)

    def label(self, images: Sequence[Image], *, tta: bool = True) -> Iterator[Labels]:
        for image, probs in zip(images, self.probabilities(images), strict=True):
            if self.task == "classify":
                yield Labels(image.shape[:2], image_class=int(probs.argmax()), image_score=float(probs.max()),
                             reviewed="model")
                continue
            masks, kinds = [], []
            for c in (1, 2):
                n, ids = cv2.connectedComponents((probs.argmax(0) == c).astype(np.uint8))
                masks += [ids == k for k in range(1, n) if (ids == k).sum() >= 12]
                kinds += [c - 1] * (len(masks) - len(kinds))
            stack = np.stack(masks) if masks else np.zeros((0, *image.shape[:2]), bool)
            yield labels_from_masks(stack, kinds, reviewed="model")

    def features(self, images: Sequence[Image]) -> Any:
        return np.asarray([[i.mean(), i.std(), 1] for i in images], np.float32).reshape(-1, 3)

    def save(self, folder: Path) -> None:
        (folder / "labeler.json").write_text(json.dumps(self.task))


@dataclass(kw_only=True, config=STRICT)
class SoftTrainer:
    """A trainer that learns nothing."""

    def fit(self, train: Mixture, val: Dataset, pool: Dataset, context: Context) -> Soft:
        return Soft(context.task)

    def calibrate(self, labeler: Any, held_out: Any) -> Any:
        return labeler

    def load(self, folder: Path, device: str = "cpu", threads: int = 1) -> Soft:
        return Soft(json.loads((folder / "labeler.json").read_text()))


@pytest.fixture
def line(project: Any, install: Any) -> Any:
    """A project with twelve seed images and a generator that says it learned."""
    install("generators", "learned", Learned)
    install("trainers", "soft", SoftTrainer)
    seed(project, 12)
    project.change(train={"use": "soft", "calibration_folds": 3}, generate=made("right"))
    return project


def seed(project: Any, n: int) -> None:
    writer = plugins.build("formats", "coco", {})
    writer.write(tiny_real(n, seed=1), project.folder / f"seed-{n}", ["class 0", "class 1"])
    data = json.loads(project.recipe.read_text())["data"]
    project.change(data={**data, "seed": {"path": f"seed-{n}", "format": "coco"}})


def made(*kinds: str, count: int = 24, use: str = "learned", **more: Any) -> list[dict[str, Any]]:
    return [{"name": "x", "use": use, "kinds": list(kinds), "count": count, **more}]


def filtered(project: Any, *overrides: str) -> tuple[dict[str, Any], dict[str, tuple[Sample, Labels | None]]]:
    """The summary; and by id each sample as made, with its labels as filtered, None where its image was rejected."""
    project.run(*overrides, until="filter")
    job = job_of(project.load(*overrides))
    whole, left = generate.made(job), {s.id: s.labels for s in filter.kept(job)}
    return project.json("2-filter/summary.json"), {s.id: (s, left.get(s.id)) for s in whole}


def ignored(labels: Labels) -> NDArray[np.bool_]:
    return decode([labels.ignore], labels.size)[0] if labels.ignore is not None else np.zeros(labels.size, bool)


def lost_objects(samples: dict[str, tuple[Sample, Labels | None]]) -> list[float]:
    """Of each sample kept, which share of its planted object became ignored."""
    out = []
    for sample, left in samples.values():
        if left is not None:
            out.append(float(ignored(left)[decode([sample.meta["object"]], left.size)[0]].mean()))
    return out


@pytest.mark.slow
def test_of_right_labels_no_more_is_lost_than_of_real_ones(line: Any) -> None:
    line.change(generate=made("right", count=60))
    summary, samples = filtered(line)
    about, mine = summary["agreement"], summary["generators"]["x"]
    assert (about["state"], about["images"], about["labelers"], about["pixels"]) == ("checked", 60, 3, True)
    assert about["real"]["images"] == 12
    assert summary["kept"] >= (1 - 1 / 13 - 0.05) * 60
    assert mine["instances lost"] <= 0.05 * mine["instances"]
    assert mine["pixels ignored"] / mine["pixels"] <= 2 * about["real"]["pixels ignored"] < 0.01
    for sample, left in samples.values():
        if left is not None:                       # what is left of them is what was made
            assert set(left.masks) <= set(sample.labels.masks)


@pytest.mark.slow
def test_labels_that_lie_beside_their_objects_cost_the_image(line: Any) -> None:
    line.change(generate=made("shifted"))
    summary, _ = filtered(line)
    assert summary["kept"] <= 2
    rows = (line.run_folder / "2-filter/dropped.jsonl").read_text().splitlines()
    assert {json.loads(row)["reason"] for row in rows} <= {
        "too much of its labels was lost",
        "labelers that learned from real images agree less with what is left of its labels than with real ones"}
    assert len(rows) == 24 - summary["kept"] == summary["generators"]["x"]["images lost"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["missing", "swapped"])
def test_an_object_that_the_image_does_not_show_as_labelled_is_dropped_and_its_pixels_ignored(
    kind: str, line: Any
) -> None:
    line.change(generate=made(kind))
    summary, samples = filtered(line)
    assert summary["kept"] >= 20                   # one wrong object does not cost the others
    assert np.mean([share > 0.95 for share in lost_objects(samples)]) >= 0.95
    assert summary["generators"]["x"]["instances lost"] >= 0.95 * summary["kept"]
    assert summary["reasons"]["instance: labelers that learned from real images do not find it"] >= 20


@pytest.mark.slow
def test_an_object_that_the_labels_do_not_have_becomes_ignored_background(line: Any) -> None:
    line.change(generate=made("extra"))
    summary, samples = filtered(line)
    assert summary["kept"] >= 20
    assert np.mean([share > 0.8 for share in lost_objects(samples)]) >= 0.95
    assert summary["reasons"]["pixel: labelers that learned from real images dispute its label"] > 1000


@pytest.mark.slow
def test_what_was_ignored_before_stays_ignored_and_empty_images_pass(line: Any) -> None:
    line.change(generate=made("cut", "empty"))
    _, samples = filtered(line)
    kinds = {s.meta["kind"] for s, left in samples.values() if left is not None}
    assert kinds == {"cut", "empty"}
    for sample, left in samples.values():
        if left is not None and sample.meta["kind"] == "cut":
            assert ignored(left)[:9].all()
        elif left is not None:
            assert len(left) == 0
            assert left.ignore is None


@pytest.mark.slow
def test_labels_known_by_construction_are_not_asked_about(line: Any) -> None:
    line.change(generate=made("shifted", exact=True))
    summary, _samples = filtered(line)
    assert summary["kept"] == 24
    assert summary["agreement"] == {"state": "exact"}
    assert line.json("2-filter/index.json")["labels"] == line.json("2-filter/index.json")["weights"] == {}
    assert (line.run_folder / "2-filter/agreement.jsonl").read_bytes() == b""


@plain
class Case:
    """Why nobody could be asked: what the recipe says, and what the summary then tells."""

    why: str
    images: int = 12
    folds: int = 3
    use: str = "learned"
    overrides: tuple[str, ...] = ()


@pytest.mark.slow
@pytest.mark.parametrize("case", [Case("calibration_folds is 0", folds=0), Case("calibration_folds is 1", folds=1),
                                  Case("more than one image", images=1), Case("LEARNS = True", use="unsaid"),
                                  Case("agreement is off", overrides=("filter.agreement=off",))], ids=lambda c: c.why)
def test_what_nobody_could_be_asked_about_is_kept_and_said_and_not_passed(case: Case, line: Any, install: Any) -> None:
    @dataclass(kw_only=True, config=STRICT)
    class Unsaid(Learned):
        LEARNS: ClassVar[bool] = False

    install("generators", "unsaid", Unsaid)
    seed(line, case.images)
    line.change(generate=made("right", count=6, use=case.use), train={"use": "soft", "calibration_folds": case.folds})
    verdict = line.run(*case.overrides)
    about = line.json("2-filter/summary.json")["agreement"]
    assert (about["state"], about["images"]) == ("unchecked", 6)
    assert case.why in about["why"]
    (row,) = [m for m in verdict["measurements"] if m["name"] == "agreement of x"]
    assert (row["verdict"], row["hard"]) == ("skipped", True)
    assert verdict["verdict"] == "warn"
    line.change(evaluate={"permutations": 19, "gate": [{"check": "integrity"}], "on_inconclusive": "fail"})
    assert main(["run", str(line.recipe), *(x for o in case.overrides for x in ("-S", o))]) == 4


@pytest.mark.slow
def test_labelers_that_do_not_say_how_sure_they_are_judge_instances_and_images(line: Any) -> None:
    line.change(generate=made("right", "shifted", count=40), train={"use": "threshold", "calibration_folds": 3})
    summary, samples = filtered(line)
    about = summary["agreement"]
    assert about["pixels"] is False
    assert about["hard"] is None
    assert "do not say how sure" in about["notes"][0]
    assert not any(reason.startswith("pixel") for reason in summary["reasons"])
    passed = {kind: [left is not None for s, left in samples.values() if s.meta["kind"] == kind]
              for kind in ("right", "shifted")}
    assert np.mean(passed["right"]) > 0.8
    assert not any(passed["shifted"])


def test_a_handful_of_real_images_sets_no_bar_for_images_and_that_is_said(line: Any) -> None:
    seed(line, 4)
    line.change(generate=made("right", count=8))
    about = filtered(line)[0]["agreement"]
    assert about["bars"][-1] == {"what": "surprise of an image", "at": None, "n": 4, "share": 0.0}
    assert "4 real images are too few" in about["notes"][0]


def test_folds_that_hold_nothing_out_are_left_aside(line: Any) -> None:
    seed(line, 2)
    line.change(generate=made("right", count=4), train={"use": "soft", "calibration_folds": 5})
    assert filtered(line)[0]["agreement"]["labelers"] == 2


@pytest.mark.slow
def test_a_class_that_no_real_image_shows_is_not_judged_and_that_is_not_passed(line: Any) -> None:
    writer = plugins.build("formats", "coco", {})
    writer.write(tiny_real(8, seed=1, classes=1), line.folder / "one", ["class 0", "class 1"])
    data = json.loads(line.recipe.read_text())["data"]
    line.change(data={**data, "seed": {"path": "one", "format": "coco"}}, generate=made("swapped", count=6))
    verdict = line.run()
    summary = line.json("2-filter/summary.json")
    assert summary["generators"]["x"]["labels unknown"] >= 4
    assert any("class 1" in note for note in summary["agreement"]["notes"])
    (row,) = [m for m in verdict["measurements"] if m["name"] == "agreement of x"]
    assert (row["verdict"], row["hard"]) == ("skipped", False)
    assert summary["classes"]["before"]["class 1"]["instances"] == 6


@pytest.mark.slow
def test_a_generator_that_loses_nearly_all_is_refused_before_anything_is_trained(
    line: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    line.change(generate=made("shifted"))
    assert main(["run", str(line.recipe)]) == 4
    assert not (line.run_folder / "4-train").exists()
    rows = line.json("2-screen/verdict/verdict.json")["measurements"]
    (lost,) = [m for m in rows if m["name"] == "images of x"]
    assert (lost["verdict"], lost["hard"]) == ("fail", True)
    assert "do not show what their labels say" in lost["remedy"]
    assert "images of generator x" in capsys.readouterr().err


@pytest.mark.slow
def test_where_all_are_rejected_the_line_goes_on_to_the_screen(line: Any, capsys: pytest.CaptureFixture[str]) -> None:
    line.change(generate=made("shifted"), filter={"max_lost": 0.05})
    assert main(["run", str(line.recipe)]) == 4
    assert line.json("2-filter/summary.json")["kept"] == 0
    said = capsys.readouterr().err
    assert "24 of 24 images of generator x" in said or "no synthetic sample is left" in said


@pytest.mark.slow
def test_a_generator_that_loses_over_half_warns(line: Any) -> None:
    line.change(generate=made("shifted", "shifted", "right", count=60))
    verdict = line.run()
    (lost,) = [m for m in verdict["measurements"] if m["name"] == "images of x"]
    assert (lost["verdict"], verdict["verdict"]) == ("warn", "warn")


@pytest.mark.slow
def test_classes_are_counted_before_and_after(line: Any) -> None:
    line.change(generate=made("missing", "shifted"))
    summary, samples = filtered(line)
    for when, labels in (("before", [s.labels for s, _ in samples.values()]),
                         ("after", [left for _, left in samples.values() if left is not None])):
        for c in (0, 1):
            row = summary["classes"][when][f"class {c}"]
            assert row["instances"] == sum(int((x.classes == c).sum()) for x in labels)
            assert row["pixels"] == sum(int((consistency.rule.target_of(x) == c + 1).sum()) for x in labels)
    mine = summary["generators"]["x"]
    assert mine["images"] - mine["images lost"] == mine["images kept"] == summary["kept"]


def test_hard_samples_are_shown_more_often_where_the_filter_left_fewer_than_were_made() -> None:
    known = consistency.Reference(3, np.zeros(2), {}, unsure=0.5)
    asked = consistency.Committee([], known)
    ids = [f"{'a' if k < 20 else 'b'}-{k}" for k in range(40)]
    outcomes = {k: consistency.Outcome(True, unsure=0.6 if k % 20 < 6 else 0.1) for k in range(40)}
    keep = [k for k in range(40) if k not in (0, 1, 2, 3)]  # of a's six hard samples two are left, b lost nothing
    weights = filter.weights_of(ids, outcomes, keep, asked, Filter())
    of_a = [w for k, w in weights.items() if k < 20]
    assert sum(weights[k] for k in (4, 5)) / sum(of_a) == pytest.approx(6 / 20)
    assert np.mean(of_a) == pytest.approx(1)
    assert {w for k, w in weights.items() if k >= 20} == {1.0}
    few = filter.weights_of(ids, outcomes, keep, asked, Filter(keep_hard=0.2))
    assert sum(few[k] for k in (4, 5)) / sum(w for k, w in few.items() if k < 20) == pytest.approx(0.2)
    assert set(filter.weights_of(ids, outcomes, keep, asked, Filter(keep_hard=0)).values()) == {1.0}
    assert filter.weights_of(ids, outcomes, keep, None, Filter()) == {}


@pytest.mark.slow
def test_where_nothing_hard_was_lost_all_are_shown_alike(line: Any) -> None:
    line.change(generate=made("right", "right", "empty", count=60), filter={"keep_hard": 0.6})
    summary, _ = filtered(line)
    hard = summary["agreement"]["hard"]
    assert 0 < hard["asked"] <= hard["kept"] == hard["shown"]
    line.run("filter.keep_hard=0.6", until="mix")
    rows = [r for r in line.json("3-mix/index.json")["samples"] if r["kind"] == "synthetic"]
    assert sum(r["weight"] for r in rows) == pytest.approx(1)
    assert len({r["weight"] for r in rows}) == 1
    assert mix.mixture(job_of(line.load())).weights[-len(rows) :].sum() == pytest.approx(1)


@pytest.mark.slow
def test_resampling_shows_layouts_of_hard_classes_more_often(line: Any) -> None:
    line.change(generate=made("right", "empty", count=30), filter={"resample": "hardness", "keep_hard": 0})
    _, samples = filtered(line)
    weights = dict(zip([s.id for s in filter.kept(job_of(line.load()))],
                       filter.times_shown(job_of(line.load()), filter.kept(job_of(line.load()))), strict=True))
    full = [w for k, w in weights.items() if samples[k][0].meta["kind"] == "right"]
    bare = [w for k, w in weights.items() if samples[k][0].meta["kind"] == "empty"]
    assert min(full) > max(bare)
    assert np.mean(full + bare) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_the_filter_needs_the_committee_only_where_it_may_be_asked(line: Any) -> None:
    def after(*overrides: str) -> set[str]:
        (unit,) = filter.units(job_of(line.load(*overrides)))
        return {name for name in unit.needs["after"] if "committee" in name}

    assert after() == {f"1-committee/fold-{k}" for k in range(3)}
    assert after("filter.agreement=off") == after("train.calibration_folds=0") == set()
    line.change(generate=[{"name": "a", "use": "compose", "layout": "resample", "count": 4}])
    assert after() == set()
    line.run(until="filter")
    steps = {s.unit: s.why for s in plan(job_of(line.load("train.calibration_folds=2")))}
    assert steps["2-filter"] is None


@pytest.mark.slow
def test_neither_the_batch_nor_a_second_run_changes_a_byte(
    line: Any, monkeypatch: pytest.MonkeyPatch, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    line.change(generate=made("right", "missing", "shifted", "cut", "empty"))
    line.run(until="filter")
    before = tree(line.run_folder / "2-filter")
    for module in (filter, consistency):
        monkeypatch.setattr(module, "BATCH", 5)
    line.change(filter={"max_lost": 0.4})
    line.run(until="filter")
    line.change(filter={})
    line.run(until="filter")
    assert line.made == {"2-filter": "changed: max_lost: 0.4 → 0.5"}
    assert tree(line.run_folder / "2-filter") == before


def of_class(c: int, k: int, said: int | None = None) -> Sample:
    """An image that shows objects of class c alone, and is said to be of class `said`."""
    level = (60, 230)[c]
    image = np.full((24, 24, 3), level, np.uint8) + rng_of(k).integers(0, 12, (24, 24, 3)).astype(np.uint8)
    return Sample(f"s-{k}", image, Labels((24, 24), image_class=c if said is None else said))


def test_an_image_that_labelers_do_not_take_for_its_class_is_rejected() -> None:
    held_out = [(Soft("classify"), [of_class(k % 2, k) for k in range(20)])]
    known = reference(held_out, 3, "classify", Filter())
    assert known.real["images lost"] <= 1
    asked = Committee([Soft("classify")], known)
    samples = [of_class(0, 90), of_class(1, 91), of_class(0, 92, said=1), of_class(1, 93, said=0),
               of_class(1, 94, said=2), of_class(1, 95, said=7)]
    found = [o for o, _ in outcomes(asked, samples, Filter(), "classify")]
    assert [o.reason is None for o in found] == [True, True, False, False, True, True]
    assert [o.unknown for o in found] == [0, 0, 0, 0, 1, 0]
    assert [o.checked for o in found] == [True, True, True, True, True, False]  # class 7 is for the check integrity
    # Sure of all real images, they do not reject what they merely take for its class more likely than not.
    assert all(bar.at <= 0.5 for bar in known.instances.values())


@pytest.mark.slow
def test_the_report_shows_what_was_lost_and_what_real_images_would_lose(line: Any) -> None:
    line.change(generate=made("right", "missing", "shifted", count=20))
    line.run(until="filter")
    run = OnDisk(load_run(line.run_folder))
    groups = filtered_pictures(run, stretch_of(run))
    assert [g.title for g in groups] == ["Rejected", "Kept, and lost most", "Kept, and lost least"]
    assert {len(f.pictures) for f in groups[0].figures} == {2}
    assert {len(f.pictures) for f in groups[1].figures} == {3}
    assert not {f.title for f in groups[1].figures} & {f.title for f in groups[2].figures}
    text = html(run, facts_of(run), 96)
    assert "Do images and labels agree?" in text
    assert "instances before" in text
    assert "By the same rules the real images would lose" in text
    assert filtered_pictures(OnDisk(replace(run.job, work=Work(line.folder / "nowhere"))), stretch_of(run)) == ()

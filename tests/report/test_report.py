"""The report of runs that went well, badly, or not to their end; see conftest for the run folders."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from synthgen.errors import RecipeError
from synthgen.overlay import fit_to
from synthgen.report import MOST_BYTES, write_report
from synthgen.report.pictures import LONGEST, picture
from synthgen.report.source import OnDisk, load_run

Fabricate = Callable[..., Path]
HOSTILE = ("<script>alert(1)</script>", "$x_$ & |y|", "{{ 7 * 7 }}")


class Page(HTMLParser):
    """What a browser sees of a page: its text, its tags, and every address in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "action", "data", "poster")]
        self.ids += [v or "" for k, v in attrs if k == "id"]
        if tag in ("style", "h1"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            self.open.remove(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def page_of(folder: Path) -> tuple[str, Page]:
    text = write_report(load_run(folder)).read_text("utf-8")
    return text, Page(text)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["instances", "segment", "detect", "classify"])
def test_the_page_is_one_small_offline_file_without_scripts(fabricate: Fabricate, task: str) -> None:
    text, page = page_of(fabricate(task=task, classes=HOSTILE))
    assert len(text) < MOST_BYTES
    assert "script" not in page.tags
    assert not {"link", "iframe", "object"} & set(page.tags)
    assert all(a.startswith(("data:image/", "#")) for a in page.addresses)
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"@import|url\((?!#)", text)
    assert "<svg" in text
    assert page.tags.count("img") >= 4


@pytest.mark.slow
def test_names_that_are_markup_are_shown_as_they_are_written(fabricate: Fabricate) -> None:
    text, page = page_of(fabricate(classes=HOSTILE))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script" not in text
    for name in HOSTILE:
        assert name in page.text
    assert "<script>bad</script>.png" in page.text       # a file's name, in the quarantine
    assert "Dots <b>on</b> grey" in page.text            # the recipe as written
    summary = (Path(write_report(load_run(fabricate(classes=HOSTILE)))).parent / "summary.md").read_text("utf-8")
    assert "<script" not in summary


@pytest.mark.parametrize(("height", "width"), [(600, 20), (5000, 1), (20, 600), (1, 5000), (48, 48), (300, 200)])
def test_a_picture_is_small_on_both_sides_whatever_its_image(height: int, width: int) -> None:
    # The page shows a picture as wide as its column: what is much higher than wide would run over many screens.
    image = np.full((height, width, 3), 200, np.uint8)
    shown = picture(fit_to(image, LONGEST)[0], "")
    assert max(shown.width, shown.height) <= LONGEST
    assert shown.height <= 2 * shown.width
    with PIL.Image.open(io.BytesIO(base64.b64decode(shown.src.partition(",")[2]))) as opened:
        assert opened.size == (shown.width, shown.height)
        assert (np.asarray(opened) > 150).any(), "the image itself is on it"


@pytest.mark.slow
def test_ids_in_the_page_are_there_once(fabricate: Fabricate) -> None:
    _, page = page_of(fabricate(classes=HOSTILE))
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(fabricate: Fabricate, tmp_path: Path) -> None:
    folder = fabricate()
    report = write_report(load_run(folder)).parent
    first = {p.name: p.read_bytes() for p in report.iterdir()}
    folder.rename(tmp_path / "moved")
    again = write_report(load_run(tmp_path / "moved")).parent
    assert {p.name: p.read_bytes() for p in again.iterdir()} == first
    assert set(first) == {"index.html", "report.json", "summary.md"}


@pytest.mark.slow
def test_the_head_says_the_verdict_then_three_reasons_then_what_this_n_can_show(fabricate: Fabricate) -> None:
    _, page = page_of(fabricate())
    head = page.text[:page.text.index("Pictures Scores")]
    assert head.index("PASS, with warnings") < head.index("Whether synthetic data helps cannot be told")
    assert head.index("AP50 is 0.6 with and 0.5 without.") < head.index("By encoder features, they can be told.")
    assert "The test split holds 4 images: a difference in AP50 smaller than about 0.20" in page.text
    assert "about 31 test images (now 4) would settle it" in page.text


@pytest.mark.slow
@pytest.mark.parametrize(("utility", "verdict", "said"), [
    ("HELPS", "pass", "PASS Synthetic data helped"),
    ("NON-INFERIOR", "pass", "PASS Synthetic data did no harm, but was not shown to help"),
    ("HARMS", "fail", "REFUSED Synthetic data did harm"),
    ("INCONCLUSIVE", "warn", "PASS, with warnings Whether synthetic data helps cannot be told")])
def test_the_first_line_says_whether_synthetic_data_helped(
    fabricate: Fabricate, utility: str, verdict: str, said: str
) -> None:
    _, page = page_of(fabricate(utility=utility, verdict=verdict))
    assert said in page.text[:400]


@pytest.mark.slow
def test_a_refused_run_says_why_first_and_what_to_do_and_offers_no_dataset(fabricate: Fabricate) -> None:
    folder = fabricate(verdict="fail", utility="INCONCLUSIVE")
    _, page = page_of(folder)
    assert page.text.index("3 of 5 samples: two masks claim one pixel") < page.text.index("AP50 is 0.6")
    assert "Integrity, overlap: mend the generator." in page.text
    assert "Take the dataset" not in page.text
    twin = json.loads((folder / "report" / "report.json").read_text())
    assert (twin["state"], twin["verdict"]) == ("refused", "fail")


def test_a_run_without_pool_test_and_synthetic_data_gets_a_page(fabricate: Fabricate) -> None:
    _, page = page_of(fabricate(pool=False, test=False, synthetic=False))
    assert "Trained on the seed alone; there is no synthetic data to judge." in page.text
    assert "There is no labelled test split" in page.text
    assert "Take the dataset: 14 images as coco." in page.text


@pytest.mark.slow
@pytest.mark.parametrize("until", ["0", "0-ingest", "1-generate", "2-filter", "4-train", "5-label", "6-evaluate"])
def test_an_unfinished_run_gets_a_page_that_says_how_to_go_on(fabricate: Fabricate, until: str) -> None:
    folder = fabricate(until=until)
    text, page = page_of(folder)
    assert ("UNFINISHED" in page.text) == (until != "6-evaluate")
    assert "synthgen run RECIPE -S train.steps=5" in page.text
    assert "Take the dataset" not in page.text
    assert json.loads((folder / "report" / "report.json").read_text())["state"] == "unfinished"
    # The locked test is not shown before the evaluation has opened it.
    assert ("test-0.png" in text) == (until == "6-evaluate")


def test_what_an_earlier_recipe_left_behind_is_not_told_as_this_run(fabricate: Fabricate) -> None:
    folder = fabricate()
    lock = json.loads((folder / "recipe.lock.json").read_text())
    lock["units"]["6-evaluate"] = lock["units"]["7-export/coco"] = "other"
    (folder / "recipe.lock.json").write_text(json.dumps(lock))
    assert OnDisk(load_run(folder)).state("6-evaluate") == "stale"
    _, page = page_of(folder)
    assert "UNFINISHED" in page.text
    assert "AP50 is 0.6" not in page.text


@pytest.mark.slow
def test_test_images_stand_beside_the_labels_they_got_where_these_were_kept(fabricate: Fabricate) -> None:
    _, page = page_of(fabricate())
    assert re.search(r"\d of \d found, 0 made up, 1 missed", page.text)
    _, page = page_of(fabricate(name="without", answers=False))
    assert "the labels that the test images got were not kept" in page.text


def test_whole_image_classes_are_shown_by_class_with_what_was_mistaken_for_what(fabricate: Fabricate) -> None:
    _, page = page_of(fabricate(task="classify", classes=("boot", "sandal", "bag"), synthetic=False))
    assert "sandal 0 of 1 right; called bag (1) instead" in page.text
    assert "Every class against every other" in page.text
    assert "has accuracy 0.60 (0.40 to 0.80)" in page.text


def test_a_folder_that_is_no_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is no run folder"):
        load_run(tmp_path)
    (tmp_path / "recipe.resolved.json").write_text('{"schema": "synthgen/9"}')
    with pytest.raises(RecipeError, match="cannot be read by this version"):
        load_run(tmp_path)


def test_a_run_whose_recipe_took_values_from_the_environment_can_be_read(
        fabricate: Fabricate, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fabricate()
    path = folder / "recipe.resolved.json"
    resolved = json.loads(path.read_text())
    resolved["shard_size"], resolved["name"] = "${env:SHARD:-4}", "${env:RUN_NAME}"
    path.write_text(json.dumps(resolved))
    monkeypatch.setenv("RUN_NAME", "fromenv")
    job = load_run(folder)
    assert (job.recipe.shard_size, job.recipe.name) == (4, "fromenv")

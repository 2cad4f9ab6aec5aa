"""What travels with an export: the card, Croissant, the table for pull requests; no name in them does anything."""

from __future__ import annotations

import hashlib
import html
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from synthgen import plugins
from synthgen.errors import DataError
from synthgen.formats import Format, Reading
from synthgen.formats.detect import detect
from synthgen.report.markdown import gate_table
from synthgen.report.source import load_run
from synthgen.report.words import once, unread, where
from synthgen.stages import Job, evaluate, export, ingest
from synthgen.stages.markdown import escaped, row, table
from synthgen.store import Stored, read_json, write_json
from synthgen.types import Labels, Sample
from synthgen.work import fingerprint, key_of

Fabricate = Callable[..., Path]
# As folders of classes these cannot stand; the other formats take them.
HOSTILE = ("<script>alert(1)</script>", "a|b `c` [d](javascript:e) ![f](g)", "@everyone *h* _i_ # j\n| k | l |\n- m")
TAGS = {"h1", "h2", "p", "ol", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code", "strong", "hr"}


class Rendered(HTMLParser):
    """Markdown as GitHub renders it, HTML allowed: its tags, and the text of each cell and paragraph."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = [""]
        self.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        self.texts[-1] += data


def shown(text: str) -> str:
    """How a text is seen once it is on a page: on one line, joiners having no width."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def write(job: Job, name: str, folder: Path) -> Path:
    export.write(job, plugins.build("formats", name, {}), name, folder)
    return folder


@pytest.fixture
def exported(fabricate: Fabricate, tmp_path: Path) -> Callable[..., Path]:
    """Export a fabricated run in a format; gives the folder."""
    def make(name: str = "coco", **fabric: Any) -> Path:
        return write(load_run(fabricate(**fabric)), name, tmp_path / "exports" / name)
    return make


TEXTS = st.text(st.sampled_from("ab1 _*`|<>&[]()\\~#!-+=.:/@w$\n\t\u2028é") | st.characters(exclude_categories=["Cs"]))


@given(TEXTS)
def test_any_text_is_shown_as_it_is_written_wherever_it_stands(text: str) -> None:
    told = escaped(text)
    # A heading, lists, a cell below its heading: the text alone is added to what is there without it.
    for begin, end in (("# x ", ""), ("- ", ""), ("1. ", ""), ("| x |\n| --- |\n| ", " |")):
        page, bare = Rendered(begin + told + end), Rendered(begin + "y" + end)
        assert [tag for tag in page.tags if tag != "p"] == [tag for tag in bare.tags if tag != "p"]
        wanted = " ".join(bare.texts).replace("y", shown(text))
        assert shown(" ".join(page.texts).replace("\u2060", "")) == shown(wanted)


@pytest.mark.parametrize("text", ["@someone", "see http://a.b", "www.a.b", "HTTPS://A.B"])
def test_nothing_in_a_name_becomes_an_address_or_calls_somebody(text: str) -> None:
    # Sites look for these in the text that is shown, so that a reference alone would not do.
    seen = html.unescape(escaped(text))
    assert not re.search(r"@\w|://|www\.", seen, re.IGNORECASE)
    assert seen.replace("\u2060", "") == text


def test_a_row_has_as_many_cells_as_it_was_given() -> None:
    assert Rendered("\n".join(table(["a", "b"], [[escaped("|"), escaped("\\|")]]))).tags.count("td") == 2
    assert row(["a", "b"]) == "| a | b |"
    assert table(["a"], []) == []


def test_the_card_says_the_verdict_first_then_why_and_counts_every_image_it_holds(exported: Any) -> None:
    folder = exported()
    text = (folder / "DATASET_CARD.md").read_text("utf-8")
    lines = text.splitlines()
    told = "whether synthetic data helps cannot be told from this test split; see realism"
    assert lines[0] == f"# dots: PASS, with warnings: {told}"
    assert lines[4] == "1. AP50 is 0.6 with and 0.5 without."
    # 4 of the seed, 5 synthetic ones that were kept, and the 5 pool images.
    assert "14 images for the task instances" in lines[2]
    assert "| seed (real) | 4 | 10 | a person labelled them |" in text
    assert "| paste (synthetic) | 5 | 13 | by construction: " in text
    assert "| pool (real, labelled by a model) | 5 | 2 | predicted by the trained labeler, kept from a score of" in text
    assert "| dot | 10 | 13 | 2 |" in text
    assert len(read_json(folder / "annotations.json")["images"]) == 14
    assert "| realism: encoder: synthetic against pool | warn | 0.90 &#91;0.70 to 1.00&#93; AUC | 6 / 4 |" in text
    assert "| test; trained on seed + synthetic | 4 | 0.60 [0.40 to 0.80] |" in text
    assert "The filter kept 5 of 6 synthetic images." in text
    assert "INCONCLUSIVE:" not in text
    assert "The licence of the seed and pool applies; it is not stated in the recipe." in text


def test_what_was_taken_out_after_generation_is_not_exported_and_the_card_counts_it(exported: Any) -> None:
    folder = exported("shards", quarantined=("paste-000001", "paste-000003"))
    text = (folder / "DATASET_CARD.md").read_text("utf-8")
    assert "- 2 synthetic images taken out after generation, by the check copying." in text
    made = [s.id for s in Stored(folder) if s.origin.kind == "synthetic"]
    assert made == ["paste-000000", "paste-000002", "paste-000005"]
    assert "| paste (synthetic) | 3 |" in text


def test_the_card_names_what_decides_the_bytes_and_neither_a_time_nor_a_place(exported: Any, tmp_path: Path) -> None:
    folder = exported()
    job = load_run(tmp_path / "runs" / "dots")
    (unit,) = evaluate.units(job)
    for name in ("DATASET_CARD.md", "croissant.json"):
        text = (folder / name).read_text("utf-8")
        assert str(tmp_path) not in text
        assert "/nowhere" not in text
        assert not re.search(r"\b20\d\d-\d\d", text)
    assert key_of(unit.needs) in (folder / "DATASET_CARD.md").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coco", "yolo", "masks", "shards"])
def test_the_same_run_gives_the_same_bytes_elsewhere_and_our_readers_still_read_them(
        exported: Any, tmp_path: Path, name: str) -> None:
    first = exported(name, classes=("dot", "dash"))
    (tmp_path / "runs" / "dots").rename(tmp_path / "moved")
    second = write(load_run(tmp_path / "moved"), name, tmp_path / "again" / name)
    files = {p.relative_to(first): p.read_bytes() for p in first.rglob("*") if p.is_file()}
    assert {Path("DATASET_CARD.md"), Path("croissant.json"), Path("losses.json")} <= files.keys()
    assert files == {p.relative_to(second): p.read_bytes() for p in second.rglob("*") if p.is_file()}
    assert fingerprint(first, tmp_path / "a") == fingerprint(second, tmp_path / "b")
    assert detect(first) == name
    reader: Format = plugins.build("formats", name, {})
    assert reader.classes(first) == ["dot", "dash"]
    read = list(reader.read(first, ["dot", "dash"], Reading()))
    assert all(isinstance(item, Sample) for item in read)
    assert len(read) == read_json(first / "losses.json")["images"] > 8


def test_classes_of_whole_images_go_to_imagefolder_and_its_reader_is_not_disturbed(exported: Any) -> None:
    folder = exported("imagefolder", task="classify", classes=("boot", "sandal"))
    assert detect(folder) == "imagefolder"
    reader: Format = plugins.build("formats", "imagefolder", {})
    assert reader.classes(folder) == ["boot", "sandal"]
    assert len(list(reader.read(folder, ["boot", "sandal"], Reading()))) == 14
    assert "| boot | 2 | 2 | 5 |" in (folder / "DATASET_CARD.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["coco", "yolo", "masks"])
def test_names_that_are_markup_do_nothing_in_the_card_and_none_is_lost(exported: Any, name: str) -> None:
    folder = exported(name, classes=HOSTILE)
    page = Rendered((folder / "DATASET_CARD.md").read_text("utf-8"))
    assert set(page.tags) <= TAGS
    texts = [text.replace("\u2060", "") for text in page.texts]
    for class_name in HOSTILE:
        assert shown(class_name) in texts
    text = (folder / "croissant.json").read_text("utf-8")
    assert "<" not in text, "sites put this file into a page's script element"


def test_a_format_that_holds_none_of_the_labels_is_refused_before_anything_is_written(
        exported: Any, tmp_path: Path) -> None:
    for name in ("imagefolder", "images"):
        with pytest.raises(DataError, match=f"the format {name} can hold none of these labels, .*choose coco"):
            exported(name)
        assert not list((tmp_path / "exports").glob("*"))


@pytest.mark.parametrize("name", ["coco", "yolo", "masks", "images"])
def test_classes_of_whole_images_are_refused_by_formats_of_objects(exported: Any, name: str) -> None:
    with pytest.raises(DataError, match="classes of whole images; choose imagefolder or shards"):
        exported(name, task="classify", classes=("boot", "sandal"))


def test_boxes_alone_are_refused_by_masks_and_the_message_does_not_offer_it(tmp_path: Path) -> None:
    from synthgen.testing import tiny_real

    boxes = [Sample(s.id, s.image, replace(s.labels, masks=None)) for s in tiny_real(2) if s.labels is not None]
    with pytest.raises(DataError, match=r"objects with boxes alone; choose coco or yolo or shards$"):
        export.refuse_the_unfit(boxes, plugins.build("formats", "masks", {}), "masks", ["a", "b"])
    export.refuse_the_unfit(boxes, plugins.build("formats", "yolo", {}), "yolo", ["a", "b"])
    nothing = [Sample(s.id, s.image, Labels(size=s.image.shape[:2])) for s in boxes]
    export.refuse_the_unfit(nothing, plugins.build("formats", "imagefolder", {}), "imagefolder", ["a", "b"])


def test_croissant_says_what_the_card_says_in_the_terms_of_its_vocabulary(exported: Any) -> None:
    folder = exported()
    told = read_json(folder / "croissant.json")
    assert told["conformsTo"] == ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
    assert told["review"]["reviewBody"].startswith("PASS, with warnings: whether synthetic data helps cannot be told")
    assert (told["rai:hasSyntheticData"], told["rai:dataCollectionType"]) == (True, ["Synthetic"])
    assert any("can be told" in text for text in told["rai:dataBiases"])
    files = {x["@id"]: x for x in told["distribution"] if x["@type"] == "cr:FileObject"}
    assert set(files) == {"annotations.json", "losses.json", "annotations.json-images", "annotations.json-categories"}
    for entry in files.values():
        data = (folder / entry["contentUrl"]).read_bytes()
        assert (entry["sha256"], entry["contentSize"]) == (hashlib.sha256(data).hexdigest(), f"{len(data)} B")
    (images,) = [x for x in told["distribution"] if x["@type"] == "cr:FileSet"]
    assert len(list(folder.glob(images["includes"]))) == 14

    def order(value: Any) -> Iterator[bool]:
        if isinstance(value, dict):
            yield list(value) == sorted(value)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from order(inner)
    assert all(order(told))


def test_a_run_without_synthetic_data_does_not_claim_any(exported: Any) -> None:
    folder = exported(synthetic=False, pool=False, test=False)
    told = read_json(folder / "croissant.json")
    assert told["rai:hasSyntheticData"] is False
    assert "rai:dataCollectionType" not in told
    text = (folder / "DATASET_CARD.md").read_text("utf-8")
    assert "there is no synthetic data to judge" in text
    assert "The licence of the seed applies" in text
    assert "Not measured: the recipe names no test split." in text


@pytest.mark.parametrize("name", ["coco", "yolo", "masks", "shards"])
@pytest.mark.slow
def test_the_reference_reader_of_croissant_finds_no_error_and_reads_the_records(exported: Any, name: str) -> None:
    folder = exported(name, classes=HOSTILE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                 # of the libraries that it stands on
        logging.getLogger("absl").setLevel(logging.ERROR)
        import mlcroissant

        dataset = mlcroissant.Dataset(folder / "croissant.json")
        assert not dataset.metadata.ctx.issues.errors
        missing = re.findall(r'Property "[^"]*/(\w+)" is recommended', dataset.metadata.ctx.issues.report())
        assert set(missing) <= {"citeAs", "datePublished", "version"}
        if name != "coco":
            assert "recordSet" not in read_json(folder / "croissant.json")
            return
        written = read_json(folder / "annotations.json")
        for part in ("images", "categories", "annotations"):
            records = list(dataset.records(part))
            assert [r[f"{part}/id"] for r in records] == [x["id"] for x in written[part]]
        assert [r["annotations/bbox"] for r in records] == [x["bbox"] for x in written["annotations"]]


def test_the_table_for_a_pull_request_has_a_row_for_each_measurement_and_a_remedy_for_what_did_not_pass(
        fabricate: Fabricate) -> None:
    verdict = evaluate.verdict(load_run(fabricate(verdict="fail")))
    text = gate_table("dots", verdict)
    lines = text.splitlines()
    assert lines[0].startswith("## dots: REFUSED: ")
    assert lines[2] == "1. fail, integrity: 3 of 5 samples: two masks claim one pixel."
    verdicts = [line.split(" | ")[0][2:] for line in lines if re.match(r"\| (pass|fail|warn|inconc)", line)]
    assert len(verdicts) == len(verdict["measurements"])
    assert (verdicts[0], verdicts[-1]) == ("fail", "pass")
    for m in verdict["measurements"]:
        assert not m["remedy"] or m["verdict"] == "pass" or m["remedy"][1:] in text
    assert "4 of 7 measurements passed." in text


def test_the_table_shows_names_as_they_are_written() -> None:
    one = {"check": "c", "name": HOSTILE[0], "verdict": "warn", "value": 1.0, "unit": "", "why": HOSTILE[1],
           "interval": None, "n": [1, 0], "remedy": HOSTILE[2], "hard": False}
    page = Rendered(gate_table(HOSTILE[1], {"verdict": "warn", "measurements": [one]}))
    assert set(page.tags) <= TAGS
    assert page.tags.count("tr") == 2
    assert shown(HOSTILE[1]) in [text.replace("\u2060", "") for text in page.texts]


def test_a_verdict_is_said_once_beside_its_chip() -> None:
    why = "INCONCLUSIVE: ap50 is 0.6"
    assert once({"verdict": "inconclusive", "why": why}) == "ap50 is 0.6"
    assert once({"verdict": "fail", "why": "HARMS: ap50 is 0.6"}) == "HARMS: ap50 is 0.6"
    assert once({"verdict": "warn", "why": "4 of 5: two masks"}) == "4 of 5: two masks"


@pytest.mark.slow
def test_the_faces_say_where_the_dataset_is_or_that_there_is_none_and_why(fabricate: Fabricate) -> None:
    from synthgen.report import write_report

    wanted = {"done": "../7-export/coco (14 images)", "half": "There is no dataset yet",
              "refused": "There is no dataset: the gate refused it"}
    for name, said in wanted.items():
        until, verdict = "6-evaluate" if name == "half" else "7-export", "fail" if name == "refused" else "warn"
        folder = fabricate(name=name, until=until, verdict=verdict, test=False)
        page = write_report(load_run(folder))
        text = page.read_text("utf-8")
        assert said in text[text.index("<header"):text.index("<nav>")]
        summary = (page.parent / "summary.md").read_text("utf-8")
        assert said.replace("../", f"runs/{name}/") in summary
        assert "INCONCLUSIVE:" not in summary
    facts = {"exports": [], "state": "finished", "verdict": "pass", "stages": [{"stage": "7-export", "state": "none"}]}
    assert where(facts, "..") == "There is no dataset: the recipe names no format under export."


@pytest.mark.slow
def test_the_summary_counts_the_files_that_were_left_out_and_says_where_their_list_is(fabricate: Fabricate) -> None:
    from synthgen.report import write_report

    folder = fabricate()
    line = '{"file": "x%d.png", "item": "", "what": "cut off", "action": "%s"}\n'
    bad = "".join(line % (k, "quarantined") for k in range(3)) + line % (3, "repaired")
    (folder / "0-ingest/pool/quarantine.jsonl").write_text(bad)
    page = write_report(load_run(folder))
    said = ("3 files of the pool could not be used and were left out, each with its reason in "
            "0-ingest/pool/quarantine.jsonl.")
    assert said in (page.parent / "summary.md").read_text("utf-8")
    assert said in page.read_text("utf-8")
    assert "1 label of the pool was not taken as it stands (cut off), each with" in page.read_text("utf-8")
    long = {"left_out": {"quarantine": {"pool": {"count": 30, "items": [{"action": "quarantined"}] * 20}}}}
    assert unread(long) == ["30 items of the pool were left out or repaired, each with its reason in "
                            "0-ingest/pool/quarantine.jsonl."]


def test_the_card_counts_what_could_not_be_read(fabricate: Fabricate, tmp_path: Path) -> None:
    folder = fabricate()
    write_json(folder / "0-ingest/pool/summary.json", {"samples": 5, "quarantined": 3, "repaired": 1})
    text = (write(load_run(folder), "coco", tmp_path / "out") / "DATASET_CARD.md").read_text("utf-8")
    assert "- 3 items of the pool could not be used." in text
    assert "- 1 item of the pool had labels mended or left out." in text
    assert json.loads((tmp_path / "out" / "losses.json").read_text())["images"] == 14
    assert len(ingest.part(load_run(folder), "pool")) == 5

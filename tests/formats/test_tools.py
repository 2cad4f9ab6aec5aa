"""VOC, CVAT and Label Studio: what tools write beside what we write, and files that are wrong on purpose."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.errors import DataError
from synthgen.formats import Format, Problem, Reading
from synthgen.formats.cvat import Cvat
from synthgen.formats.detect import detect
from synthgen.formats.labelstudio import LabelStudio
from synthgen.formats.palette import palette
from synthgen.formats.rows import mask_of_rows, pack_rgba, runs_of_rows, unpack_rgba
from synthgen.formats.voc import Voc
from synthgen.geometry import decode
from synthgen.types import Labels, Sample

Make: TypeAlias = Callable[..., Sample]
Read: TypeAlias = Callable[..., Any]
TOOLS: dict[str, Format] = {"voc": Voc(), "cvat": Cvat(), "labelstudio": LabelStudio()}
# What label_studio_sdk 2.1.2's encode_rle gives for a 4 × 2 image whose pixels 1, 2, 3 and 5 are set, as RGBA.
BY_THE_SDK = [0, 0, 0, 32, 57, 27, 252, 96, 22, 255, 227, 0, 143, 254, 112, 0]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.floats(0, 1), st.integers(0, 2**32))
def test_any_mask_comes_back_from_both_kinds_of_run_lengths(h: int, w: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((h, w)) < share
    assert np.array_equal(unpack_rgba(pack_rgba(mask), (h, w)), mask)
    assert np.array_equal(mask_of_rows(", ".join(map(str, runs_of_rows(mask))), (h, w)), mask)


@pytest.mark.parametrize("value", [False, True])
def test_runs_longer_than_the_largest_length_are_split(value: bool) -> None:
    mask = np.full((300, 300), value)
    assert np.array_equal(unpack_rgba(pack_rgba(mask), (300, 300)), mask)


def test_the_brush_is_packed_as_the_tool_packs_it() -> None:
    mask = np.array([[0, 1, 1, 1], [0, 1, 0, 0]], bool)
    assert pack_rgba(mask) == BY_THE_SDK
    assert np.array_equal(unpack_rgba(BY_THE_SDK, (2, 4)), mask)


def test_a_brush_of_single_words_and_of_ones_is_understood() -> None:
    # As the JavaScript packs pixels that all differ: a chunk of 0, its size, its length less one, every word.
    words = [0, 0, 0, 255, 0, 0, 0, 9]
    bits = f"{8:032b}{7:05b}" + "".join(f"{b - 1:04b}" for b in (3, 4, 8, 16)) + "000" + f"{7:03b}"
    bits += "".join(f"{w:08b}" for w in words)
    packed = np.packbits(np.frombuffer(bits.encode(), np.uint8) - 48).tolist()
    assert unpack_rgba(packed, (1, 2)).tolist() == [[True, False]]
    ones = bits.replace(f"{255:08b}", f"{1:08b}").replace(f"{9:08b}", f"{0:08b}")
    packed = np.packbits(np.frombuffer(ones.encode(), np.uint8) - 48).tolist()
    assert unpack_rgba(packed, (1, 2)).tolist() == [[True, False]]


@pytest.mark.parametrize("rle", [None, [], [1, 2], ["a"], [300], pack_rgba(np.ones((3, 3), bool)), BY_THE_SDK[:9],
                                 [255] * 40, [0, 0, 0, 32, 58, 91, 253] + [255] * 30])
def test_damaged_brushes_are_refused(rle: Any) -> None:
    with pytest.raises(DataError, match="run lengths"):
        unpack_rgba(rle, (2, 4))


@pytest.mark.parametrize("name", TOOLS)
def test_empty_is_told_from_unknown_and_from_what_a_model_says(name: str, sample: Make, read: Read, tmp_path: Path,
                                                               class_names: Any) -> None:
    looked = sample([], sample_id="a")
    model = replace(sample([], sample_id="b"), labels=Labels((9, 7), masks=(), reviewed="model"))
    unknown = replace(sample([], sample_id="c"), labels=None)
    TOOLS[name].write([looked, model, unknown], tmp_path / "out", class_names)
    found, problems = read(TOOLS[name], tmp_path / "out")
    assert problems == []
    assert [s.labels is not None and (s.labels.reviewed, s.labels.empty) for s in found] == [
        ("human", "confirmed"), ("model", "unknown"), False]
    assert detect(tmp_path / "out") == name


@pytest.mark.parametrize("name", TOOLS)
def test_a_document_type_or_no_document_is_an_error_with_its_place(name: str, sample: Make, tmp_path: Path,
                                                                   class_names: Any) -> None:
    TOOLS[name].write([sample([np.ones((4, 4), bool)])], tmp_path / "out", class_names)
    file = {"voc": "Annotations/000000.xml", "cvat": "annotations.xml", "labelstudio": "tasks.json"}[name]
    bombs = ['<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object>&x;</object></annotation>',
             "<annotation>" * 5000, "<annotation><object>", "", "\x00", "[{", "3", "<other/>"]
    for text in bombs:
        (tmp_path / "out" / file).write_text(text)
        if name == "voc":                                         # one bad file of many
            (problem,) = TOOLS[name].read(tmp_path / "out", class_names, Reading())
            assert isinstance(problem, Problem)
            assert (problem.file, problem.action) == (file, "quarantined")
            continue
        with pytest.raises(DataError, match=file):
            list(TOOLS[name].read(tmp_path / "out", class_names, Reading()))


def test_what_is_wrong_in_cvat_is_told_with_its_place(sample: Make, read: Read, tmp_path: Path) -> None:
    Cvat().write([sample([np.ones((8, 10), bool)])], tmp_path, ["cell"])
    shapes = [
        '<box label="cell" xtl="1" ytl="1" xbr="5" ybr="9.2"/>', '<box label="cell" xtl="5" ytl="1" xbr="1" ybr="3"/>',
        '<box label="cell" xtl="a" ytl="1" xbr="1" ybr="3"/>', '<box label="cell" xtl="50" ytl="1" xbr="60" ybr="3"/>',
        '<box label="dog" xtl="1" ytl="1" xbr="2" ybr="2"/>', '<ellipse label="cell" cx="1" cy="1" rx="1" ry="1"/>',
        '<polygon label="cell" points="1,1;4,1;4,4;1,4"/>', '<polygon label="cell" points="1,1;4"/>',
        '<polygon label="cell" points="1,1;4,1e9;3,3"/>', '<polygon label="cell" points="nan,1;4,1;3,3"/>',
        '<mask label="cell" rle="0, 4" left="0" top="0" width="2" height="2"/>',
        '<mask label="cell" rle="0, 5" left="0" top="0" width="2" height="2"/>',
        '<mask label="cell" rle="4" left="0" top="0" width="2" height="2"/>',
        '<mask label="cell" rle="0, 4" left="9" top="0" width="2" height="2"/>',
        '<mask label="cell" rle="x" left="0" top="0" width="2" height="2"/>', '<tag label="dog"/>',
    ]
    xml = f'<annotations><image name="000000.png" width="10" height="8">{"".join(shapes)}</image>'
    xml += '<image name="../x.png"/><image name="000000.png"/><image name="none.png"/></annotations>'
    (tmp_path / "annotations.xml").write_text(xml)
    (found,), problems = read(Cvat(), tmp_path, ["cell"])
    assert [int(m.sum()) for m in decode(found.labels.masks, found.labels.size)] == [9, 4]
    assert found.labels.ignore is not None                        # the first box, among masks
    kinds = {p.item.split()[0] for p in problems if p.file == "000000.png"}
    assert kinds == {"box", "ellipse", "polygon", "mask", "tag"}
    assert len([p for p in problems if p.file == "000000.png" and "left out" in p.what]) == 13
    assert {(p.file, p.action) for p in problems if p.action == "quarantined"} >= {
        ("../x.png", "quarantined"), ("none.png", "quarantined")}
    assert Cvat().classes(tmp_path) == ["cell", "dog"]


def test_what_is_wrong_in_label_studio_is_told_with_its_place(sample: Make, read: Read, tmp_path: Path) -> None:
    LabelStudio().write([sample([np.ones((8, 10), bool)])], tmp_path, ["cell"])

    def region(kind: str, size: tuple[int, int] = (8, 10), **value: Any) -> dict[str, Any]:
        return {"type": kind, "original_height": size[0], "original_width": size[1], "value": {kind: ["cell"], **value}}

    box = {"x": 10, "y": 25, "width": 30, "height": 50}
    results = [
        region("rectanglelabels", **box), region("rectanglelabels", **{**box, "width": 300}),
        region("rectanglelabels", **{**box, "x": 101}), region("rectanglelabels", **{**box, "height": -1}),
        region("rectanglelabels", **{**box, "x": "1"}), region("rectanglelabels", **{**box, "x": 1e308}),
        region("rectanglelabels", (9, 10), **box), region("rectanglelabels", x=1),
        region("rectanglelabels", **{**box, "rectanglelabels": ["dog"]}),
        region("rectanglelabels", **{**box, "rectanglelabels": ["cell", "dog"]}),
        region("ellipselabels", x=1, y=1), region("rectanglelabels", **{**box, "rotation": 90}),
        {"type": "rectanglelabels"}, {"type": 3, "value": 4}, 7, {},
    ]
    ok = {"id": 1, "data": {"image": "/data/upload/1/0a1b2c3d-000000.png"}, "annotations": [{"result": results}]}
    tasks = [ok, ok, 3, {}, {"data": {"image": "http://[x"}}, {"data": {"image": "/data/local-files/?d=../../x.png"}},
             {"data": {"image": 3}}]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    (found,), problems = read(LabelStudio(), tmp_path, ["cell"])
    assert found.labels.boxes.tolist() == [[1, 2, 4, 6], [1, 2, 10, 6], [0, 2, 1, 5]]
    assert found.labels.reviewed == "human"
    assert len([p for p in problems if p.action == "quarantined"]) == 6
    assert len([p for p in problems if "left out" in p.what]) == 13
    assert sorted(p.what for p in problems if p.action == "repaired" and "left out" not in p.what) == [
        "it is turned; the upright box around it is taken", "it stands over the frame; it is clipped"]


def test_what_is_wrong_in_voc_is_told_with_its_place(read: Read, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        PIL.Image.new("RGB", (10, 8)).save(tmp_path / f"{name}.png")          # LabelImg: the XML beside the image
    PIL.Image.new("RGB", (10, 8)).save(tmp_path / "d.png")

    def written(*boxes: str, width: int = 10) -> str:
        objects = ""
        for box in boxes:
            sides = zip(("xmin", "ymin", "xmax", "ymax"), box.replace("dog", "").split(), strict=False)
            objects += f"<object><name>{'dog' if 'dog' in box else 'cell'}</name><bndbox>"
            objects += "".join(f"<{t}>{v}</{t}>" for t, v in sides) + "</bndbox></object>"
        return f"<annotation><size><width>{width}</width><height>8</height></size>{objects}</annotation>"

    wrong = ("4 2 1 6", "1 2 40 6", "90 2 99 6", "x 2 3 4", "1 1 2 2dog", "1 2")
    (tmp_path / "a.xml").write_text(written("1 2 4 6", *wrong))
    (tmp_path / "b.xml").write_text(written("1 2 4 6", width=20))
    (tmp_path / "c.xml").write_text(written())
    (tmp_path / "e.xml").write_text(written())
    assert detect(tmp_path) == "voc"
    found, problems = read(Voc(), tmp_path, ["cell"])
    assert [None if s.labels is None else len(s.labels) for s in found] == [2, 0, None]
    assert found[1].labels.empty == "confirmed"
    assert found[0].labels.boxes.tolist() == [[1, 2, 4, 6], [1, 2, 10, 6]]
    assert {(p.file, p.item, p.action) for p in problems} == {
        *(("a.xml", f"object {k}", "repaired") for k in (2, 3, 4, 5, 6, 7)),
        ("b.xml", "", "quarantined"), ("e.xml", "", "quarantined")}
    assert Voc().classes(tmp_path) == ["cell", "dog"]


def test_a_mask_goes_to_the_object_whose_box_it_fits_and_a_stale_one_is_told(
    sample: Make, read: Read, tmp_path: Path
) -> None:
    a, b, c = np.zeros((3, 20, 30), bool)
    a[1:9, 1:9], b[1:9, 15:25], c[12:18, 4:12] = True, True, True
    Voc().write([sample([a, b, c], classes=[0, 1, 0])], tmp_path, ["x", "y"])
    file = tmp_path / "Annotations" / "000000.xml"
    text = file.read_text()
    first = text[text.index("  <object>") : text.index("</object>\n") + len("</object>\n")]
    # LabelImg: the first object is deleted, another is drawn where no mask is, the second is moved by 4 px.
    changed = text.replace(first, "").replace("<xmin>15</xmin>", "<xmin>19</xmin>").replace(
        "</annotation>", first.replace("<ymin>1<", "<ymin>11<").replace("<ymax>9<", "<ymax>19<").replace(
            "<xmin>1<", "<xmin>20<").replace("<xmax>9<", "<xmax>28<") + "</annotation>")
    file.write_text(changed)
    (found,), problems = read(Voc(), tmp_path, ["x", "y"])
    assert found.labels.classes.tolist() == [1, 0]
    assert np.array_equal(decode(found.labels.masks, (20, 30)), np.stack([b, c]))
    assert found.labels.ignore is not None
    assert [(p.item, p.what.split(";")[0]) for p in problems] == [
        ("object 1", "its box and its mask are 4 px apart"), ("object 3", "it has a box and no mask, unlike others"),
        ("mask 1", "no object of the XML has its place")]


def test_masks_that_a_tool_painted_in_colours_are_read(sample: Make, read: Read, masks_of: Any, tmp_path: Path) -> None:
    a, b = np.zeros((2, 9, 9), bool)
    a[2:4, 2:4], b[5:7, 5:8] = True, True
    one = sample([a, b])
    Voc().write([one], tmp_path, ["x"])
    file = tmp_path / "SegmentationObject" / "000000.png"
    with PIL.Image.open(file) as image:
        colours = palette()[np.asarray(image)]
    PIL.Image.fromarray(colours).save(file)
    (found,), problems = read(Voc(), tmp_path, ["x"])
    assert problems == []
    assert np.array_equal(masks_of(found), masks_of(one))
    colours[0, 0] = 1
    PIL.Image.fromarray(colours).save(file)
    assert "colours that are not" in read(Voc(), tmp_path, ["x"])[1][0].what


@pytest.mark.parametrize("first", [0, 1])
def test_voc_counts_columns_from_where_it_is_told(first: int, sample: Make, read: Read, tmp_path: Path) -> None:
    form = Voc(kind="boxes", counts_from=first)                   # type: ignore[arg-type]
    mask = np.zeros((9, 9), bool)
    mask[0:4, 0:1] = True
    form.write([sample([mask])], tmp_path, ["x"])
    text = (tmp_path / "Annotations" / "000000.xml").read_text()
    assert f"<xmin>{first}</xmin>" in text
    assert "<xmax>1</xmax>" in text
    (found,), _ = read(form, tmp_path, ["x"])
    assert found.labels.boxes.tolist() == [[0, 0, 1, 4]]


def test_names_that_a_file_cannot_hold_are_refused(tmp_path: Path) -> None:
    for form, name in ((Voc(), "a\x01"), (Cvat(), "a\x01"), (LabelStudio(), "\x02"), (Voc(), "a\nb"), (Voc(), "#a"),
                       (Cvat(), "synthgen: image")):
        with pytest.raises(DataError, match="class name"):
            form.write([], tmp_path / "out", [name])
    with pytest.raises(DataError, match="254 classes"):
        Voc().write([], tmp_path / "out", [str(k) for k in range(255)])


def test_a_cvat_polygon_and_a_turned_box_are_read_as_drawn(sample: Make, read: Read, tmp_path: Path) -> None:
    Cvat().write([sample([np.ones((20, 20), bool)])], tmp_path, ["cell"])
    turned = '<box label="cell" xtl="5" ytl="5" xbr="15" ybr="9" rotation="90"/>'
    head, tail = '<annotations><image name="000000.png" width="20" height="20">', "</image></annotations>"
    (tmp_path / "annotations.xml").write_text(head + turned + tail)
    (found,), problems = read(Cvat(), tmp_path, ["cell"])
    assert problems == []                                          # by a quarter it is upright again
    assert found.labels.boxes.tolist() == [[8, 2, 12, 12]]
    (tmp_path / "annotations.xml").write_text(head + turned.replace("90", "30") + tail)
    (found,), problems = read(Cvat(), tmp_path, ["cell"])
    assert "turned" in problems[0].what
    assert np.allclose(found.labels.boxes, [[4.670, 2.768, 15.330, 11.232]], atol=1e-3)
    square = '<polygon label="cell" points="0,0;4,0;4,4;0,4"/>'
    (tmp_path / "annotations.xml").write_text(head + turned.replace("90", "30") + square + tail)
    (found,), problems = read(Cvat(), tmp_path, ["cell"])
    assert problems == []
    box, corner = (int(m.sum()) for m in decode(found.labels.masks, (20, 20)))
    assert abs(box - 40) <= 3
    assert corner == 16

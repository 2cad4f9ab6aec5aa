"""What was committed is read back exactly; what was not is not there."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen import store
from synthgen.errors import DataError
from synthgen.geometry import encode
from synthgen.store import Joined, Stored, Subset, labels_from_json, labels_to_json, write_all, write_shard
from synthgen.testing import digest, tiny_real
from synthgen.types import Labels, Origin, Sample

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
UNIT = st.floats(0, 1, width=32)
WORDS = st.text(max_size=8)


@st.composite
def labels(draw: st.DrawFn) -> Labels:
    n, size = draw(st.integers(0, 3)), (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    many = lambda values: draw(st.lists(values, min_size=n, max_size=n))  # noqa: E731
    masks = np.asarray(
        [[[draw(st.booleans()) for _ in range(size[1])] for _ in range(size[0])] for _ in range(n)], bool
    )
    masks = masks.reshape(n, *size)
    rles = encode(masks)
    return Labels(
        size,
        np.asarray(many(st.integers(0, 9)), np.int64),
        np.asarray(many(st.tuples(UNIT, UNIT, UNIT, UNIT))).reshape(-1, 4),
        masks=draw(st.sampled_from([rles, None])),
        amodal=draw(st.sampled_from([rles, None])),
        scores=np.asarray(many(UNIT), np.float32),
        visible=np.asarray(many(st.one_of(UNIT, st.just(float("nan")))), np.float32),
        truncated=np.asarray(many(st.booleans()), bool),
        states=tuple(many(st.sampled_from(["accepted", "ignored", "to_review"]))),
        ignore=draw(st.sampled_from([None, encode(np.ones((1, *size), bool))[0]])),
        image_class=draw(st.sampled_from([None, 0, 3])),
        image_score=draw(UNIT),
        image_state=draw(st.sampled_from(["accepted", "to_review"])),
        reviewed=draw(st.sampled_from(["none", "model", "human"])),
        empty=draw(st.sampled_from(["unknown", "confirmed"])),
    )


@QUICK
@given(labels())
def test_labels_come_back_from_json_with_everything_that_was_known(known: Labels) -> None:
    text = json.dumps(labels_to_json(known), allow_nan=False)
    back = labels_from_json(json.loads(text))
    assert json.dumps(labels_to_json(back)) == text
    for name in Labels.__dataclass_fields__:
        a, b = getattr(known, name), getattr(back, name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            assert np.allclose(a, b, rtol=0, atol=1e-6, equal_nan=True), name
        else:
            assert a == b, name


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    labels(),
    st.builds(
        Origin,
        st.sampled_from(["real", "synthetic", "pseudo"]),
        WORDS,
        WORDS,
        WORDS,
        st.one_of(st.none(), st.integers(0, 2**63 - 1)),
        st.lists(WORDS, max_size=2).map(tuple),
        st.sampled_from(["person", "construction", "model"]),
    ),
    st.dictionaries(WORDS, st.one_of(WORDS, st.integers(), st.booleans(), st.lists(UNIT, max_size=2)), max_size=2),
)
def test_samples_come_back_from_a_shard(known: Labels, origin: Origin, meta: dict[str, object]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*known.size, 3), dtype=np.uint8)
    samples = [Sample("a", image, known, origin, meta), Sample("größe", image[:1], None, origin)]
    with TemporaryDirectory() as folder:
        write_shard(Path(folder), 0, samples)
        back = Stored(Path(folder))
        assert [s.id for s in back] == ["a", "größe"]
        for one, two in zip(samples, back, strict=True):
            assert np.array_equal(one.image, two.image)
            assert (one.origin, dict(one.meta), one.labels is None) == (two.origin, dict(two.meta), two.labels is None)
        assert labels_to_json(back.labels(0)) == labels_to_json(known)


def test_a_shard_of_nothing_is_a_dataset_of_nothing(tmp_path: Path) -> None:
    write_all(tmp_path, [])
    assert store.committed(tmp_path) == [0]
    assert list(Stored(tmp_path)) == []
    assert list(Stored()) == []


def test_the_same_samples_give_the_same_bytes_and_a_tar_that_others_read(tmp_path: Path) -> None:
    for name in "ab":
        write_all(tmp_path / name, tiny_real(3), 2)
    assert [(tmp_path / "a" / f).read_bytes() for f in ("00000.tar", "00001.tar", "00001.json")] == [
        (tmp_path / "b" / f).read_bytes() for f in ("00000.tar", "00001.tar", "00001.json")
    ]
    with tarfile.open(tmp_path / "a" / "00000.tar") as tar:
        assert tar.getnames() == [f"real-00000{k}.{kind}" for k in range(2) for kind in ("png", "json")]


def test_a_tar_without_its_commit_mark_is_not_there(tmp_path: Path) -> None:
    write_all(tmp_path, tiny_real(3), 1)
    (tmp_path / "00001.json").unlink()
    assert [s.id for s in Stored(tmp_path)] == ["real-000000", "real-000002"]


def test_half_a_file_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_atomic(tmp_path / "x.json", b"old")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store.os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        store.write_atomic(tmp_path / "x.json", b"new")
    assert (tmp_path / "x.json").read_bytes() == b"old"


@pytest.mark.parametrize("bad", ["a.b", "a/b", "../a"])
def test_an_id_that_a_tar_member_cannot_carry_is_refused(bad: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dots and slashes"):
        write_shard(tmp_path, 0, [replace(tiny_real(1)[0], id=bad)])
    assert store.committed(tmp_path) == []


def test_a_value_that_json_has_not_is_refused_and_nothing_is_committed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_shard(tmp_path, 0, [replace(tiny_real(1)[0], meta={"score": float("nan")})])
    assert store.committed(tmp_path) == []


def test_stored_subset_and_joined_are_indexed_like_lists(tmp_path: Path) -> None:
    real = tiny_real(5)
    write_all(tmp_path / "a", real[:3], 2)
    write_all(tmp_path / "b", real[3:], 2)
    stored, subset = Stored(tmp_path / "a", tmp_path / "b"), Subset(Stored(tmp_path / "a"), [2, 0])
    joined = Joined(Stored(tmp_path / "a"), [], Stored(tmp_path / "b"))
    for data, ids in ((stored, range(5)), (subset, (2, 0)), (joined, range(5))):
        names = [f"real-{k:06d}" for k in ids]
        assert len(data) == len(names)
        assert [s.id for s in data] == names
        assert [data[k].id for k in range(-len(names), 0)] == names
        assert [s.id for s in data[1:]] == names[1:]
        assert [s.id for s in data[::-1]] == names[::-1]
        for outside in (len(names), -len(names) - 1):
            with pytest.raises(IndexError):
                data[outside]
    assert [digest(s) for s in stored] == [digest(s) for s in real]
    assert len(Joined()) == 0


def test_a_subset_shows_the_labels_that_it_was_given_in_place_of_the_stored_ones(tmp_path: Path) -> None:
    write_all(tmp_path, tiny_real(3))
    other = Labels((64, 80), empty="confirmed")
    subset = Subset(Stored(tmp_path), [2, 1], {"1": labels_to_json(other)})
    assert (len(subset[0].labels) > 0, len(subset[1].labels), len(subset.labels(1))) == (True, 0, 0)
    assert subset[1].labels.empty == "confirmed"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_shards_hold_as_many_samples_as_asked_for_and_lose_none(size: int, tmp_path: Path) -> None:
    write_all(tmp_path, tiny_real(4), size)
    assert [s.id for s in Stored(tmp_path)] == [f"real-{k:06d}" for k in range(4)]
    assert len(store.committed(tmp_path)) == -(-4 // size)

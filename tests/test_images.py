"""Images of every mode and orientation come in as the person who looked at them saw them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.errors import DataError
from synthgen.images import from_png, hash_image, image_size, list_images, png_bytes, read_ids, read_image

GREY = np.array([[0, 100, 255], [10, 20, 30]], np.uint8)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    PIL.Image.fromarray(GREY).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.repeat(GREY[..., None], 3, 2))


@pytest.mark.parametrize(
    ("bits", "value", "seen"), [(16, 65535, 255), (16, 256, 1), (12, 4095, 255), (12, 65535, 255)]
)
def test_sixteen_bit_grey_is_scaled_by_the_bits_it_uses(
    tmp_path: Path, bits: int, value: int, seen: int
) -> None:
    PIL.Image.fromarray(np.full((2, 3), value, np.uint16)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", bits=bits) == seen).all()  # type: ignore[arg-type]  # from a table


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    PIL.Image.fromarray(GREY > 50).save(tmp_path / "a.png")
    assert set(np.unique(read_image(tmp_path / "a.png"))) == {0, 255}


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_put_over_black(tmp_path: Path, mode: str) -> None:
    image = PIL.Image.new(mode, (3, 2), (200, 100, 50, 0) if mode == "RGBA" else (200, 0))
    image.putpixel((1, 1), (200, 100, 50, 255) if mode == "RGBA" else (200, 255))
    image.save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert found[0, 0].tolist() == [0, 0, 0]
    assert found[1, 1, 0] == 200


def test_cmyk_is_rgb(tmp_path: Path) -> None:
    PIL.Image.new("CMYK", (4, 3), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    r, g, b = read_image(tmp_path / "a.jpg")[1, 1]
    assert r > 200
    assert max(g, b) < 60


def test_a_palette_is_shown_as_its_colours(tmp_path: Path) -> None:
    image = PIL.Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [10, 20, 30]


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [PIL.Image.new("RGB", (5, 4), c) for c in ((255, 0, 0), (0, 255, 0))]
    for name in ("a.gif", "a.webp", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert read_image(tmp_path / name)[0, 0, 0] > 240, name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
    # What a camera stores so that the tag turns it upright: the inverse of the turn, by the EXIF standard.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright, 1), 7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    PIL.Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), upright)
    assert image_size(tmp_path / "a.png") == (2, 3)


def test_sixteen_bit_grey_with_an_orientation_is_turned(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(np.zeros((2, 5), np.uint16)).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png").shape == (5, 2, 3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=f"{name}: the file is damaged or cut off"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header promises a size, and little else."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(png_header(side, side))
    for read in (read_image, read_ids, image_size):
        with pytest.raises(DataError, match=r"a\.png"):
            read(tmp_path / "a.png")


def test_a_smaller_limit_is_kept(tmp_path: Path) -> None:
    PIL.Image.fromarray(GREY).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="max_pixels"):
        read_image(tmp_path / "a.png", max_pixels=5)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read_image(tmp_path / "a.png")


def test_ids_are_read_from_sixteen_bits_and_from_palettes_as_numbers(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.array([[0, 300, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert read_ids(tmp_path / "a.png").tolist() == [[0, 300, 65535]]
    image = PIL.Image.fromarray(np.array([[0, 2, 255]], np.uint8)).convert("L")
    image.putpalette([7] * 768)
    image.save(tmp_path / "b.png")
    assert read_ids(tmp_path / "b.png").tolist() == [[0, 2, 255]]


def test_colours_are_no_ids(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (2, 2), (0, 2, 0)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="one channel"):
        read_ids(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_grey_that_was_saved_in_colour_is_ids(tmp_path: Path, mode: str) -> None:
    ids = np.array([[0, 3], [255, 1]], np.uint8)
    PIL.Image.fromarray(np.dstack([ids] * 3)).convert(mode).save(tmp_path / "a.png")
    assert read_ids(tmp_path / "a.png").tolist() == ids.tolist()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32))
def test_png_gives_the_pixels_back_and_the_same_bytes_each_time(h: int, w: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    assert np.array_equal(from_png(png_bytes(image)), image)
    assert png_bytes(image) == png_bytes(image)


def test_a_hash_tells_shapes_apart() -> None:
    assert hash_image(np.zeros((2, 3, 3), np.uint8)) != hash_image(np.zeros((3, 2, 3), np.uint8))


def test_hidden_files_are_not_listed(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", ".c.png", ".d/e.png", "f/g.tif", "h.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in list_images(tmp_path)] == [
        "a.JPG",
        "b.png",
        "f/g.tif",
    ]


def test_the_size_of_a_png_that_is_cut_off_is_refused_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="damaged or cut off"):
        image_size(path)

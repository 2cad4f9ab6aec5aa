"""The shipped labelling functions: what each must keep, and what each is for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from synthgen import plugins
from synthgen.errors import DataError, PluginError
from synthgen.geometry import decode
from synthgen.metrics.accuracy import ap50_stardist, score_image
from synthgen.testing import tiny_context, tiny_real
from synthgen.testing.function import check_function
from synthgen.types import Labels
from synthgen_functions import Otsu
from synthgen_functions.classic import split


def discs(*centres: tuple[int, int, int], size: tuple[int, int] = (60, 90), grey: int = 200) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    image = np.full((*size, 3), 30, np.uint8)
    for cy, cx, r in centres:
        image[(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = grey
    return image


@pytest.mark.parametrize("name", ["otsu", "colour", "size"])
def test_functions_keep_their_promises(name):
    check_function(plugins.build("functions", name, {}))


def test_template_keeps_its_promises(tmp_path):
    PIL.Image.fromarray(tiny_real(1)[0].image[10:22, 10:22]).save(tmp_path / "crop.png")
    check_function(plugins.build("functions", "template", {"file": str(tmp_path / "crop.png")}))


def test_otsu_finds_every_disc_and_cuts_touching_ones_apart():
    found = Otsu()(discs((15, 15, 8), (30, 50, 10), (30, 67, 9), (50, 10, 1)))
    assert len(found) == 3                            # the disc of 5 px is below min_area
    assert int(decode(found.masks, found.size).sum(0).max()) == 1
    truth = discs((15, 15, 8), (30, 50, 10), (30, 67, 9))[..., 0] > 100
    assert (decode(found.masks, found.size).any(0) ^ truth).sum() < 40


def test_otsu_sees_dark_objects_only_when_told():
    dark = 255 - discs((20, 20, 8))
    assert len(Otsu(polarity="dark")(dark)) == 1
    assert len(Otsu()(np.full((9, 9, 3), 7, np.uint8))) == 0


def test_otsu_on_tiny_real_images_is_a_fair_labeler():
    tiles = tiny_real(6, classes=1)
    assert ap50_stardist([score_image(Otsu()(t.image), t.labels) for t in tiles]) > 0.5


def test_splitting_loses_no_pixel_and_invents_none():
    rng = np.random.default_rng(0)
    for inside in (rng.random((40, 50)) < 0.6, np.ones((7, 9), bool), np.zeros((5, 5), bool), np.ones((1, 1), bool)):
        assert ((split(inside, 3) > 0) == inside).all()


def test_colour_takes_hues_around_red():
    image = np.zeros((20, 60, 3), np.uint8)
    image[5:15, 5:15], image[5:15, 25:35], image[5:15, 45:55] = (250, 10, 20), (250, 60, 10), (10, 250, 10)
    red = plugins.build("functions", "colour", {"hue": [340, 30], "saturation": [0.5, 1.0], "value": [0.5, 1.0]})
    assert red(image).boxes[:, 0].tolist() == [5, 25]


def test_template_finds_the_places_that_look_like_it_and_abstains_from_smaller_images(tmp_path):
    image = discs((15, 15, 6), (40, 60, 6))
    PIL.Image.fromarray(image[7:24, 7:24]).save(tmp_path / "disc.png")
    find = plugins.build("functions", "template", {"file": str(tmp_path / "disc.png"), "threshold": 0.9})
    assert sorted(find(image).boxes.tolist()) == [[7, 7, 24, 24], [52, 32, 69, 49]]
    assert find(image[:10]) is None


def test_a_template_of_one_grey_is_refused(tmp_path):
    PIL.Image.fromarray(np.full((5, 5, 3), 9, np.uint8)).save(tmp_path / "flat.png")
    with pytest.raises(DataError, match="correlates with nothing"):
        plugins.build("functions", "template", {"file": str(tmp_path / "flat.png")})(discs())


def test_size_drops_what_is_out_of_range_by_mask_or_by_box():
    found = Otsu()(discs((15, 15, 4), (30, 50, 10)))
    rule = plugins.build("functions", "size", {"min_area": 100})
    assert len(rule(discs(), found)) == 1
    assert len(rule(discs(), Labels((60, 90), found.classes, found.boxes))) == 1
    with pytest.raises(PluginError, match="below min_area"):
        plugins.build("functions", "size", {"min_area": 10, "max_area": 5})


def test_a_class_is_named_as_in_the_recipe(tmp_path):
    otsu = Otsu(class_name="class 1")
    otsu.prepare(tiny_context(tmp_path))
    assert otsu(discs((15, 15, 8))).classes.tolist() == [1]
    with pytest.raises(DataError, match="no class 'cell'; the recipe has class 0, class 1"):
        Otsu(class_name="cell").prepare(tiny_context(tmp_path))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    from synthgen_labeler.inference import CompactLabeler, Settings
    from synthgen_labeler.network import Shape, build

    network = build(Shape(classes=2, dense=True, width=8), "random", 0)
    CompactLabeler(network, Settings("instances", ("class 1", "other"))).save(tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_labeler_votes_with_its_classes_matched_by_name(saved, tmp_path):
    check_function(plugins.build("functions", "labeler", {"path": str(saved), "accept": 0.0, "tta": False}))
    cats = replace(tiny_context(tmp_path), classes=("cat",))
    with pytest.raises(DataError, match="none of the recipe's classes"):
        plugins.build("functions", "labeler", {"path": str(saved)}).prepare(cats)
    with pytest.raises(DataError, match=r"labeler\.json is missing"):
        plugins.build("functions", "labeler", {"path": str(tmp_path)}).prepare(tiny_context(tmp_path))


def test_what_changes_the_image_or_its_mind_is_caught():
    def spoils(image):
        image[:] = 0
        return Labels((image.shape[0], image.shape[1]))

    class Moody:
        turns = 0

        def __call__(self, image):
            self.turns += 1
            return None if self.turns % 2 else Labels((image.shape[0], image.shape[1]))

    for function, why in ((spoils, "changed the image"), (Moody(), "another thing"),
                          (lambda _: Labels((3, 3)), "the image is"), (lambda _: 4, "gives Labels")):
        with pytest.raises(AssertionError, match=why):
            check_function(function)

"""The compositor on seeds as they come: tiny, full, dull, partly ignored; and the parts that it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydantic
import pytest

from synthgen import plugins
from synthgen.errors import DataError
from synthgen.geometry import decode, encode, id_map, labels_from_ids, labels_from_masks
from synthgen.layouts import survey
from synthgen.layouts.painted import Painted
from synthgen.layouts.resample import transformed
from synthgen.noise import NoiseModel, grain, noise_model, restore_noise
from synthgen.seeds import rng_of
from synthgen.testing import check_generator, digest, tiny_context, tiny_real
from synthgen.types import Placed, Sample
from synthgen_compose import Compose
from synthgen_compose.background import fitted, object_free, pull_push
from synthgen_compose.bank import RIM, cut, denoised
from synthgen_compose.render import canvas_on, paint, stamped

OPTIONS = [{"layout": a, "background": (b,)} for a, b in product(("resample", "warp", "shape"), ("inpaint", "keep"))]
OPTIONS += [{"layout": "resample", "background": ("inpaint", "keep"), "size": (48, 40), "blend": ("hard", "add")}]


def image_of(size: tuple[int, int], *masks: Any, grey: int = 60) -> Sample:
    stack = np.stack(masks) if masks else np.zeros((0, *size), bool)
    pixels = np.full((*size, 3), grey, np.float64)
    pixels[stack.any(0)] = 180
    pixels += rng_of(len(masks)).normal(0, 3, pixels.shape)
    labels = labels_from_masks(stack, [0] * len(stack), reviewed="human")
    return Sample(f"made-{len(masks)}", np.clip(pixels, 0, 255).astype(np.uint8), labels)


def block(size: tuple[int, int], top: int, left: int, bottom: int, right: int) -> Any:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def made(real: list[Sample], n: int = 4, folder: Path = Path(), **options: Any) -> list[Sample]:
    generator = Compose(**options)
    generator.fit(real, [], tiny_context(folder))
    return list(generator.sample([k << 8 for k in range(n)]))


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: f"{o['layout']} {'+'.join(o['background'])}")
def test_the_promises_hold_with_all_sorts_of_options(options: dict[str, Any]) -> None:
    check_generator(Compose(**options), tiny_real(3))


@pytest.mark.slow
def test_the_promises_hold_with_backgrounds_of_the_users_own(tmp_path: Path) -> None:
    for k, size in enumerate([(70, 90), (20, 30)]):
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.full((*size, 3), 30 + k, np.uint8))
    samples = made(tiny_real(3), folder=tmp_path, background=(tmp_path,), layout="resample", density=(0.2, 0.3))
    assert {s.meta["background"] for s in samples} == {"folder"}
    assert {s.origin.parents[0] for s in samples} <= {"0.png", "1.png"}
    check_generator(Compose(layout="resample", background=(tmp_path,)), tiny_real(3))


def test_a_folder_without_images_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images here"):
        made(tiny_real(2), background=(tmp_path,), layout="resample")


@pytest.mark.parametrize(
    "options",
    [
        {"density": (2.0, 1.0)},
        {"density": (0.0, 1.0)},
        {"blend": ()},
        {"blend": ("soft",)},
        {"touching": 1.5},
        {"size": (4, 50)},
        {"background": ()},
        {"layout": "none"},
        {"gain": 1},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        Compose(**options)
    assert plugins.problems(Compose, options)


@pytest.mark.slow
def test_sample_k_does_not_depend_on_what_else_the_bank_was_asked_for() -> None:
    generator = Compose(layout="warp")
    generator.fit(tiny_real(4), [], tiny_context(Path()))
    alone = digest(next(iter(generator.sample([9 << 8]))))
    for _ in generator.sample([k << 8 for k in range(70)]):  # more seed images than the cache holds, in any order
        pass
    assert digest(next(iter(generator.sample([9 << 8])))) == alone


@pytest.mark.slow
@pytest.mark.parametrize("background", ["inpaint", "keep"])
def test_blends_that_share_a_layout_are_what_each_is_alone(background: Any) -> None:
    generator = Compose(layout="shape", background=(background,), blend=("poisson", "add", "feather", "hard"))
    generator.fit(tiny_real(3), [], tiny_context(Path()))
    seeds = [(layout << 8) + blend for layout in (3, 4) for blend in range(4)]
    alone = [digest(next(iter(generator.sample([seed])))) for seed in seeds]
    assert [digest(sample) for sample in generator.sample(seeds)] == alone
    assert [digest(sample) for sample in generator.sample(seeds[::-1])] == alone[::-1]


def test_two_roots_make_the_same_layout_of_the_same_seed_and_other_fillings() -> None:
    real = tiny_real(3)
    pair = []
    for root in (1, 2):
        generator = Compose(layout="resample")
        generator.fit(real, [], replace(tiny_context(Path()), seed=root))
        pair.append(next(iter(generator.sample([0]))))
    assert pair[0].labels.masks == pair[1].labels.masks


def test_a_seed_without_objects_is_refused() -> None:
    with pytest.raises(DataError, match="nothing to compose from"):
        made([image_of((30, 30))], layout="resample")


def test_unlabelled_images_among_the_seed_are_left_out() -> None:
    real = tiny_real(3)
    mixed = [replace(real[0], id="bare", labels=None), *real]
    samples = made(mixed, layout="resample")
    assert all("bare" not in s.origin.parents for s in samples)


@pytest.mark.parametrize("size", [(8, 8), (9, 24), (24, 24), (13, 40)])
@pytest.mark.parametrize("layout", ["resample", "warp"])
def test_images_of_a_few_pixels_can_be_composed_from(size: tuple[int, int], layout: Any) -> None:
    for sample in made([image_of(size, block(size, 0, 0, 2, 2)), image_of(size)], layout=layout):
        assert sample.image.shape == (*size, 3)


@pytest.mark.parametrize("layout", ["resample", "warp"])
def test_an_image_that_an_object_fills_is_no_background_and_stops_nothing(layout: Any) -> None:
    size = (32, 40)
    real = [image_of(size, np.ones(size, bool)), image_of(size, block(size, 4, 4, 9, 9), block(size, 20, 25, 28, 33))]
    samples = made(real, 8, layout=layout)
    assert {s.origin.parents[0] for s in samples} == {"made-2"}


def test_a_seed_of_nothing_but_full_images_is_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match="background"):
        made([image_of((32, 40), np.ones((32, 40), bool))], layout="resample")


def test_a_full_image_may_be_kept_as_it_is() -> None:
    size = (32, 40)
    for sample in made([image_of(size, np.ones(size, bool))], layout="resample", background=("keep",)):
        assert len(sample.labels)


@pytest.mark.parametrize("background", ["inpaint", "keep"])
def test_what_the_seed_ignores_is_never_called_background(background: Any) -> None:
    size = (48, 48)
    sample = image_of(size, block(size, 4, 4, 12, 12), block(size, 30, 6, 40, 14))
    crowd = block(size, 20, 24, 44, 44)
    pixels = sample.image.copy()
    pixels[crowd] = 250
    crowded = replace(sample, image=pixels, labels=replace(sample.labels, ignore=encode(crowd[None])[0]))
    for out in made([crowded], 6, layout="resample", background=(background,), match=0.0, noise=False, gain_sd=0.0):
        bright = (out.image > 230).all(-1)
        known = decode(out.labels.masks, size).any(0)
        ignored = decode([out.labels.ignore], size)[0] if out.labels.ignore else np.zeros(size, bool)
        assert (known | ignored)[bright].all()
        assert background == "inpaint" or ignored.any()


@pytest.mark.parametrize("size", [(40, 56), (100, 30), (64, 80)])
def test_a_size_that_is_asked_for_is_the_size_that_is_made(size: tuple[int, int]) -> None:
    for sample in made(tiny_real(3), 8, layout="resample", background=("inpaint",), size=size):
        assert sample.image.shape == (*size, 3)


@pytest.mark.parametrize(("turn", "mirror"), list(product((0.0, 90.0, 180.0, 270.0), (False, True))))
def test_a_quarter_turn_copies_the_objects_pixels_exactly(turn: float, mirror: bool) -> None:
    real = tiny_real(1)
    seed = survey(real)
    source = next(i for i in seed.instances if i.complete and i.area > 60)
    mask, affine = transformed(source.mask, turn, 1.0, mirror)
    canvas = canvas_on(np.zeros((60, 60, 3), np.float32))
    thing = Placed(mask, 20, 25, source.class_id, source.index, affine)
    stamp = stamped(Painted(np.zeros((60, 60), np.int32)), thing, cut(real, seed)[source.index])
    assert stamp is not None
    paint(canvas, stamp, "hard", 1.0, 0.0)
    h, w = source.mask.shape
    patch = real[0].image[source.top : source.top + h, source.left : source.left + w] * source.mask[..., None]
    flipped = patch[:, ::-1] if mirror else patch
    turned = np.rot90(flipped, -round(turn / 90))  # image rows go down: degrees turn clockwise
    assert np.array_equal(canvas.pixels[20 : 20 + mask.shape[0], 25 : 25 + mask.shape[1]], turned)


def test_the_bank_holds_each_object_with_the_picture_around_it() -> None:
    real = tiny_real(2)
    seed = survey(real)
    cutouts = cut(real, seed)
    assert sorted(cutouts) == sorted(i.index for i in seed.sources)
    for i in seed.sources:
        cutout, image = cutouts[i.index], real[i.image].image
        h, w = i.mask.shape
        assert cutout.patch.shape == (h + 2 * RIM, w + 2 * RIM, 3)
        inner = cutout.patch[RIM : RIM + h, RIM : RIM + w]
        assert np.array_equal(inner[i.mask], image[i.top : i.top + h, i.left : i.left + w][i.mask])


def test_a_neighbour_leaves_no_trace_in_a_cutout() -> None:
    image, ids = np.full((40, 60, 3), 20, np.uint8), np.zeros((40, 60), np.int32)
    ids[14:26, 14:26], ids[14:26, 27:40] = 1, 2
    image[ids == 1], image[ids == 2] = 90, 200
    real = [Sample("x", image, labels_from_ids(ids, {1: 0, 2: 0}))]
    cutout = cut(real, survey(real))[0]
    own = np.pad(np.ones((12, 12), bool), RIM)
    assert (cutout.patch[own] == 90).all()
    assert (cutout.patch[~own] == 20).all()
    assert cutout.around == pytest.approx(20)


def test_known_pixels_stay_and_a_constant_is_continued_by_itself() -> None:
    values = np.full((13, 21, 3), 77, np.float32)
    known = np.zeros((13, 21), bool)
    known[2, 3] = True
    values[~known] = 5
    assert pull_push(values, known) == pytest.approx(77, abs=1e-3)
    rng = np.random.default_rng(0)
    noisy, some = rng.random((17, 9, 3), np.float32), rng.random((17, 9)) < 0.5
    filled = pull_push(noisy, some)
    assert np.array_equal(filled[some], noisy[some])
    assert filled.min() >= noisy.min()
    assert filled.max() <= noisy.max()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 5)])
def test_even_the_smallest_pictures_can_be_filled(size: tuple[int, int]) -> None:
    known = np.zeros(size, bool)
    known[-1, -1] = True
    assert pull_push(np.where(known[..., None], 9, 0).astype(np.float32), known) == pytest.approx(9, abs=1e-3)


def test_freeing_an_image_of_its_objects_leaves_the_rest_and_takes_the_objects() -> None:
    (sample,) = tiny_real(1)
    free = object_free(sample.image, sample.labels, rng_of(1))
    objects = id_map(sample.labels) > 0
    far = cv2.dilate(objects.astype(np.uint8), np.ones((21, 21), np.uint8)) == 0
    assert np.array_equal(free[far], sample.image[far])
    assert free[objects].mean() < sample.image[~objects].mean() + 15 < sample.image[objects].mean()
    nothing = image_of((20, 30))
    assert np.array_equal(object_free(nothing.image, nothing.labels, rng_of(1)), nothing.image)


@pytest.mark.parametrize("size", [(1, 1), (7, 30), (30, 7), (20, 30), (61, 95)])
def test_a_background_is_cut_or_continued_to_the_size_wanted(size: tuple[int, int]) -> None:
    image = rng_of(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    out = fitted(image, size, rng_of(2))
    assert out.shape == (*size, 3)
    assert set(map(tuple, out.reshape(-1, 3))) <= set(map(tuple, image.reshape(-1, 3)))


def flat(size: tuple[int, int], sigma: float, grey: int = 90, seed: int = 0) -> Sample:
    pixels = rng_of(seed).normal(grey, sigma, size)[..., None].repeat(3, 2)
    return Sample("flat", np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def test_the_noise_model_finds_the_noise_that_is_there() -> None:
    assert noise_model([flat((96, 96), 6.0)])(np.float32([90])) == pytest.approx(6, rel=0.15)
    assert noise_model([flat((96, 96), 0.0)])(np.float32([90])) == pytest.approx(0, abs=1e-3)
    both = noise_model([flat((96, 96), 2.0, 50), flat((96, 96), 8.0, 200, 1)])
    assert both(np.float32([50, 200])) == pytest.approx([2, 8], rel=0.25)


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (9, 9), (20, 20)])
def test_small_images_have_a_noise_model_too(size: tuple[int, int]) -> None:
    assert np.isfinite(noise_model([flat(size, 4.0)])(np.float32([10, 90, 250]))).all()


def test_noise_is_put_back_only_where_it_was_touched_and_only_what_is_missing() -> None:
    model = NoiseModel(np.asarray([0.0, 255.0]), np.asarray([5.0, 5.0]))
    smooth = np.full((64, 64, 3), 100, np.float32)
    touched = np.zeros((64, 64), bool)
    touched[:, 32:] = True
    out = restore_noise(smooth, touched, model, rng_of(1))
    assert np.array_equal(out[:, :32], smooth[:, :32])
    assert out[:, 32:].std() == pytest.approx(5, rel=0.1)
    _, sigma = grain(out)
    assert np.median(sigma[:, 44:]) == pytest.approx(5, rel=0.15)
    grainy = np.repeat(rng_of(2).normal(100, 20, (64, 64, 1)), 3, 2).astype(np.float32)
    again = restore_noise(grainy, np.ones((64, 64), bool), model, rng_of(3))
    assert np.abs(again - grainy).max() < 1e-6


def test_a_generator_that_was_not_fitted_says_so() -> None:
    calls: list[Callable[[], Any]] = [lambda: list(Compose().sample([1])), lambda: Compose().save(Path())]
    for call in calls:
        with pytest.raises(AssertionError, match="fit"):
            call()


def noisy_discs(seed: int, sigma: float = 6.0) -> Sample:
    """Five grey discs on a dark ground, blurred as by a lens, with white noise of one level everywhere."""
    rng = rng_of(seed)
    ids = np.zeros((96, 96), np.uint8)
    for k, (y, x) in enumerate([(20, 20), (20, 70), (50, 46), (76, 20), (74, 74)], 1):
        cv2.circle(ids, (x, y), int(rng.integers(8, 12)), k, -1)
    clean = cv2.GaussianBlur(np.where(ids > 0, 120.0, 40.0), (0, 0), 1.5)
    grey = np.clip(np.rint(clean + rng.normal(0, sigma, clean.shape)), 0, 255).astype(np.uint8)
    return Sample(f"disc-{seed}", np.repeat(grey[..., None], 3, 2), labels_from_ids(ids, dict.fromkeys(range(1, 6), 0)))


@pytest.mark.slow
@pytest.mark.parametrize("blend", ["add", "feather", "gaussian", "poisson"])
@pytest.mark.parametrize("layout", ["resample", "shape", "warp"])
def test_composites_have_the_noise_of_real_images_inside_objects_and_outside(blend: Any, layout: Any) -> None:
    made = Compose(layout=layout, blend=(blend,), touching=0.6)
    made.fit([noisy_discs(k) for k in range(4)], [], tiny_context(Path()))
    inside, outside = [], []
    for sample in made.sample([k << 8 for k in range(6)]):
        ids = id_map(sample.labels)
        _, sigma = grain(sample.image.astype(np.float32))
        inside.append(sigma[cv2.erode((ids > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0])
        outside.append(sigma[ids == 0])
    assert np.median(np.concatenate(inside)) == pytest.approx(6, rel=0.12)
    assert np.median(np.concatenate(outside)) == pytest.approx(6, rel=0.12)


def test_denoising_takes_the_noise_and_leaves_the_edge() -> None:
    image = noisy_discs(0).image
    clean = denoised(image, 6.0)
    _, sigma = grain(clean)
    assert np.median(sigma) < 1.5
    edge = np.abs(np.diff(clean[..., 0], axis=1)).max()
    assert edge > 0.8 * np.abs(np.diff(cv2.GaussianBlur(np.where(
        id_map(noisy_discs(0).labels) > 0, 120.0, 40.0), (0, 0), 1.5), axis=1)).max()
    assert np.array_equal(denoised(image, 0.0), image)


def test_an_object_without_free_surroundings_is_continued_by_its_own_darkest_colours() -> None:
    ids = np.full((30, 30), 2, np.int32)
    ids[10:20, 10:20] = 1
    image = np.where(ids == 1, 100, 200)[..., None].repeat(3, 2).astype(np.uint8)
    real = [Sample("x", image, labels_from_ids(ids, {1: 0, 2: 0}))]
    found = cut(real, survey(real))
    for cutout in found.values():
        assert np.isfinite(cutout.patch).all()
        assert np.isfinite(cutout.around).all()

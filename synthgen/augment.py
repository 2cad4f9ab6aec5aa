"""Albumentations behind one thin adapter: instance ids are the truth, boxes follow from them.

Pixels that a transform brings in from outside the image are ignored, not background.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import PluginError
from synthgen.types import Boxes, Image, Json, Task

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network at import

IGNORED_ID = 65535  # stands for −1 in the 16-bit map that is warped

DENSE: tuple[dict[str, Json], ...] = (
    {"type": "D4", "p": 1.0},
    {"type": "Affine", "rotate": [-30, 30], "scale": [0.75, 1.33], "p": 0.8},
    {"type": "RandomGamma", "gamma_limit": [60, 165], "p": 0.6},
    {"type": "RandomBrightnessContrast", "brightness_limit": 0.1, "contrast_limit": 0.2, "p": 0.4},
    {"type": "GaussianBlur", "blur_limit": [3, 3], "p": 0.15},
    {"type": "GaussNoise", "std_range": [0.005, 0.02], "p": 0.4},
)
CLASSIFY: tuple[dict[str, Json], ...] = (
    {"type": "HorizontalFlip", "p": 0.5},
    {"type": "Affine", "rotate": [-8, 8], "scale": [0.85, 1.15], "translate_percent": [-0.08, 0.08], "p": 0.9},
    {"type": "RandomBrightnessContrast", "brightness_limit": 0.15, "contrast_limit": 0.25, "p": 0.6},
    {
        "type": "CoarseDropout",
        "num_holes_range": [1, 1],
        "hole_height_range": [0.2, 0.4],
        "hole_width_range": [0.2, 0.4],
        "p": 0.3,
    },
)
BOXES: tuple[dict[str, Json], ...] = (DENSE[0], {"type": "Affine", "scale": [0.75, 1.33], "p": 0.8}, *DENSE[2:])
"""As `DENSE`, without free turns: the box around a turned object does not follow from its box, and what stands for it
is too square (Kalra et al., ICCV 2021, "Towards Rotation Invariance in Object Detection"). Width and height are scaled
apart, which is exact."""
STRONG_DENSE: tuple[dict[str, Json], ...] = (
    {"type": "D4", "p": 1.0},
    {"type": "Affine", "rotate": [-180, 180], "scale": [0.7, 1.4], "shear": [-10, 10], "p": 0.9},
    {"type": "ElasticTransform", "alpha": 30.0, "sigma": 6.0, "p": 0.3},
    {"type": "GaussNoise", "std_range": [0.005, 0.05], "p": 0.4},
    {"type": "GaussianBlur", "blur_limit": [3, 5], "p": 0.2},
    {"type": "RandomBrightnessContrast", "brightness_limit": 0.3, "contrast_limit": 0.4, "p": 0.5},
    {"type": "Downscale", "scale_range": [0.5, 0.9], "p": 0.2},
    {"type": "RandomGamma", "gamma_limit": [50, 200], "p": 0.6},
)
"""Strong augmentation after nnU-Net (Isensee et al. 2021, Nature Methods 18:203, supplementary note 4): mirroring,
rotation, scaling, elastic deformation, noise, blur, brightness, contrast, lower resolution, gamma."""
STRONG_BOXES: tuple[dict[str, Json], ...] = (
    STRONG_DENSE[0], {"type": "Affine", "scale": [0.7, 1.4], "p": 0.9}, *STRONG_DENSE[3:]
)
"""The same without free turns and elastic deformation, after which nobody knows the boxes."""
STRONG_CLASSIFY: tuple[dict[str, Json], ...] = (
    {"type": "HorizontalFlip", "p": 0.5},
    {
        "type": "Affine",
        "rotate": [-20, 20],
        "scale": [0.75, 1.25],
        "shear": [-12, 12],
        "translate_percent": [-0.12, 0.12],
        "p": 1.0,
    },
    {"type": "RandomBrightnessContrast", "brightness_limit": 0.3, "contrast_limit": 0.4, "p": 0.8},
    {"type": "Sharpen", "p": 0.2},
    {"type": "Posterize", "num_bits": [4, 7], "p": 0.2},
    {"type": "GaussianBlur", "blur_limit": [3, 5], "p": 0.2},
    {"type": "GaussNoise", "std_range": [0.005, 0.05], "p": 0.3},
    {
        "type": "CoarseDropout",
        "num_holes_range": [1, 2],
        "hole_height_range": [0.2, 0.5],
        "hole_width_range": [0.2, 0.5],
        "p": 0.6,
    },
)
"""Strong augmentation from the operations of RandAugment (Cubuk et al. 2020, arXiv 1909.13719) and random erasing
(Zhong et al. 2020, arXiv 1708.04896)."""

USUAL: dict[Task, tuple[dict[str, Json], ...]] = {
    "instances": DENSE, "segment": DENSE, "detect": BOXES, "classify": CLASSIFY
}
STRONG: dict[Task, tuple[dict[str, Json], ...]] = {
    "instances": STRONG_DENSE, "segment": STRONG_DENSE, "detect": STRONG_BOXES, "classify": STRONG_CLASSIFY
}


class Augment:
    """A list of albumentations transforms by class name, applied with a seed of its own each time.

    Raises: PluginError for an unknown transform or options that it does not take.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Json]]) -> None:
        import albumentations as A

        built = []
        for entry in transforms:
            options = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items() if k != "type"}
            kind = getattr(A, str(entry.get("type")), None)
            if not (isinstance(kind, type) and issubclass(kind, A.BasicTransform)) or kind is A.Lambda:
                raise PluginError(f"mix.augment: albumentations {A.__version__} has no transform {entry.get('type')!r}")
            takes = inspect.signature(kind).parameters
            if "fill_mask" in takes:
                options = {"fill_mask": IGNORED_ID, **options}  # what comes from outside is ignored, not background
            if kind is A.Affine:
                options = {"border_mode": 0, "fill": 0, "rotate_method": "ellipse", **options}
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", UserWarning)  # albumentations only warns of options it does not know
                    built.append(kind(**options))
            except Exception as error:
                raise PluginError(f"mix.augment: {entry.get('type')}: {error}") from None
        self._built, self._compose = built, A.Compose(built)
        self._boxed: Any = None

    def __call__(self, image: Image, ids: NDArray[np.int32], seed: int) -> tuple[Image, NDArray[np.int32]]:
        """The image and its (H, W) ids (−1 ignored, 0 background) after the transforms with this seed."""
        self._compose.set_random_seed(seed % 2**32)
        coded = np.where(ids < 0, IGNORED_ID, ids).astype(np.uint16)
        done = self._compose(image=image, mask=coded)
        back = done["mask"].astype(np.int32)
        return done["image"], np.where(back == IGNORED_ID, -1, back)

    def with_boxes(self, image: Image, ids: NDArray[np.int32], boxes: Boxes,
                   seed: int) -> tuple[Image, NDArray[np.int32], Boxes, NDArray[np.int64]]:
        """As a call, for (N, 4) boxes beside the ids: those of which a tenth or more is left, inside the image, and
        their rows in `boxes`. A turned box is the box around the ellipse that it held, which most objects are nearer to
        than to their corners.
        """
        import albumentations as A

        if self._boxed is None:
            self._boxed = A.Compose(self._built, bbox_params=A.BboxParams(
                format="pascal_voc", label_fields=["rows"], min_visibility=0.1, min_area=1, clip=True))
        self._boxed.set_random_seed(seed % 2**32)
        coded = np.where(ids < 0, IGNORED_ID, ids).astype(np.uint16)
        done = self._boxed(image=image, mask=coded, bboxes=boxes, rows=np.arange(len(boxes)))
        back = done["mask"].astype(np.int32)
        return (done["image"], np.where(back == IGNORED_ID, -1, back),
                np.asarray(done["bboxes"], np.float32).reshape(-1, 4), np.asarray(done["rows"], np.int64).reshape(-1))

"""Which part of a photograph a model makes anew, and how it is laid back into it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clare.errors import ImageError
from clare.pipeline.images.prepare import MARKED
from clare.pipeline.pair import Photo, Pixels, to_pixels
from clare.pipeline.pairs._face import face_mask

Region = Literal["whole", "face", "rectangle", "mask"]

_EDGE = 3
"""Pixels over which a region passes into the photograph."""


def draw_region(photo: Photo, region: Region, dice: np.random.Generator) -> Pixels:
    """A mask (H, W) of 0 to 255, its edge soft but for the whole image.

    A rectangle covers a tenth to a half of the image's area, at most twice as long as wide.

    Args:
        photo: whose region it is.
        region: see `Region`.
        dice: of the photograph.

    Raises:
        ImageError: there is no such region, or it is empty.
    """
    if region == "whole":
        return np.full(photo.pixels.shape[:2], 255, np.uint8)
    if region == "face":
        found = face_mask(photo, dice)
    elif region == "rectangle":
        found = _rectangle(photo, dice)
    elif photo.mask is None:
        raise ImageError("empty mask: the manifest's column mask_path is empty in this row")
    else:
        found = (photo.mask / np.float32(255)).astype(np.float32)
    from scipy.ndimage import gaussian_filter

    soft = to_pixels(255 * gaussian_filter(found, _EDGE / 2, mode="nearest"))
    if soft.max() < MARKED:
        raise ImageError("empty mask: it marks no pixel of the image")
    return soft


def keep_of(mask: Pixels) -> NDArray[np.float32] | None:
    """How much of the photograph stays; None where nothing does."""
    return None if mask.min() == 255 else (1 - mask / np.float32(255)).astype(np.float32)


def _rectangle(photo: Photo, dice: np.random.Generator) -> NDArray[np.float32]:
    wide, high = photo.size
    area, aspect = dice.uniform(0.1, 0.5), float(np.exp(dice.uniform(-1, 1) * np.log(2)))
    width = min(wide, max(1, round(float(np.sqrt(area * aspect)) * wide)))
    height = min(high, max(1, round(float(np.sqrt(area / aspect)) * high)))
    left, top = int(dice.integers(wide - width + 1)), int(dice.integers(high - height + 1))
    found = np.zeros((high, wide), np.float32)
    found[top : top + height, left : left + width] = 1
    return found

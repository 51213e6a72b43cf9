"""What a localiser must beat: maps that nobody trained, each of what is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from clare.errors import InputError
from clare.heads.metrics.masks import Mask, checked_map, fake_pixels, resize_map
from clare.image_statistics import luma

WIDTH, HEIGHT = 0.6, 0.8
"""Axes of the ellipse, as shares of the picture's. They were fixed before any mask was looked at:
about a face in the usual crop."""

SMOOTHED = 1 / 32
"""Deviation of the Gaussian over the Laplacian's energy, as a share of the shorter side."""

CUTS = 512
"""Most cuts that are tried on validation."""


@dataclass(frozen=True)
class Cut:
    """A cut that was chosen on validation.

    Args:
        value: a pixel is called fake above it: the ``cut`` of `measure_map`.
        iou: the mean IoU of the validation images at it.
    """

    value: float
    iou: float


def all_fake(shape: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) of ones: its IoU is the share of fake pixels."""
    return np.ones(shape, np.float32)


def centre_ellipse(shape: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) above 0.5 inside of an ellipse in the middle, falling from 1: see `WIDTH`, `HEIGHT`.

    It is 1 / (1 + r²), r being 1 on the ellipse.
    """
    # Of each pixel's centre, -1 to 1.
    down, across = ((np.arange(side) + 0.5) / side * 2 - 1 for side in shape)
    radii = (down[:, None] / HEIGHT) ** 2 + (across / WIDTH) ** 2
    return (1 / (1 + radii)).astype(np.float32)


def laplacian(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W) where the image is sharp: the energy of the luma's 4-neighbour Laplacian.

    It is smoothed by `SMOOTHED` and divided by its own maximum; an image without any edge gives 0.

    Args:
        pixels: (H, W, 3) RGB.
    """
    energy = np.square(ndimage.laplace(luma(pixels), mode="nearest"))
    smooth = ndimage.gaussian_filter(energy, SMOOTHED * min(energy.shape), mode="nearest")
    most = smooth.max()
    scaled: NDArray[np.float32] = smooth / most if most > 0 else smooth
    return scaled


def lare(
    values: NDArray[np.floating], shape: tuple[int, int], *, low_is_fake: bool = False
) -> NDArray[np.float32]:
    """(H, W) LaRE x as x / (1 + x), bilinear: one scale for all images, as a cut needs it.

    Whether LaRE is high or low where a generator has drawn depends on the generator, so validation
    decides it: take the direction whose `best_cut` has the higher IoU.

    Args:
        values: (channels, h, w) squared errors, not standardised; averaged over the channels.
        shape: (H, W) of the mask.
        low_is_fake: give 1 / (1 + x).

    Raises:
        InputError: an error is negative or no number.
    """
    error = np.asarray(values, np.float32).mean(0)
    if not (np.min(values) >= 0 and np.isfinite(error).all()):
        raise InputError(
            "LaRE has values that are no squared errors: give the map as it was extracted, not "
            "standardised"
        )
    return resize_map((1 if low_is_fake else error) / (1 + error), shape)


def best_cut(maps: Sequence[NDArray[np.floating]], masks: Sequence[Mask]) -> Cut:
    """The cut with the highest mean IoU; images without a fake pixel have none and are left out.

    At most `CUTS` are tried, half way between neighbouring values of the maps, or between quantiles
    where there are more; below them all, everything is fake.

    Args:
        maps: N of (H, W), 0 to 1; each is read twice.
        masks: N of the same sizes.

    Raises:
        InputError: no image has a fake pixel; or a map or a mask is none, see `measure_map`.
    """
    truths = [fake_pixels(mask) for mask in masks]
    chosen = [place for place, truth in enumerate(truths) if truth.any()]
    if not chosen:
        raise InputError("a cut needs fake pixels: no mask of validation has any")
    steps = np.linspace(0, 1, CUTS)
    each = [
        np.quantile(checked_map(maps[place], truths[place].shape), steps, method="nearest")
        for place in chosen
    ]
    levels = np.unique(np.concatenate(each))
    if len(levels) > CUTS:
        levels = np.unique(np.quantile(np.concatenate(each), steps, method="nearest"))
    # Half way below each value; between two neighbouring floats there is no middle.
    cuts = np.nextafter(levels, np.float32(-1))
    cuts[1:] = np.minimum(cuts[1:], (levels[:-1] + levels[1:]) / 2)
    overlap = np.zeros(len(cuts))
    for place in chosen:
        values, truth = checked_map(maps[place], truths[place].shape), truths[place]
        # How many of the cuts each pixel is above.
        above = np.searchsorted(cuts, values)
        called, caught = (
            np.bincount(pixels, minlength=len(cuts) + 1)[::-1].cumsum()[::-1][1:]
            for pixels in (above.ravel(), above[truth])
        )
        overlap += caught / (called + truth.sum() - caught)
    best = overlap.argmax()
    return Cut(float(cuts[best]), float(overlap[best] / len(chosen)))

"""How self-blended images move, soften and recolour what is blended.

Method: Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images" (CVPR 2022), with the
values of their published code. Two things are otherwise: masks stay floating-point numbers, so that
softening shrinks them into the face, as the paper means it, where eight bits let the seam reach
outside; and the shifts of hue and saturation are large enough to be seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clare.errors import ImageError
from clare.pipeline.pair import Pixels, to_pixels
from clare.pipeline.pairs._face import Mask

Floats = NDArray[np.float32]

RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
"""How much of the blended face is seen at most."""


def jitter(pixels: Pixels, dice: np.random.Generator) -> Pixels:
    """Other colours and another sharpness of a whole picture.

    Colour channels shifted by up to 20 (p .3), hue by 4 degrees, saturation and value by a tenth
    (p .3), brightness and contrast by a tenth (p .3); then half or a quarter of the resolution and
    back, or sharpened.
    """
    values = pixels.astype(np.float32)
    shift, hsv, tone = dice.uniform(-20, 20, 3), dice.uniform(-1, 1, 3), dice.uniform(-0.1, 0.1, 2)
    chances = dice.random(3) < 0.3
    if chances[0]:
        values = values + shift.astype(np.float32)
    if chances[1]:
        values = _shift_hsv(to_pixels(values), hsv)
    if chances[2]:
        values = values * np.float32(1 + tone[0]) + np.float32(255 * tone[1])
    found = to_pixels(values)
    blurs, factor, strength = dice.random() < 0.5, int(dice.choice([2, 4])), dice.uniform(0.2, 0.5)
    return _coarsen(found, factor) if blurs else _sharpen(found, strength)


def move(pixels: Pixels, mask: Mask, dice: np.random.Generator) -> tuple[Pixels, Mask]:
    """A picture and its mask, shifted by up to 3 % across and 1.5 % down, scaled by up to 5 %."""
    high, wide = mask.shape
    x, y = dice.uniform(-0.03, 0.03) * wide, dice.uniform(-0.015, 0.015) * high
    scale = dice.uniform(0.95, 1 / 0.95)
    # Pillow asks where a pixel comes from, and counts from the edge.
    there = (
        *(1 / scale, 0, wide / 2 - (wide / 2 + x) / scale),
        *(0, 1 / scale, high / 2 - (high / 2 + y) / scale),
    )
    how = (Image.Transform.AFFINE, there, Image.Resampling.BILINEAR)
    moved = np.asarray(Image.fromarray(pixels).transform((wide, high), *how))
    shape = np.asarray(Image.fromarray(mask).transform((wide, high), *how))
    inside = np.asarray(Image.new("L", (wide, high), 255).transform((wide, high), *how)) == 255
    return moved, shape * inside


def soften(mask: Mask, dice: np.random.Generator) -> Mask:
    """A mask bent, shrunk and with a soft edge, times one of `RATIOS`.

    On a grid of 192 to 256 a side: an elastic bend (alpha 50, sigma 7); a Gaussian blur, of which
    only what stayed whole is kept; another, of a deviation of 5 to 45.

    Args:
        mask: (H, W) of the neighbourhood of a face.
        dice: of the photograph.

    Raises:
        ImageError: nothing is left of it.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    wide, high = dice.integers(192, 257, 2).tolist()
    small = np.asarray(Image.fromarray(mask).resize((wide, high), Image.Resampling.BILINEAR))
    bend = [
        50
        * gaussian_filter(dice.uniform(-1, 1, small.shape).astype(np.float32), 7, mode="constant")
        for _ in range(2)
    ]
    grid = np.mgrid[:high, :wide].astype(np.float32)
    small = map_coordinates(small, grid + np.stack(bend), order=1, mode="reflect")
    first, second = (2 * dice.integers(2, 13, 2) + 1).tolist()
    small = _blur(small, first, 0.3 * ((first - 1) / 2 - 1) + 0.8)
    small = np.where(small < 0.999 * max(float(small.max()), 1e-6), 0, small)
    small = _blur(small, second, float(dice.uniform(5, 45)))
    ratio = float(dice.choice(RATIOS))
    top = float(small.max())
    if top <= 0:
        raise ImageError("empty mask: nothing of the face is left once its edge is soft")
    soft = Image.fromarray((small / top).astype(np.float32))
    size = mask.shape[1], mask.shape[0]
    found = np.asarray(soft.resize(size, Image.Resampling.BILINEAR)) * np.float32(ratio)
    if found.max() < 0.5 / 255:
        raise ImageError("empty mask: the face is too small for a soft edge")
    return np.clip(found, 0, 1).astype(np.float32)


def _blur(values: Floats, kernel: int, deviation: float) -> Floats:
    """A Gaussian blur whose kernel is so many pixels wide, as OpenCV's."""
    from scipy.ndimage import gaussian_filter

    radius = kernel // 2
    blurred: Floats = gaussian_filter(values, deviation, radius=radius, mode="constant")
    return blurred


def _coarsen(pixels: Pixels, factor: int) -> Pixels:
    image = Image.fromarray(pixels)
    small = (max(1, image.width // factor), max(1, image.height // factor))
    coarse = image.resize(small, Image.Resampling.NEAREST)
    return np.asarray(coarse.resize(image.size, Image.Resampling.BILINEAR))


def _sharpen(pixels: Pixels, strength: float) -> Pixels:
    from scipy.ndimage import uniform_filter

    values = pixels.astype(np.float32)
    # The kernel with -1 about a 9 in the middle: the picture, and nine times what its mean lacks.
    sharp = np.clip(values + 9 * (values - uniform_filter(values, (3, 3, 0))), 0, 255)
    return to_pixels((1 - strength) * values + strength * sharp)


def _shift_hsv(pixels: Pixels, by: NDArray[np.float64]) -> Floats:
    hsv = np.asarray(Image.fromarray(pixels).convert("HSV")).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + by[0] * 4 / 360 * 256) % 256
    hsv[..., 1:] *= (1 + 0.1 * by[1:]).astype(np.float32)
    channels = [Image.fromarray(channel) for channel in to_pixels(hsv).transpose(2, 0, 1)]
    return np.asarray(Image.merge("HSV", channels).convert("RGB")).astype(np.float32)

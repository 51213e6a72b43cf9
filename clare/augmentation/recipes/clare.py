"""The usual views."""

from __future__ import annotations

import math
from collections.abc import Sequence

from clare.augmentation.dice import Dice
from clare.augmentation.geometry import MIRROR, Crop, Step
from clare.augmentation.photometry import FastBlur, Jpeg
from clare.augmentation.recipe import ViewRecipe

AREA = (0.8, 1.0)
"""Share of the image that a view's crop covers."""
ASPECT = (0.95, 1.05)
"""Width to height of the crop, against that of the image."""
MAX_BLUR = 3.0 / 256
"""Largest deviation of the Gaussian blur against the side: that of Wang et al. 2020 (CNNDetection)
in pixels of a 256-pixel image. In an image's own pixels the larger ones, often all of one label,
would hardly be blurred."""
JPEG_QUALITY = (40, 100)


class Clare(ViewRecipe):
    """A crop that hardly distorts, then mirror image, blur and JPEG, each half of the time.

    The crop's area is uniform in `AREA`, its aspect in `ASPECT`, its place uniform; the blur's
    deviation is uniform to `MAX_BLUR`, the quality in `JPEG_QUALITY`.
    """

    def draw(self, dice: Dice, size: tuple[int, int]) -> Sequence[Step]:
        """Steps of one view; every number is drawn, whether it is needed or not."""
        width, height = size
        area, aspect = dice.uniform(*AREA), dice.uniform(*ASPECT)
        crop_width = min(width, max(1, round(width * math.sqrt(area * aspect))))
        crop_height = min(height, max(1, round(height * math.sqrt(area / aspect))))
        left = dice.whole(0, width - crop_width)
        top = dice.whole(0, height - crop_height)
        mirrored = dice.happens(0.5)
        blurred, share = dice.happens(0.5), dice.share()
        compressed, quality = dice.happens(0.5), dice.whole(*JPEG_QUALITY)
        deviation = MAX_BLUR * share * math.sqrt(crop_width * crop_height)
        return [
            Crop((left, top, left + crop_width, top + crop_height)),
            *([MIRROR] if mirrored else []),
            *([FastBlur(deviation)] if blurred and deviation else []),
            *([Jpeg(quality)] if compressed else []),
        ]

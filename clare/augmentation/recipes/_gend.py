"""What the recipes of GenD and of the work before it share."""

from __future__ import annotations

from clare.augmentation.dice import Dice
from clare.augmentation.geometry import MIRROR, Affine, Step
from clare.augmentation.photometry import Jitter, Jpeg

BLUR = (0.1, 2.0)
"""Deviation of the blur, in pixels."""


def draw_geometry(dice: Dice, size: tuple[int, int]) -> list[Step]:
    """A mirror image half of the time; up to 10 degrees, a tenth of the sides, scale 0.9 to 1.1."""
    mirrored, (width, height) = dice.happens(0.5), size
    angle = dice.uniform(-10, 10)
    right, down = (round(dice.uniform(-0.1 * side, 0.1 * side)) for side in (width, height))
    moved = Affine(angle, (right, down), dice.uniform(0.9, 1.1))
    return [MIRROR, moved] if mirrored else [moved]


def draw_colours(dice: Dice) -> list[Step]:
    """Brightness and contrast of 0.9 to 1.1 in random order, then JPEG of quality 40 to 100."""
    return [Jitter.draw(dice, brightness=0.1, contrast=0.1), Jpeg(dice.whole(40, 100))]

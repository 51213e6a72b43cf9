"""The three augmentations of DeCLIP (bit-ml/DeCLIP at 09d4293), none of which moves anything."""

from __future__ import annotations

from clare.augmentation.dice import Dice
from clare.augmentation.geometry import Resize
from clare.augmentation.photometry import Jitter, Jpeg, KernelBlur

SQUASH = Resize((224, 224))
"""Comes first there: blur and compression are of this size."""


def draw_jitter(dice: Dice) -> Jitter:
    """Brightness, contrast and saturation of 0.7 to 1.3 and hue by up to 0.3, in random order."""
    return Jitter.draw(dice, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.3)


def draw_jpeg(dice: Dice) -> Jpeg:
    """Quality 30 to 100."""
    return Jpeg(dice.whole(30, 100))


def draw_blur(dice: Dice) -> KernelBlur:
    """5 x 5 pixels, deviation 0.4 to 2."""
    return KernelBlur(5, 5, dice.uniform(0.4, 2.0))

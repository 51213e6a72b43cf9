"""The strong views of LaRE²."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from clare.augmentation.dice import Dice
from clare.augmentation.geometry import HALF_TURN, MIRROR, UPSIDE_DOWN, Step, Turn
from clare.augmentation.photometry import Grey, Jpeg, KernelBlur, Noise
from clare.augmentation.recipe import ViewRecipe

QUARTERS = (
    *(None, Turn(Image.Transpose.ROTATE_90)),
    *(HALF_TURN, Turn(Image.Transpose.ROTATE_270)),
)


class Lare2(ViewRecipe):
    """Half are compressed, blurred, noisy or grey; a third are turned, a third are mirrored.

    The strong option of LaRE² (luo3300612/LaRE at f8b2966), by albumentations there: JPEG of
    quality 50 to 95, blur of 3, 5 or 7 pixels, noise of variance 3 to 10 or grey; none to three
    quarter turns; mirrored left and right, upside down or both. There a square of 224 is cut out of
    the image before all of it; here it is not.
    """

    def draw(self, dice: Dice, size: tuple[int, int]) -> Sequence[Step]:
        """Steps of one view."""
        steps: list[Step] = []
        if dice.happens(0.5):
            steps.append(dice.pick((_jpeg, _blur, _noise, _grey))(dice))
        if dice.happens(0.33) and (turn := dice.pick(QUARTERS)) is not None:
            steps.append(turn)
        if dice.happens(0.33):
            steps.append(dice.pick((MIRROR, UPSIDE_DOWN, HALF_TURN)))
        return steps


def _jpeg(dice: Dice) -> Step:
    return Jpeg(dice.whole(50, 95))


def _blur(dice: Dice) -> Step:
    size = dice.whole(3, 7) // 2 * 2 + 1  # 4 is taken as 5 and 6 as 7
    return KernelBlur(size, size)


def _noise(dice: Dice) -> Step:
    return Noise.draw(dice, math.sqrt(dice.uniform(3.0, 10.0)))


def _grey(dice: Dice) -> Step:
    return Grey()

"""Views of UnivFD, which are CNNDetection's."""

from __future__ import annotations

from collections.abc import Sequence

from clare.augmentation.dice import Dice
from clare.augmentation.geometry import MIRROR, Crop, Resize, Step
from clare.augmentation.photometry import Jpeg, ScipyBlur
from clare.augmentation.recipe import ViewRecipe

SHORT, SIDE = 256, 224
LONGEST = 16 * SHORT
"""Of a strip, that its longer side does not fill the memory; it is squeezed."""


class Univfd(ViewRecipe):
    """Shorter side 256; blur and JPEG, each half of the time; a square of 224; half are mirrored.

    The training of UnivFD (WisconsinAIVision/UniversalFakeDetect), after Wang et al. 2020: blur of
    a deviation to 3, quality 30 to 100. Its coin between OpenCV's and Pillow's encoder is not
    tossed: both give the same pixels.
    """

    def draw(self, dice: Dice, size: tuple[int, int]) -> Sequence[Step]:
        """Steps of one view."""
        shorter = min(size)
        width, height = (min(int(SHORT * side / shorter), LONGEST) for side in size)
        steps: list[Step] = [Resize((width, height))]
        if dice.happens(0.5):
            steps.append(ScipyBlur(dice.uniform(0.0, 3.0)))
        if dice.happens(0.5):
            steps.append(Jpeg(dice.whole(30, 100)))
        left, top = dice.whole(0, width - SIDE), dice.whole(0, height - SIDE)
        steps.append(Crop((left, top, left + SIDE, top + SIDE)))
        return [*steps, MIRROR] if dice.happens(0.5) else steps

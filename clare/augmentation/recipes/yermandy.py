"""Views of the work before GenD."""

from __future__ import annotations

from collections.abc import Sequence

from clare.augmentation.dice import Dice
from clare.augmentation.geometry import Step
from clare.augmentation.photometry import KernelBlur
from clare.augmentation.recipe import ViewRecipe
from clare.augmentation.recipes._gend import BLUR, draw_colours, draw_geometry


class Yermandy(ViewRecipe):
    """As gend, but every image is blurred, by a kernel 3 pixels wide and 7 high.

    The training of yermandy/deepfake-detection at 0b872f7. Its pair (3, 7) reads like a range of
    sizes; to torchvision it is one kernel's width and height.
    """

    def draw(self, dice: Dice, size: tuple[int, int]) -> Sequence[Step]:
        """Steps of one view."""
        steps = draw_geometry(dice, size)
        return [*steps, KernelBlur(3, 7, dice.uniform(*BLUR)), *draw_colours(dice)]

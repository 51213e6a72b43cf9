"""GenD's views."""

from __future__ import annotations

from collections.abc import Sequence

from clare.augmentation.dice import Dice
from clare.augmentation.geometry import Step
from clare.augmentation.photometry import KernelBlur
from clare.augmentation.recipe import ViewRecipe
from clare.augmentation.recipes._gend import BLUR, draw_colours, draw_geometry


class Gend(ViewRecipe):
    """Mirrored, turned, shifted, scaled; a tenth are blurred by 7 x 7 pixels; jitter, JPEG always.

    The training of GenD (yermandy/GenD at e03532d): torchvision's transforms with images of Pillow.
    """

    def draw(self, dice: Dice, size: tuple[int, int]) -> Sequence[Step]:
        """Steps of one view."""
        steps = draw_geometry(dice, size)
        if dice.happens(0.1):
            steps.append(KernelBlur(7, 7, dice.uniform(*BLUR)))
        return [*steps, *draw_colours(dice)]

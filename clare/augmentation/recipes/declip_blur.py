"""DeCLIP's views by blur alone."""

from __future__ import annotations

from collections.abc import Sequence

from clare.augmentation.dice import Dice
from clare.augmentation.geometry import Step
from clare.augmentation.recipe import ViewRecipe
from clare.augmentation.recipes._declip import SQUASH, draw_blur


class DeclipBlur(ViewRecipe):
    """Squashed to 224 pixels, then blurred: one of the three of DeCLIP."""

    def draw(self, dice: Dice, size: tuple[int, int]) -> Sequence[Step]:
        """Steps of one view."""
        return [SQUASH, draw_blur(dice)]

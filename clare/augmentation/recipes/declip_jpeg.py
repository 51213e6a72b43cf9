"""DeCLIP's views by jpeg alone."""

from __future__ import annotations

from collections.abc import Sequence

from clare.augmentation.dice import Dice
from clare.augmentation.geometry import Step
from clare.augmentation.recipe import ViewRecipe
from clare.augmentation.recipes._declip import SQUASH, draw_jpeg


class DeclipJpeg(ViewRecipe):
    """Squashed to 224 pixels, then compressed: one of the three of DeCLIP."""

    def draw(self, dice: Dice, size: tuple[int, int]) -> Sequence[Step]:
        """Steps of one view."""
        return [SQUASH, draw_jpeg(dice)]

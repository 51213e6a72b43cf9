"""DeCLIP's views by everything that it has."""

from __future__ import annotations

from collections.abc import Sequence

from clare.augmentation.dice import Dice
from clare.augmentation.geometry import Step
from clare.augmentation.recipe import ViewRecipe
from clare.augmentation.recipes._declip import SQUASH, draw_blur, draw_jitter, draw_jpeg


class Declip(ViewRecipe):
    """Squashed to 224 pixels, then other colours, JPEG and blur: all three of DeCLIP."""

    def draw(self, dice: Dice, size: tuple[int, int]) -> Sequence[Step]:
        """Steps of one view."""
        return [SQUASH, draw_jitter(dice), draw_jpeg(dice), draw_blur(dice)]

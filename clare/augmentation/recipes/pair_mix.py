"""Views of pairs, of which some fakes hold a part of their own real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from clare.augmentation.dice import Dice
from clare.augmentation.geometry import Step
from clare.augmentation.photometry import Mix
from clare.augmentation.recipe import ViewRecipe
from clare.augmentation.recipes.clare import Clare

MOST = 0.8
"""Largest share of the real."""


class PairMix(ViewRecipe):
    """The usual views; half of the fakes are mixed first, up to `MOST` of them real, and stay fake.

    After Dual Data Alignment (Chen et al., NeurIPS 2025; roy-ch/Dual-Data-Alignment), whose
    training mixes a fake with its real in two ways, each with a probability of 0.2 and a share
    that is uniform up to 0.8. Its mix of frequencies is this one: a cosine transform of the whole
    image is linear. In its mix of pixels the share is that of the fake, so that a fake may be its
    real all but entirely; that one is left out.
    """

    MIXES: ClassVar[bool] = True

    def draw(self, dice: Dice, size: tuple[int, int]) -> Sequence[Step]:
        """Steps of one view, equal for both members of a pair; a real is its own real."""
        mixed, share = dice.happens(0.5), dice.uniform(0, MOST)
        return [*([Mix(share)] if mixed else []), *Clare().draw(dice, size)]

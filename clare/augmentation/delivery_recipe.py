"""Views that are deliveries: training against what a test delivers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from clare.augmentation.deliveries import DeliverySet, read_set
from clare.augmentation.dice import Dice
from clare.augmentation.geometry import Step
from clare.augmentation.recipe import ViewRecipe


class DeliveryRecipe(ViewRecipe):
    """Each view is one delivery of a set, every one as likely.

    Attributes:
        SET: the set's name, or the path of its file.
    """

    SET: ClassVar[str]

    @cached_property
    def deliveries(self) -> DeliverySet:
        """The set.

        Raises:
            InputError: it is not there, or its file is none.
        """
        return read_set(self.SET)

    @property
    def definition(self) -> str:
        """Names and steps of the set: a file that changed gives other views."""
        return self.deliveries.text

    def draw(self, dice: Dice, size: tuple[int, int]) -> Sequence[Step]:
        """Steps of one view."""
        return dice.pick(self.deliveries.deliveries).draw(dice, size)

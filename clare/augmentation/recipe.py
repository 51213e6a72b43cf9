"""A recipe of views: which steps an augmented image takes, and how they are drawn."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from clare.augmentation import recipes
from clare.augmentation.dice import Dice
from clare.augmentation.geometry import Placement, Size, Step
from clare.plugins import find_part


class ViewRecipe(ABC):
    """How augmented views of training images are drawn; a recipe is one class of one file.

    Attributes:
        VERSION: raised by hand when the recipe gives other pixels.
        MIXES: whether views of a fake hold some of the real that it lies on: `Mix` is among the
            steps, and stands before all that moves anything.
    """

    VERSION: ClassVar[int] = 1
    MIXES: ClassVar[bool] = False

    @property
    def definition(self) -> str:
        """What beside its name and version decides its views, as the content of a file does."""
        return ""

    @abstractmethod
    def draw(self, dice: Dice, size: tuple[int, int]) -> Sequence[Step]:
        """The steps of one view, in their order.

        Geometry is drawn for the whole image, before anything knows an extractor, and so what two
        extractors say of one place stays about one place.

        Args:
            dice: all that is random comes from them.
            size: width and height of the image, in pixels.
        """


@dataclass(frozen=True)
class View:
    """What becomes of an image in one view.

    Args:
        steps: in their order.
    """

    steps: tuple[Step, ...]

    def beside(self, real: Image.Image) -> View:
        """The view of a fake that lies on this real, RGB and of the same size."""
        return View(tuple(step.beside(real) for step in self.steps))

    def apply(self, image: Image.Image) -> Image.Image:
        """The view of an RGB image of the size that it was drawn for."""
        for step in self.steps:
            image = step.apply(image)
        return image

    def apply_to_mask(self, mask: Image.Image) -> Image.Image:
        """The view of that image's mask, mode L and of the same size: geometry alone."""
        for step in self.steps:
            mask = step.apply_to_mask(mask)
        return mask

    def follow(self, size: Size) -> Placement:
        """Where places of an image of the size that it was drawn for go.

        Raises:
            InputError: a step moves something, and does not say where to.
        """
        placement = np.eye(3)
        for step in self.steps:
            there, size = step.follow(size)
            placement = there @ placement
        return placement


def find_recipe(name: str) -> ViewRecipe:
    """A recipe by its name, or by the path of its file.

    Raises:
        InputError: there is no such recipe, or it is a file that the user never named.
    """
    return find_part(recipes, name, ViewRecipe)()  # type: ignore[type-abstract]


def draw_view(
    recipe: ViewRecipe, size: tuple[int, int], *, view_seed: int, content: str, view: int
) -> View:
    """Draw the augmentation of one view.

    Args:
        recipe: how.
        size: width and height of the image, in pixels.
        view_seed: seed of all views.
        content: hash of the image's bytes.
        view: number of the view, at least 1.
    """
    seed = hashlib.sha256(f"clare view\n{view_seed}\n{content}\n{view}".encode()).digest()
    return View(tuple(recipe.draw(Dice(seed), size)))

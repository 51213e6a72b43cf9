"""Steps that move what an image shows: they do the same to its mask."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from PIL import Image


class Step(ABC):
    """One step of a view, with everything drawn."""

    @abstractmethod
    def apply(self, image: Image.Image) -> Image.Image:
        """The image, mode RGB, after the step."""

    def apply_to_mask(self, mask: Image.Image) -> Image.Image:
        """The mask, mode L, after the step: as it was, unless the step moves anything."""
        return mask


class _Move(Step):
    """A step that treats masks as it does images."""

    def apply_to_mask(self, mask: Image.Image) -> Image.Image:
        """What became of the image's pixels becomes of the mask's."""
        return self.apply(mask)


@dataclass(frozen=True)
class Crop(_Move):
    """A crop in whole pixels, black beyond the image.

    Args:
        box: left, top, right, bottom.
    """

    box: tuple[int, int, int, int]

    def apply(self, image: Image.Image) -> Image.Image:
        """The part of the image in the box."""
        return image.crop(self.box)


@dataclass(frozen=True)
class Turn(_Move):
    """A mirror image or a quarter turn, which moves whole pixels.

    Args:
        how: one of Pillow's transpositions.
    """

    how: Image.Transpose

    def apply(self, image: Image.Image) -> Image.Image:
        """The image, turned."""
        return image.transpose(self.how)


MIRROR = Turn(Image.Transpose.FLIP_LEFT_RIGHT)
UPSIDE_DOWN = Turn(Image.Transpose.FLIP_TOP_BOTTOM)
HALF_TURN = Turn(Image.Transpose.ROTATE_180)


@dataclass(frozen=True)
class Affine(_Move):
    """Turned, scaled and shifted about the middle; the nearest pixel, black beyond the image.

    As torchvision's ``RandomAffine`` does it with images of Pillow, without shear.

    Args:
        angle: in degrees, clockwise as seen.
        shift: to the right and down, in pixels.
        scale: above 1 enlarges.
    """

    angle: float
    shift: tuple[int, int]
    scale: float

    def apply(self, image: Image.Image) -> Image.Image:
        """The image in its own size."""
        turn = math.radians(self.angle)
        along, across = math.cos(turn) / self.scale, math.sin(turn) / self.scale
        middle_x, middle_y = image.width * 0.5, image.height * 0.5
        x, y = -middle_x - self.shift[0], -middle_y - self.shift[1]
        # From a pixel of the result to where it was.
        inverse = (
            *(along, across, along * x + across * y + middle_x),
            *(-across, along, -across * x + along * y + middle_y),
        )
        return image.transform(
            image.size, Image.Transform.AFFINE, inverse, Image.Resampling.NEAREST
        )


@dataclass(frozen=True)
class Resize(Step):
    """Another size, bilinear, antialiased where it shrinks.

    Args:
        size: width and height in pixels.
    """

    size: tuple[int, int]

    def apply(self, image: Image.Image) -> Image.Image:
        """The image in the new size."""
        return image.resize(self.size, Image.Resampling.BILINEAR)

    def apply_to_mask(self, mask: Image.Image) -> Image.Image:
        """The mask in the new size, where it shrinks the mean of the area."""
        return mask.resize(self.size, Image.Resampling.BOX)

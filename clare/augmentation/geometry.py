"""Steps that move what an image shows: they do the same to its mask, and say where places go."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clare.errors import InputError

Placement = NDArray[np.float64]
"""(3, 3): takes (x, y, 1) to where that place is afterwards. Before and after, x and y are shares
of the image's sides, counted from its left and its upper edge."""

Size = tuple[int, int]
"""Width and height in pixels."""


class Step(ABC):
    """One step of a view, with everything drawn."""

    @abstractmethod
    def apply(self, image: Image.Image) -> Image.Image:
        """The image, mode RGB, after the step."""

    def apply_to_mask(self, mask: Image.Image) -> Image.Image:
        """The mask, mode L, after the step: as it was, unless the step moves anything."""
        return mask

    def beside(self, real: Image.Image) -> Step:
        """The step for a fake that lies on this real, pixel by pixel; the same for most."""
        return self

    def follow(self, size: Size) -> tuple[Placement, Size]:
        """Where places of an image of this size go, and its size after the step.

        Raises:
            InputError: the step moves something, and does not say where to.
        """
        if type(self).apply_to_mask is not Step.apply_to_mask:
            raise InputError(
                f"where the parts of a face go is not known: the step {type(self).__name__} of a "
                "view moves images and has no method `follow`"
            )
        return np.eye(3), size


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

    def follow(self, size: Size) -> tuple[Placement, Size]:
        """From shares of the image to shares of the box."""
        left, top, right, bottom = self.box
        cut = right - left, bottom - top
        there = np.array([(size[0], 0, -left), (0, size[1], -top), (0, 0, 1)], np.float64)
        return to_shares(cut) @ there, cut


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

    def follow(self, size: Size) -> tuple[Placement, Size]:
        """The sides exchanged, counted from the other end, or both."""
        across, down = _TURNED[self.how]
        turned = size if across[0] else size[::-1]
        return np.array([across, down, (0, 0, 1)], np.float64), turned


_SAME, _BACK = (1, 0, 0), (-1, 0, 1)
_DOWN, _UP = (0, 1, 0), (0, -1, 1)
_TURNED = {
    Image.Transpose.FLIP_LEFT_RIGHT: (_BACK, _DOWN),
    Image.Transpose.FLIP_TOP_BOTTOM: (_SAME, _UP),
    Image.Transpose.ROTATE_90: (_DOWN, _BACK),
    Image.Transpose.ROTATE_180: (_BACK, _UP),
    Image.Transpose.ROTATE_270: (_UP, _SAME),
    Image.Transpose.TRANSPOSE: (_DOWN, _SAME),
    Image.Transpose.TRANSVERSE: (_UP, _BACK),
}
"""The upper rows of each transposition's placement."""


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
        return image.transform(
            image.size, Image.Transform.AFFINE, self._inverse(image.size), Image.Resampling.NEAREST
        )

    def follow(self, size: Size) -> tuple[Placement, Size]:
        """The image's size stays."""
        back = np.array([*self._inverse(size), 0, 0, 1]).reshape(3, 3)
        shares = to_shares(size)
        return shares @ np.linalg.inv(back) @ np.linalg.inv(shares), size

    def _inverse(self, size: Size) -> tuple[float, ...]:
        """From a pixel of the result to where it was: two rows of three."""
        turn = math.radians(self.angle)
        along, across = math.cos(turn) / self.scale, math.sin(turn) / self.scale
        middle_x, middle_y = size[0] * 0.5, size[1] * 0.5
        x, y = -middle_x - self.shift[0], -middle_y - self.shift[1]
        return (
            *(along, across, along * x + across * y + middle_x),
            *(-across, along, -across * x + along * y + middle_y),
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

    def follow(self, size: Size) -> tuple[Placement, Size]:
        """Shares of the sides stay as they are."""
        return np.eye(3), self.size


@dataclass(frozen=True)
class Scale(Resize):
    """Another size by a filter of one's choice, antialiased where it shrinks.

    Args:
        size: width and height in pixels.
        resample: the filter.
    """

    resample: Image.Resampling

    def apply(self, image: Image.Image) -> Image.Image:
        """The image in the new size."""
        return image.resize(self.size, self.resample)


def to_shares(size: Size) -> Placement:
    """From pixels, counted from the edges, to shares of an image's sides."""
    return np.diag([1 / size[0], 1 / size[1], 1.0])

"""A face that was found in an image, and what finds one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

PARTS = ("left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth")
"""The five points in their order, left and right as one sees them in an upright face."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face in an image.

    Args:
        box: (4,) float64: left, top, right and bottom edge in pixels.
        points: (5, 2) float64: x and y of `PARTS` in pixels; whole numbers are centres of pixels.
        confidence: of the detector, 0 to 1; dlib's own score, without an upper end.
        turn: degrees by which the face is turned clockwise: 0, 90, 180 or 270.
    """

    box: NDArray[np.float64]
    points: NDArray[np.float64]
    confidence: float
    turn: int = 0

    @property
    def area(self) -> float:
        """Of its box, in pixels."""
        return float(np.prod(self.box[2:] - self.box[:2]))


class Detector(Protocol):
    """What finds upright faces; `find` may be called by several threads."""

    def find(self, image: Image) -> list[Face]:
        """All faces of an image of mode RGB, in no particular order."""

"""What a manifest says of the face in an image: the text of its columns."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clare.augmentation.geometry import Placement, Size, to_shares


@dataclass(frozen=True)
class FaceMarks:
    """Where the face is, in pixels of the upright image, as a manifest has it. Empty: not known.

    Args:
        boxes: ``x0 y0 x1 y1``, edges.
        points: ``x y`` of both eyes, the nose and both corners of the mouth; see `parse_points`.
        detector: that found the points.
        missing: why there are none.
    """

    boxes: str = ""
    points: str = ""
    detector: str = ""
    missing: str = ""

    def moved(self, placement: Placement, before: Size, after: Size) -> FaceMarks:
        """Where box and points go with the pixels of the image; what is none stays as it is.

        Args:
            placement: from shares of the image's sides to shares of its sides afterwards.
            before: width and height of the image in pixels.
            after: of what became of it.
        """
        move = np.diag([*after, 1.0]) @ placement @ to_shares(before)
        boxes, points = self.boxes, self.points
        with suppress(ValueError):
            x0, y0, x1, y1 = parse_boxes(boxes)
            ends = _through(move, np.array([(x0, y0), (x1, y1)]))
            boxes = _written([*ends.min(0), *ends.max(0)])
        with suppress(ValueError):
            points = _written(_through(move, parse_points(points) + 0.5) - 0.5)
        return replace(self, boxes=boxes, points=points)


def _through(move: Placement, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where places (N, 2) go, which are counted from the image's edges."""
    found: NDArray[np.float64] = (np.c_[places, np.ones(len(places))] @ move.T)[:, :2]
    return found


def _written(numbers: ArrayLike) -> str:
    return " ".join(f"{number:.12g}" for number in np.ravel(numbers))


def parse_boxes(text: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a face box, in pixels of the upright image.

    Raises:
        ValueError: not four finite numbers.
    """
    try:
        x0, y0, x1, y1 = (float(number) for number in text.split())
    except ValueError:
        raise ValueError(f"boxes {text!r} are not four numbers 'x0 y0 x1 y1'") from None
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise ValueError(f"boxes {text!r} are not four finite numbers")
    return x0, y0, x1, y1


def parse_points(text: str) -> NDArray[np.float64]:
    """The five points of a face, (5, 2) x and y in pixels; whole numbers are centres of pixels.

    Raises:
        ValueError: not ten finite numbers.
    """
    try:
        numbers = [float(number) for number in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != 10 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"face_points {text[:80]!r} are not ten numbers, x and y of five points")
    return np.array(numbers).reshape(5, 2)

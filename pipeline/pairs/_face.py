"""Where the face is, as a mask: from landmarks, five points, or a box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clare.errors import ImageError
from clare.pipeline.images.marks import parse_boxes, parse_points
from clare.pipeline.pair import Photo

Mask = NDArray[np.float32]
"""(H, W) from 0 to 1."""

_JAW = 68
"""Landmarks without the forehead: those of dlib's first model, which come first in the larger."""

_ABOVE, _BELOW, _BESIDE = 0.95, 0.6, 1.15
"""How far a face reaches beyond eyes and mouth, in distances between the two, and to either side of
its middle, in distances of the eyes: of an average adult face."""


def face_mask(photo: Photo, dice: np.random.Generator) -> Mask:
    """A face as a mask without soft edges.

    From landmarks it is their convex hull, a quarter of the time without the forehead (Shiohara and
    Yamasaki 2022); from five points an ellipse about eyes and mouth; from a box the ellipse in it.

    Args:
        photo: with a box or points.
        dice: of the photograph.

    Raises:
        ImageError: it has none of these, or nothing of the face is in the picture.
    """
    outline = _outline(photo, dice)
    picture = Image.new("L", photo.size)
    ImageDraw.Draw(picture).polygon([(x, y) for x, y in outline.tolist()], fill=1)
    mask = np.asarray(picture, np.float32)
    if not mask.any():
        raise ImageError("no face: its box or points mark no pixel of the image")
    return mask


def _outline(photo: Photo, dice: np.random.Generator) -> NDArray[np.float64]:
    """Corners (N, 2) of the face, in order, as centres of pixels."""
    whole = dice.random() >= 0.25
    if photo.landmarks is not None:
        points = photo.landmarks if whole else photo.landmarks[:_JAW]
        return _hull(points)
    try:
        if photo.face.points:
            return _about_points(parse_points(photo.face.points))
        if photo.face.boxes:
            x0, y0, x1, y1 = parse_boxes(photo.face.boxes)
            middle = np.array([(x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2])
            return _ellipse(middle, np.array([(x1 - x0) / 2, 0]), np.array([0, (y1 - y0) / 2]))
    except ValueError as error:
        raise ImageError(f"no face: {error}") from error
    reason = photo.face.missing or "the manifest has neither landmarks nor points nor a box of it"
    raise ImageError(f"no face: {reason}")


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial import ConvexHull, QhullError

    try:
        return np.asarray(points[ConvexHull(points).vertices])
    except QhullError as error:
        raise ImageError("no face: its landmarks lie on one line") from error


def _about_points(points: NDArray[np.float64]) -> NDArray[np.float64]:
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    down, across = mouth - eyes, points[1] - points[0]
    length = float(np.hypot(*down))
    if not length or not np.hypot(*across):
        raise ImageError("no face: its five points lie in one place")
    middle = eyes + down * (1 + _BELOW - _ABOVE) / 2
    # Across at a right angle to down: in profile the eyes' line is short and turned.
    side = np.array([down[1], -down[0]]) / length * float(np.hypot(*across)) * _BESIDE
    return _ellipse(middle, side, down * (1 + _ABOVE + _BELOW) / 2)


def _ellipse(
    middle: NDArray[np.float64], one: NDArray[np.float64], other: NDArray[np.float64]
) -> NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)[:, None]
    return middle + np.cos(angles) * one + np.sin(angles) * other


def neighbourhood(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns about a face: a half of its width to either side, of its height above, and
    two fifths below, inside of the picture (the loose crop of self-blended images)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    wide, high = right - left, bottom - top
    return (
        slice(max(0, top - high // 2), min(mask.shape[0], bottom + 2 * high // 5)),
        slice(max(0, left - wide // 2), min(mask.shape[1], right + wide // 2)),
    )

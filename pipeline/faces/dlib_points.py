"""dlib's detector and a shape predictor that the user brings: what DeepfakeBench crops with.

Its five points are those of DeepfakeBench's code (preprocessing/preprocess.py), which counts the
landmarks from one while dlib counts from zero: the upper outer lid of either eye, the tip of the
nose, and two points of the lips beside the corners of the mouth.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from clare.advice import Name
from clare.errors import InputError
from clare.foreign import reading, require_file
from clare.pipeline.faces.face import Face

if TYPE_CHECKING:
    from PIL.Image import Image

FIVE = (37, 44, 30, 49, 55)
"""Of the 68 or 81 landmarks, from 0."""

_UPSAMPLE = 1
_MOST = 1 << 28


class DlibPoints:
    """dlib's frontal detector and landmarks, safe in several threads, one of which works at a time.

    Args:
        landmarks: file of a shape predictor of 68 or 81 points.

    Raises:
        InputError: dlib is not installed, no file is named, or it is none of these.
    """

    def __init__(self, landmarks: Path | None) -> None:
        try:
            import dlib
        except ImportError as error:
            raise InputError(
                "the detector dlib needs the package dlib",
                "install it with `pip install dlib` or `pip install dlib-bin`",
            ) from error
        wanted = Name(
            "dlib's 68 or DeepfakeBench's 81", "landmarks", "shape_predictor_81_face_landmarks.dat"
        )
        if landmarks is None:
            raise InputError("the detector dlib needs a file of landmarks", wanted)
        with reading(landmarks, "a shape predictor"):
            require_file(landmarks, _MOST)
        try:
            self._shape = dlib.shape_predictor(str(landmarks))
        except RuntimeError as error:
            raise InputError(f"{landmarks} is no shape predictor of dlib", wanted) from error
        self._detector = dlib.get_frontal_face_detector()
        parts = self._shape(np.zeros((64, 64, 3), np.uint8), dlib.rectangle(8, 8, 56, 56)).num_parts
        if parts not in (68, 81):
            raise InputError(f"{landmarks} gives {parts} points", wanted)
        self._lock = Lock()

    def find(self, image: Image) -> list[Face]:
        """All faces of an upright RGB image."""
        pixels = np.ascontiguousarray(image)
        found = []
        with self._lock:
            boxes, scores, _ = self._detector.run(pixels, _UPSAMPLE, 0.0)
            for box, score in zip(boxes, scores, strict=True):
                shape = self._shape(pixels, box)
                points = [(shape.part(k).x, shape.part(k).y) for k in FIVE]
                # dlib's right and lower end are the last pixels inside.
                edges = np.array([box.left(), box.top(), box.right() + 1, box.bottom() + 1])
                ends = np.array([*image.size, *image.size])
                found.append(
                    Face(
                        np.clip(edges, 0, ends).astype(np.float64),
                        np.array(points, np.float64),
                        float(score),
                    )
                )
        return found

"""YuNet through OpenCV's own class, from a file that the user brings.

Wu, Peng and Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector".
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

LONGEST = 1280
"""Pixels of the longer side that it looks at: it was made for faces of 10 to 300 pixels."""

_CONFIDENT, _OVERLAP, _MOST_FACES = 0.8, 0.3, 5000
_MOST = 1 << 26


class YuNet:
    """The detector, safe in several threads, one of which works at a time.

    Args:
        model: the ONNX file.

    Raises:
        InputError: OpenCV is not installed, or the file is missing or none of YuNet's.
    """

    def __init__(self, model: Path) -> None:
        try:
            import cv2
        except ImportError as error:
            raise InputError(
                "YuNet needs OpenCV", "install it with `pip install opencv-python-headless`"
            ) from error
        with reading(model, "a network"):
            require_file(model, _MOST)
        self._lock = Lock()
        try:
            self._net = cv2.FaceDetectorYN.create(
                str(model), "", (320, 320), _CONFIDENT, _OVERLAP, _MOST_FACES
            )
            self._net.detect(np.zeros((320, 320, 3), np.uint8))
        except cv2.error as error:
            raise InputError(
                f"{model} is not a model of YuNet that OpenCV reads", Name("another", "detector")
            ) from error

    def find(self, image: Image) -> list[Face]:
        """All faces of an upright RGB image."""
        scale = min(1.0, LONGEST / max(image.size))
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        small = image if size == image.size else image.resize(size)
        pixels = np.ascontiguousarray(np.asarray(small)[..., ::-1])
        with self._lock:
            self._net.setInputSize(size)
            _, rows = self._net.detect(pixels)
        ratio = np.array(image.size) / size
        ends = np.array([*image.size, *image.size], np.float64)
        found = []
        for row in np.empty((0, 15)) if rows is None else rows.astype(np.float64):
            corners = np.stack([row[:2], row[:2] + row[2:4]]) * ratio
            points = row[4:14].reshape(5, 2) * ratio
            found.append(Face(np.clip(corners.ravel(), 0, ends), points, float(row[14])))
        return found

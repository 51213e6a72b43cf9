"""The detector that was asked for, at work, and the order of what it finds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clare.pipeline.faces.face import Detector, Face
from clare.pipeline.faces.settings import MTCNN, FaceSettings, Pick
from clare.pipeline.faces.turns import find_turned
from clare.pipeline.images.marks import FaceMarks
from clare.pipeline.images.settings import DLIB

if TYPE_CHECKING:
    from PIL.Image import Image


NONE_FOUND = "none found"
SURE = 0.9
"""Confidence of a face that may be picked before others, and that has a row of its own."""


class FaceFinder:
    """A detector as it was asked for, with turns looked at or not; safe in several threads.

    Args:
        settings: how faces are looked for.

    Raises:
        InputError: what the detector needs is not installed, or a file of it is not usable.
        WeightsError: its weights are others, or the runtime computes something else from them.
    """

    def __init__(self, settings: FaceSettings) -> None:
        self.settings = settings
        self._detector = _create(settings)

    def mark(self, image: Image) -> tuple[FaceMarks, int]:
        """Where the face that is picked lies, and how many there are."""
        faces = self.find(image)
        if not faces:
            return FaceMarks(missing=NONE_FOUND), 0
        return marks_of(faces[0], self.settings.points), len(faces)

    def find(self, image: Image) -> list[Face]:
        """All faces of an RGB image, the one that is picked first, then by size."""
        if self.settings.upright:
            found = self._detector.find(image)
        else:
            found = find_turned(self._detector, image)
        return ordered(found, image.size, self.settings)


def marks_of(face: Face, detector: str) -> FaceMarks:
    """A face as the columns of a manifest have it, to hundredths of a pixel."""
    return FaceMarks(_text(face.box), _text(face.points.ravel()), detector)


def _text(numbers: Iterable[float]) -> str:
    return " ".join(f"{number:.2f}" for number in numbers)


def ordered(faces: Sequence[Face], size: tuple[int, int], settings: FaceSettings) -> list[Face]:
    """Faces with the one that is picked first, and the others by size.

    Args:
        faces: of one image.
        size: width and height of the image.
        settings: say which is picked. Of networks' faces it is one that they are sure of, if there
            is one: of others the points are often wrong.
    """
    by_size = sorted(faces, key=lambda face: -face.area)
    candidates = [face for face in by_size if is_sure(face, settings)] or by_size
    if not candidates:
        return []
    middle = np.array(size) / 2

    def distance(face: Face) -> float:
        return float(np.linalg.norm((face.box[:2] + face.box[2:]) / 2 - middle))

    choices: dict[Pick, Face] = {
        "largest": candidates[0],
        "centre": min(candidates, key=distance),
        "df40": max(candidates, key=distance),
    }
    first = choices[settings.pick]
    return [first, *(face for face in by_size if face is not first)]


def is_sure(face: Face, settings: FaceSettings) -> bool:
    """Whether the detector of these settings is sure of a face that it found."""
    # dlib's score is no probability, and DeepfakeBench takes the largest whatever it is.
    return settings.points == DLIB or face.confidence >= SURE


def _create(settings: FaceSettings) -> Detector:
    if settings.detector == MTCNN:
        from clare.pipeline.faces.mtcnn import Mtcnn

        return Mtcnn(settings.smallest_face)
    if settings.detector == DLIB:
        from clare.pipeline.faces.dlib_points import DlibPoints

        return DlibPoints(settings.landmarks)
    from clare.pipeline.faces.yunet import YuNet

    return YuNet(Path(settings.detector))

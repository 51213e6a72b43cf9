"""How faces are looked for, and which of several is taken."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from clare.errors import InputError
from clare.foreign import open_bytes, reading
from clare.pipeline.faces.face import Detector, Face
from clare.pipeline.faces.turns import find_turned

if TYPE_CHECKING:
    from PIL.Image import Image

Pick = Literal["largest", "centre", "df40"]

MTCNN, DLIB = "mtcnn", "dlib"
"""Detectors that have a name; a file is one of YuNet."""


@dataclass(frozen=True)
class FaceSettings:
    """How faces are looked for, and which of several is taken.

    Args:
        detector: mtcnn; FILE.onnx, a model of YuNet; or dlib, whose points give DeepfakeBench's
            own crops.
        landmarks: dlib's file of 68 landmarks, or DeepfakeBench's of 81.
        upright: look at images as they are. Else all four turns are looked at and the surest
            counts, since a face on its side is often found with the points of an upright one.
        smallest_face: side in pixels of the smallest face that mtcnn looks for. None is 20, and in
            large images a twentieth of the shorter side.
        pick: of several faces the largest; the one nearest to the centre; or the one farthest
            from it, as df40's own code does.

    Raises:
        InputError: a value is out of range.
    """

    detector: str = MTCNN
    landmarks: Path | None = None
    upright: bool = False
    smallest_face: int | None = None
    pick: Pick = "largest"

    def __post_init__(self) -> None:
        if self.pick not in get_args(Pick):
            raise InputError(f"pick {self.pick!r} is not one of {', '.join(get_args(Pick))}")
        if self.smallest_face is not None and self.smallest_face < 12:
            raise InputError(f"smallest_face {self.smallest_face} is less than 12 pixels")
        if self.detector not in (MTCNN, DLIB) and not self.detector.endswith(".onnx"):
            raise InputError(f"detector {self.detector!r} is not mtcnn, dlib or a FILE.onnx")

    def finding(self) -> dict[str, Any]:
        """What decides which faces are found, as plain values: files by their content.

        Raises:
            InputError: a file is missing.
        """
        given: dict[str, Any] = {"detector": self.detector, "upright": self.upright}
        if self.detector == MTCNN:
            given["smallest_face"] = self.smallest_face
        for name, file in self._files().items():
            with reading(file, "a detector's file"), open_bytes(file) as opened:
                given[name] = hashlib.file_digest(opened, "sha256").hexdigest()
        return given

    def _files(self) -> dict[str, Path]:
        if self.detector == DLIB:
            return {} if self.landmarks is None else {"landmarks": self.landmarks}
        return {} if self.detector == MTCNN else {"detector": Path(self.detector)}


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
        self.name = self._detector.name

    def find(self, image: Image) -> list[Face]:
        """All faces of an RGB image, the one that is picked first, then by size."""
        if self.settings.upright:
            found = self._detector.find(image)
        else:
            found = find_turned(self._detector, image)
        return ordered(found, image.size, self.settings.pick)


def ordered(faces: Sequence[Face], size: tuple[int, int], pick: Pick) -> list[Face]:
    """Faces with the one that is picked first, and the others by size.

    Args:
        faces: of one image.
        size: width and height of the image.
        pick: see `FaceSettings`.
    """
    by_size = sorted(faces, key=lambda face: -face.area)
    if pick == "largest" or not faces:
        return by_size
    middle = np.array(size) / 2

    def distance(face: Face) -> float:
        return float(np.linalg.norm((face.box[:2] + face.box[2:]) / 2 - middle))

    choose = min if pick == "centre" else max
    first = choose(by_size, key=distance)
    return [first, *(face for face in by_size if face is not first)]


def _create(settings: FaceSettings) -> Detector:
    if settings.detector == MTCNN:
        from clare.pipeline.faces.mtcnn import Mtcnn

        return Mtcnn(settings.smallest_face)
    if settings.detector == DLIB:
        from clare.pipeline.faces.dlib_points import DlibPoints

        return DlibPoints(settings.landmarks)
    from clare.pipeline.faces.yunet import YuNet

    return YuNet(Path(settings.detector))

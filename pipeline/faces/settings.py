"""How faces are looked for, and which of several is taken."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from clare.errors import InputError
from clare.foreign import open_bytes, reading
from clare.pipeline.images.settings import DLIB

Pick = Literal["largest", "centre", "df40"]

MTCNN = "mtcnn"

_DIGITS = 12


@dataclass(frozen=True)
class FaceSettings:
    """How faces are looked for, and which of several is taken.

    Args:
        detector: mtcnn; FILE.onnx, a model of YuNet; or dlib, whose points give DeepfakeBench's
            own crops.
        landmarks: dlib's file of 68 landmarks, or DeepfakeBench's of 81.
        upright: look at images as they are. Else all four turns are looked at and the likeliest
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

    @property
    def points(self) -> str:
        """Whose points they are, as the column ``face_detector`` says it."""
        return self.detector if self.detector in (MTCNN, DLIB) else "yunet"

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

    @property
    def digest(self) -> str:
        """Beginning of the sha256 of `finding`.

        Raises:
            InputError: a file is missing.
        """
        text = json.dumps(self.finding(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]

    def _files(self) -> dict[str, Path]:
        if self.detector == DLIB:
            return {} if self.landmarks is None else {"landmarks": self.landmarks}
        return {} if self.detector == MTCNN else {"detector": Path(self.detector)}

"""Whether this machine's runtime computes what MTCNN's weights give.

One that pads a pooling on the wrong side moves every point by a few pixels and keeps counts and
confidences as they are: nobody would notice. So one drawn picture is looked at first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from clare.errors import WeightsError
from clare.foreign import read_bytes
from clare.pipeline.faces.face import Face
from clare.pipeline.images.decode import decode_rgb

PICTURE = Path(__file__).parent / "drawn.png"
"""Two drawn faces, one smaller and turned by 8 degrees."""

POINTS = np.array(
    [
        [[78.77, 82.40], [119.81, 82.47], [98.93, 108.72], [81.52, 133.12], [117.23, 133.37]],
        [[220.99, 100.19], [244.54, 98.03], [236.55, 112.77], [228.07, 129.18], [247.24, 127.04]],
    ]
)
"""The points of both, from left to right."""
TOLERANCE = 1.0
"""Pixels. Runtimes that are right differ by 0.01, and by 0.3 if one rounds a pixel of a crop
otherwise; OpenCV 5, which is wrong, by 3.5."""


def check_runtime(find: Callable[[Image.Image], list[Face]]) -> None:
    """Look at the drawn picture.

    Raises:
        WeightsError: other faces are found, or other points.
    """
    faces = sorted(find(decode_rgb(read_bytes(PICTURE))), key=lambda face: face.box[0])
    if len(faces) == len(POINTS):
        off = np.abs(np.stack([face.points for face in faces]) - POINTS).max()
        if off <= TOLERANCE:
            return
        found = f"its points are {off:.1f} pixels off"
    else:
        found = f"it finds {len(faces)} faces"
    raise WeightsError(
        f"this installation of onnxruntime computes MTCNN wrongly: in a picture of "
        f"{len(POINTS)} known faces {found}",
        "install another version of onnxruntime",
    )

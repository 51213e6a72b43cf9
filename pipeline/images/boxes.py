"""The part of an image that a face box, or its centre, cuts out."""

from __future__ import annotations

import math

from clare.errors import ImageError
from clare.pipeline.images.marks import parse_boxes


def crop_box(boxes: str, margin: float, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A face box grown by a margin, in whole pixels, inside the image.

    Args:
        boxes: as the manifest has it.
        margin: by how much the box grows, as a share of its sides, half on either side.
        size: width and height of the image.

    Raises:
        ImageError: there is no box, or it holds no pixel of the image.
    """
    if not boxes:
        raise ImageError("no box: the manifest's column boxes is empty in this row")
    try:
        x0, y0, x1, y1 = parse_boxes(boxes)
    except ValueError as error:
        raise ImageError(f"no box: {error}") from error
    grow_x, grow_y = (x1 - x0) * margin / 2, (y1 - y0) * margin / 2
    width, height = size
    box = (
        max(0, math.floor(x0 - grow_x)),
        max(0, math.floor(y0 - grow_y)),
        min(width, math.ceil(x1 + grow_x)),
        min(height, math.ceil(y1 + grow_y)),
    )
    if x1 <= x0 or y1 <= y0 or box[2] <= box[0] or box[3] <= box[1]:
        raise ImageError(f"empty box: {boxes} leaves nothing of {width}x{height} pixels")
    return box


def centre_box(size: tuple[int, int], side: int | None) -> tuple[int, int, int, int]:
    """A square about the middle of an image, in whole pixels, where torchvision's has it.

    Args:
        size: width and height of the image.
        side: of the square, which may reach beyond the image; the shorter side if None.
    """
    side = side or min(size)
    left, top = (
        round((length - side) / 2) if length >= side else -((side - length) // 2) for length in size
    )
    return left, top, left + side, top + side

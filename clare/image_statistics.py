"""Two statistics of plain pixels: how sharp an image is, and how large as a JPEG."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

QUALITY = 95
"""Of the compression whose result's size is measured."""


def luma(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W) luma (ITU-R BT.601), 0 to 255, of an (H, W, 3) RGB image."""
    weighed: NDArray[np.float32] = image.astype(np.float32) @ np.array(
        [0.299, 0.587, 0.114], np.float32
    )
    return weighed


def laplacian_energy(image: NDArray[np.uint8]) -> float:
    """Mean square of the 4-neighbour Laplacian of the luma, inside the border.

    Args:
        image: (H, W, 3) RGB.
    """
    grey = luma(image)
    neighbours = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(np.square(neighbours - 4 * grey[1:-1, 1:-1]).mean(dtype=np.float64))


def jpeg_size(image: NDArray[np.uint8]) -> int:
    """Bytes of an (H, W, 3) RGB image as a JPEG of quality 95."""
    from PIL import Image

    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "JPEG", quality=QUALITY)
    return packed.tell()

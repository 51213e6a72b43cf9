"""A map of fake pixels over its picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_OPACITY = 0.6
"""Of a pixel that is fake for certain; one that is real for certain shows the picture alone."""


def lay_over(
    picture: NDArray[np.uint8], probability: NDArray[np.float32], cut: float = 0.5
) -> NDArray[np.uint8]:
    """A picture under the heat of its map; what is called fake has an outline.

    The heat is the denser the higher the probability is, from yellow to red. The outline is white
    within black, so that it shows on bright and on dark.

    Args:
        picture: (H, W, 3).
        probability: (H, W) of each pixel being fake, 0 to 1.
        cut: a pixel is called fake above it.

    Returns:
        (H, W, 3).
    """
    opacity = _OPACITY * probability[..., None]
    heat = np.stack(
        np.broadcast_arrays(np.float32(255), 255 * (1 - probability), np.float32(0)), -1
    )
    shown = np.rint(picture + opacity * (heat - picture)).astype(np.uint8)
    called = probability > cut
    side = 2 * max(1, round(called.size**0.5 / 256)) + 1
    # The picture's own edge is no outline.
    shown[ndimage.maximum_filter(called, side) & ~called] = 0
    shown[called & ~ndimage.minimum_filter(called, side)] = 255
    return shown

"""The exact input of an image tower before normalisation, for methods that tune the tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clare.pipeline.extractor import HostExtractor

if TYPE_CHECKING:
    import numpy as np

    from clare.pipeline.images.prepare import PreparedImage


class PixelsExtractor(HostExtractor):
    """Field ``pixels``: uint8 ``(size, size, 3)`` RGB, squashed, bicubic.

    If no size is given, they are of the size that ``clip`` or ``tower`` takes, beside them or in
    the store already.
    """

    channels = (3,)

    def prepare(self, image: PreparedImage) -> dict[str, np.ndarray]:
        """``pixels``: uint8 (size, size, 3)."""
        return {"pixels": image.pixels(self.size)}

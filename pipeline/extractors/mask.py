"""The manifest's mask of the manipulated region, moved with the image's views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clare.pipeline.extractor import HostExtractor

if TYPE_CHECKING:
    import numpy as np

    from clare.pipeline.images.prepare import PreparedImage


class MaskExtractor(HostExtractor):
    """Field ``mask``: uint8 ``(size, size)``, squashed by area means; 255 is the strongest."""

    VERSION = 3
    channels = ()

    def prepare(self, image: PreparedImage) -> dict[str, np.ndarray]:
        """``mask``: uint8 (size, size)."""
        return {"mask": image.mask(self.size)}

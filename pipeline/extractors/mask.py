"""The manifest's mask of the manipulated region, moved with the image's views."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from clare.errors import InputError
from clare.pipeline.extractor import HostExtractor, Runtime
from clare.store.spec import FeatureSpec

if TYPE_CHECKING:
    from clare.pipeline.images import ImageSettings, PreparedImage


@dataclass(frozen=True)
class MaskSettings:
    """Settings of `mask`.

    Args:
        size: side of the stored square, in pixels.

    Raises:
        InputError: the size is not positive.
    """

    size: int = 256

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"mask's size must be at least 1, not {self.size}")


class MaskExtractor(HostExtractor):
    """Field ``mask``: uint8 ``(size, size)``, squashed, nearest neighbour."""

    Settings = MaskSettings

    def __init__(self, settings: MaskSettings, images: ImageSettings, runtime: Runtime) -> None:
        self._size = settings.size
        self.fields = (FeatureSpec("mask", (settings.size, settings.size), "uint8"),)
        self.fingerprint = self.sign("", asdict(settings), images)

    def prepare(self, image: PreparedImage) -> dict[str, np.ndarray]:
        """``mask``: uint8 (size, size)."""
        return {"mask": image.mask(self._size)}

"""The exact input of an image tower before normalisation, for methods that tune the tower."""

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
class PixelsSettings:
    """Settings of `pixels`.

    Args:
        size: side of the stored square, in pixels.

    Raises:
        InputError: the size is not positive.
    """

    size: int = 256

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"pixels' size must be at least 1, not {self.size}")


class PixelsExtractor(HostExtractor):
    """Field ``pixels``: uint8 ``(size, size, 3)`` RGB, squashed, bicubic."""

    Settings = PixelsSettings

    def __init__(self, settings: PixelsSettings, images: ImageSettings, runtime: Runtime) -> None:
        self._size = settings.size
        self.fields = (FeatureSpec("pixels", (settings.size, settings.size, 3), "uint8"),)
        self.fingerprint = self.sign("", asdict(settings), images)

    def prepare(self, image: PreparedImage) -> dict[str, np.ndarray]:
        """``pixels``: uint8 (size, size, 3)."""
        return {"pixels": image.pixels(self._size)}

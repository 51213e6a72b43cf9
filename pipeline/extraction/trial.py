"""What a user may ask of a trial of an extraction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from clare.advice import Name
from clare.errors import InputError


@dataclass(frozen=True)
class TrialSettings:
    """How `clare.bench` measures.

    Args:
        images: images to say the cost of. Those that are named if left out, or 10,000.
        size: side of the pictures that are drawn where no images are named, in pixels.
        seconds: about how long it takes, beside loading the models; slow models take longer.
        scratch: folder for its files, which are gone at the end. The store's if left out.

    Raises:
        InputError: a value is out of range.
    """

    images: int | None = None
    size: int = 1024
    seconds: float = 30.0
    scratch: Path | None = None

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 1:
            raise InputError(f"images {self.images} is not 1 or more")
        if self.size < 16:
            raise InputError(f"size {self.size} is not 16 pixels or more")
        if not 0 < self.seconds < math.inf:  # which refuses what is no number too
            raise InputError(
                f"a trial can't take {self.seconds:g} seconds",
                Name("a number above 0", "seconds", "30"),
            )

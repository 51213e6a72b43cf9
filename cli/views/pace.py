"""How long an extraction still takes, from the micro-batches so far."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

WARM = 3
"""Micro-batches of each extractor, beside the first, after which there is an estimate."""

SHORTEST, LONGEST = 2.0, 30.0
"""Seconds that pass before the first estimate; after the longer time also with fewer batches."""


@dataclass
class _Work:
    left: int
    batches: int = 0
    images: int = 0
    seconds: float = 0.0


class Pace:
    """The time that is left, as a range that narrows.

    The first micro-batch of an extractor warms up and is left out. What the models do not account
    for, as waiting for images, is taken in proportion.

    Args:
        images: that each extractor has to do.
        clock: seconds that pass.
    """

    def __init__(
        self, images: Mapping[str, int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._works = {name: _Work(count) for name, count in images.items()}
        self._began: float | None = None
        self._busy = 0.0

    def add(self, extractor: str, images: int, seconds: float) -> None:
        """Count a micro-batch of an extractor, which took so many seconds."""
        work = self._works.setdefault(extractor, _Work(0))
        work.left -= images
        if self._began is None:
            self._began = self._clock()
        else:
            self._busy += seconds
        if work.batches:
            work.images += images
            work.seconds += seconds
        work.batches += 1

    def left(self) -> tuple[float, float] | None:
        """The least and the most seconds that it may still take; None as long as nobody knows."""
        if self._began is None or not self._busy:
            return None
        passed = self._clock() - self._began
        known = [work for work in self._works.values() if work.seconds]
        warm = all(work.batches > WARM or work.left <= 0 for work in self._works.values())
        if not known or passed < SHORTEST or (not warm and passed < LONGEST):
            return None
        paces = [work.seconds / work.images for work in known]
        models = sum(max(one.left, 0) * pace for one, pace in zip(known, paces, strict=True))
        # An extractor that has not begun takes nothing, or as long as the slowest.
        unknown = max(paces) * sum(w.left for w in self._works.values() if not w.seconds)
        scale = passed / self._busy
        doubt = 1 + max(0.1, min(0.5, 1 / math.sqrt(min(work.batches for work in known))))
        return models * scale / doubt, (models + unknown) * scale * doubt

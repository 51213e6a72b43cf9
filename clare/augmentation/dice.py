"""Random numbers that are the same on every machine and in every version."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Draws of one view, in their order.

    Args:
        seed: any bytes; equal ones give equal draws.
    """

    def __init__(self, seed: bytes) -> None:
        # Python promises this generator's sequence of `random` for all versions, and of no other
        # method; NumPy does not promise its own.
        self.share = random.Random(int.from_bytes(seed, "big")).random

    def uniform(self, low: float, high: float) -> float:
        """A number between two others."""
        return low + (high - low) * self.share()

    def whole(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both of them possible."""
        return low + int(self.share() * (high - low + 1))

    def happens(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.share() < probability

    def pick(self, choices: Sequence[T]) -> T:
        """One of several, each as likely."""
        return choices[self.whole(0, len(choices) - 1)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All of them, in an order of which each is as likely."""
        left = list(items)
        return [left.pop(self.whole(0, len(left) - 1)) for _ in items]

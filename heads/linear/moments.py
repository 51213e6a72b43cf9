"""What closed forms take from the training rows: means and scatter, summed piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

Pieces = Callable[[], Iterator[tuple[Values, Values]]]
"""Vectors (n, d) and targets (n,) of some rows at a time; called once for each pass."""


@dataclass(frozen=True)
class Moments:
    """Of n rows with d channels. All of it is float64: small strengths divide by what the scatter's
    smallest eigenvalues are, which float32 does not hold.

    Args:
        counts: (2,) rows of reals and of fakes.
        sums: (2, d) of the vectors of reals and of fakes.
        scatter: (d, d) the sum over rows of (x - mean)(x - mean)^T.
        cross: (d,) the sum over rows of (x - mean)(y - mean of y), y -1 for reals and 1 for fakes.
    """

    counts: Values
    sums: Values
    scatter: Values
    cross: Values

    @classmethod
    def of(cls, pieces: Pieces) -> Moments:
        """In one pass; memory does not grow with the rows."""
        return reduce(cls.beside, (cls._of_rows(values, y) for values, y in pieces()))

    @classmethod
    def _of_rows(cls, values: Values, y: Values) -> Moments:
        labels = np.stack([y < 0, y > 0]).astype(np.float64)
        centred = values - values.mean(0)
        cross = centred.T @ (y - y.mean())
        return cls(labels.sum(1), labels @ values, centred.T @ centred, cross)

    def beside(self, other: Moments) -> Moments:
        """Of these rows and of other ones together, so that nothing cancels (Chan et al. 1983)."""
        share = self.rows * other.rows / (self.rows + other.rows)
        apart, turned = other.mean - self.mean, other.target - self.target
        scatter = np.outer(share * apart, apart)
        scatter += self.scatter
        scatter += other.scatter
        return Moments(
            self.counts + other.counts,
            self.sums + other.sums,
            scatter,
            self.cross + other.cross + share * turned * apart,
        )

    @property
    def rows(self) -> int:
        """n."""
        return int(self.counts.sum())

    @property
    def mean(self) -> Values:
        """(d,)."""
        found: Values = self.sums.sum(0) / self.rows
        return found

    @property
    def target(self) -> float:
        """The mean of y."""
        return float(self.counts[1] - self.counts[0]) / self.rows

    @property
    def means(self) -> Values:
        """(2, d) of reals and of fakes."""
        return self.sums / self.counts[:, None]

"""What closed forms take from the training rows: means and scatter, summed piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

Pieces = Callable[[], Iterator[tuple[Values, Values]]]
"""Vectors (n, d) and targets (n,) of some rows at a time; called once for each pass."""


@dataclass(frozen=True)
class Moments:
    """Of n rows with d channels.

    Args:
        rows: n.
        mean: (d,).
        scatter: (d, d) the sum over rows of (x - mean)(x - mean)^T.
        cross: (d,) the sum over rows of (x - mean)(y - mean of y), y -1 for reals and 1 for fakes.
        target: mean of y.
        means: (2, d) of reals and of fakes.
    """

    rows: int
    mean: Values
    scatter: Values
    cross: Values
    target: float
    means: Values

    @classmethod
    def of(cls, pieces: Pieces) -> Moments:
        """In two passes, so that nothing cancels; memory does not grow with the rows."""
        sums, counts = np.zeros(0), np.zeros(2)
        for values, y in pieces():
            if not sums.size:
                sums = np.zeros((2, values.shape[1]))
            for label, sign in enumerate((-1, 1)):
                sums[label] += values[y == sign].sum(0)
                counts[label] += (y == sign).sum()
        rows = int(counts.sum())
        mean, target = sums.sum(0) / rows, float((counts[1] - counts[0]) / rows)
        scatter, cross = np.zeros((len(mean), len(mean))), np.zeros(len(mean))
        for values, y in pieces():
            centred = values - mean
            scatter += centred.T @ centred
            cross += centred.T @ (y - target)
        return cls(rows, mean, scatter, cross, target, sums / counts[:, None])

"""What closed forms take from the training rows: means and scatter, summed piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

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
    def of(cls, pieces: Pieces, known: Values | None = None) -> Moments:
        """In one pass; memory does not grow with the rows.

        Each piece is centred by itself, so that nothing cancels (Chan et al. 1983). What pieces
        differ by is added for many of them at once.

        Args:
            pieces: of the rows.
            known: (k, k) the scatter of the first k channels over the same rows, where it is at
                hand: it is then not summed again.
        """
        left, found = pieces(), None
        start = 0 if known is None else len(known)
        for first in left:
            some = _summed(chain([first], islice(left, _TOGETHER - 1)), start)
            found = some if found is None else found.beside(some)
        assert found is not None
        if known is not None:
            found.scatter[:start, :start] = known
        return found

    def beside(self, other: Moments) -> Moments:
        """Of these rows and of other ones together."""
        both = (self, other)
        counts, sums = (np.array([getattr(one, name) for one in both]) for name in _TOTALS)
        return _joined(counts, sums, self.scatter + other.scatter, self.cross + other.cross)

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


_TOTALS = ("counts", "sums")

_TOGETHER = 256
"""Pieces whose means are kept until they are joined."""


def _summed(pieces: Iterable[tuple[Values, Values]], start: int) -> Moments:
    within = _Within(start)
    counts, sums = [], []
    for values, y in pieces:
        labels = np.stack([y < 0, y > 0]).astype(np.float64)
        counts.append(labels.sum(1))
        sums.append(labels @ values)
        within.add(values, sums[-1].sum(0) / len(y), y)
    return _joined(np.array(counts), np.array(sums), within.whole(), within.cross)


def _joined(counts: Values, sums: Values, scatter: Values, cross: Values) -> Moments:
    """Moments of all rows of several groups.

    Args:
        counts: (G, 2) rows of each by label.
        sums: (G, 2, d) of their vectors.
        scatter: (d, d) added up over the groups, each about its own mean; it is overwritten.
        cross: (d,) likewise.
    """
    rows = counts.sum(1)
    means, targets = sums.sum(1) / rows[:, None], (counts[:, 1] - counts[:, 0]) / rows
    apart = means - sums.sum((0, 1)) / rows.sum()
    weighed = np.sqrt(rows)[:, None] * apart
    scatter += weighed.T @ weighed
    cross = cross + (rows * (targets - rows @ targets / rows.sum())) @ apart
    return Moments(counts.sum(0), sums.sum(0), scatter, cross)


class _Within:
    """Sums over rows about the mean of their piece. Of the scatter, half is computed.

    Args:
        start: the first channel whose scatter is computed; that of two before it stays zero.
    """

    def __init__(self, start: int) -> None:
        self._start = start
        self.cross: Values = np.zeros(0)
        self._lower: Values | None = None
        self._before: Values = np.zeros(0)
        self._centred = np.empty((0, 0))

    def add(self, values: Values, mean: Values, y: Values) -> None:
        """A piece (n, d), its mean (d,) and its targets (n,)."""
        from scipy.linalg.blas import dsyrk

        rows, width = values.shape
        start = self._start
        if self._lower is None:
            left = width - start
            self.cross, self._lower = np.zeros(width), np.zeros((left, left), order="F")
            self._before = np.zeros((left, start))
        if len(self._centred) < rows:
            self._centred = np.empty(values.shape)
        centred = np.subtract(values, mean, out=self._centred[:rows])
        self.cross += (y - y.mean()) @ centred
        mine = centred[:, start:].T
        self._lower = dsyrk(1, mine, 1, self._lower, lower=1, overwrite_c=1)
        if start:
            self._before += mine @ centred[:, :start]

    def whole(self) -> Values:
        """(d, d), both halves."""
        assert self._lower is not None
        own = self._lower + np.tril(self._lower, -1).T
        if not self._start:
            return own
        first = np.zeros((self._start, self._start))
        return np.block([[first, self._before.T], [self._before, own]])

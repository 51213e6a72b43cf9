"""The stratified cluster bootstrap, and a figure with its interval.

Frames of one video, and images of one person, are alike: drawing rows one by one would give
intervals that are too narrow. So whole clusters are drawn, as many as there are, for each label by
itself (Davison and Hinkley 1997, sections 3.8 and 2.4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

CELLS = 1 << 18
"""Weights at a time, 2 MiB: a block stays in the processor's cache, and a million rows need little
memory. Each label draws row after row from its own generator, so this decides no draw."""

LEVEL = (0.025, 0.975)
"""Quantiles of a 95 % interval."""


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval.

    Args:
        value: None where the figure does not exist, as an AUC of fakes alone.
        low: end of the interval; None where there is none.
        high: the other end.
        n: rows that it is of; of a mean, how many it is over.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int

    @classmethod
    def of(cls, value: float | None, draws: NDArray[np.float64], n: int) -> Figure:
        """A figure with the percentile interval of its resamples.

        Args:
            value: on all rows.
            draws: (B,) in each resample; none where it has no interval.
            n: see the class.
        """
        low, high = interval(draws)
        return cls(value, low, high, n)


Figures = Mapping[str, Figure]
"""By name, as ``auc``."""


@dataclass(frozen=True)
class Resampling:
    """A bootstrap's settings.

    Args:
        count: resamples; 0 gives no intervals.
        seed: of the draws.
    """

    count: int = 1000
    seed: int = 0


USUAL = Resampling()


def resample(
    label: NDArray[np.int64], cluster: NDArray[np.str_], how: Resampling
) -> Iterator[NDArray[np.float64]]:
    """How often each row stands in each resample.

    The draws of a label depend on the seed and on the names of its clusters alone. So two sets
    that share their reals draw the same reals, and the interval of a mean over subsets, or of a
    difference between two detectors, counts what they have in common.

    Args:
        label: (N,) of each row.
        cluster: (N,) the cluster's name of each row.
        how: how many resamples, and their seed.

    Yields:
        (B, N) whole numbers, as float64, B as `CELLS` allows; in all ``how.count`` of them.
        Nothing, where a label has a single cluster: what has not varied gives no interval.
    """
    strata = []
    for value in np.unique(label):
        rows = np.flatnonzero(label == value)
        names, inverse = np.unique(cluster[rows], return_inverse=True)
        if len(names) < 2:
            return
        key = crc32("\n".join([str(value), *names.tolist()]).encode(errors="surrogatepass"))
        strata.append((_whole(rows), inverse, len(names), np.random.default_rng([how.seed, key])))
    step = max(1, CELLS // max(1, len(label)))
    for start in range(0, how.count, step):
        count = min(step, how.count - start)
        weights = np.empty((count, len(label)))
        for place, inverse, clusters, generator in strata:
            drawn = generator.integers(clusters, size=(count, clusters))
            drawn += np.arange(0, count * clusters, clusters)[:, None]
            # 16 bits hold how often one of n is drawn in n draws, and read much faster.
            times = np.bincount(drawn.ravel(), minlength=drawn.size).astype(np.uint16)
            weights[:, place] = times.reshape(drawn.shape).take(inverse, axis=1)
        yield weights


def _whole(places: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Neighbouring places as a slice, into which numbers are written much faster."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first + 1 == len(places) else places


def interval(draws: NDArray[np.float64]) -> tuple[float, float] | tuple[None, None]:
    """Percentile interval of a figure's resamples, 95 %; nothing where there are none."""
    if not len(draws) or np.isnan(draws).any():
        return None, None
    low, high = np.quantile(draws, LEVEL)
    return float(low), float(high)


def mean_figures(
    values: Mapping[str, NDArray[np.float64]],
    label: NDArray[np.int64],
    cluster: NDArray[np.str_],
    how: Resampling,
) -> dict[str, Figure]:
    """Means over rows with their intervals, all on the same resamples.

    Args:
        values: (N,) by name; nan in a row that the mean is not over.
        label: see `resample`.
        cluster: see `resample`.
        how: see `resample`.

    Returns:
        By name; without a value where a mean is over no row, and without an interval where a
        resample has none of its rows.
    """
    table = np.stack([*values.values()], axis=1)
    known = np.isfinite(table).astype(np.float64)
    table = np.where(known, table, 0.0)
    with np.errstate(invalid="ignore"):
        draws = [weights @ table / (weights @ known) for weights in resample(label, cluster, how)]
    drawn = np.concatenate([np.empty((0, len(values))), *draws])
    figures = {}
    for name, total, count, column in zip(values, table.sum(0), known.sum(0), drawn.T, strict=True):
        figures[name] = Figure.of(float(total / count) if count else None, column, int(count))
    return figures

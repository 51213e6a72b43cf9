"""Abstention: how accurate a detector is where it judges those rows alone that it is sure of.

A row counts as the surer the farther its margin is from the threshold. The accuracy of the surest
against their share is the risk-coverage curve (El-Yaniv and Wiener 2010), one minus the risk; the
mean risk over all shares is its area, AURC (Geifman, Uziel and El-Yaniv 2019). Of rows that are
equally sure no order is better than another, so all figures are means over their orders.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clare.bootstrap import Figure, Resampling, resample
from clare.heads.metrics.measure import Measured
from clare.heads.metrics.predictions import Predictions
from clare.ranks import running

SHARES = (0.8, 0.5)
"""Shares of the surest rows whose accuracy is a figure."""

TITLES = {
    "accuracy": "accuracy of all",
    **{f"accuracy_surest_{share:g}": f"of the surest {100 * share:g} %" for share in SHARES},
    "aurc": "AURC",
}
"""Headings of the figures, in the order in which they are read."""


class RiskCoverage:
    """Rows from the surest on, and which of them a threshold judges wrongly.

    Args:
        rows: (N,) at least one.
        threshold: margin from which on a row is called fake, found on other rows.
    """

    def __init__(self, rows: Predictions, threshold: float) -> None:
        distance = np.abs(rows.margin - threshold)
        self._order = np.argsort(-distance, kind="stable")
        distance = distance[self._order]
        self._wrong = ((rows.margin >= threshold) != (rows.label == 1))[self._order]
        # Up to where each group of equally sure rows reaches.
        self._ends = np.flatnonzero(np.append(distance[1:] != distance[:-1], True)) + 1
        self._mistakes = np.flatnonzero(self._wrong)
        group = np.searchsorted(self._ends, self._mistakes, "right")
        groups, self._firsts = np.unique(group, return_index=True)
        self._starts, self._stops = np.append(0, self._ends)[groups], self._ends[groups]
        self._tied = bool((self._stops - self._starts > 1).any())

    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(G,) shares of all rows, each that of a group and all that are surer; (G,) accuracies."""
        wrong = np.cumsum(self._wrong)[self._ends - 1]
        return self._ends / len(self._order), 1 - wrong / self._ends

    def figures(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """The figures of each resample.

        A mistake at place k counts in the risks of k and more rows, 1 / k + … + 1 / n, so the
        mistakes alone are looked at.

        Args:
            weights: (B, N) whole numbers, how often each row counts, in the order of the rows.

        Returns:
            (B,) by the names of `TITLES`.
        """
        weights = weights.take(self._order, axis=1)
        judged = running(weights)
        total = judged[:, -1]
        before, after = judged.take(self._starts, axis=1), judged.take(self._stops, axis=1)
        missed = weights.take(self._mistakes, axis=1)
        rate = np.ones_like(missed)
        if self._tied:
            missed = np.add.reduceat(missed, self._firsts, axis=1)
            count = after - before
            rate = np.divide(missed, count, out=np.zeros_like(missed), where=count > 0)
        mistakes = running(missed)

        # Sums of 1 / 1 + … + 1 / k, and over the first m of those: of 0, 1, … m - 1.
        numbers = np.arange(total.max() + 1)
        harmonic = np.append(0.0, np.cumsum(1 / numbers[1:]))
        summed = numbers * harmonic - numbers
        within = summed.take(after.astype(np.int64)) - summed.take(before.astype(np.int64))
        spared = np.einsum("ij,ij->i", rate, within)
        risks = mistakes[:, -1] * harmonic[total.astype(np.int64)] - spared

        found = {"accuracy": 1 - mistakes[:, -1] / total, "aurc": risks / total}
        for share in SHARES:
            wanted = share * total
            wrong = mistakes[:, -1].copy()
            for draw, place in enumerate(map(np.searchsorted, after, wanted)):
                if place < len(self._stops):  # a group that is judged in part, or not at all
                    part = max(0.0, wanted[draw] - before[draw, place])
                    wrong[draw] = mistakes[draw, place] + rate[draw, place] * part
            found[f"accuracy_surest_{share:g}"] = 1 - wrong / wanted
        return found


def measure_abstention(rows: Predictions, threshold: float, how: Resampling) -> dict[str, Figure]:
    """The figures of `TITLES`, with their intervals.

    Args:
        rows: (N,) of one subset.
        threshold: margin from which on a row is called fake, found on other rows.
        how: the bootstrap.
    """
    ranked = RiskCoverage(rows, threshold)
    point = ranked.figures(np.ones((1, len(rows))))
    steps = [ranked.figures(weights) for weights in resample(rows.label, rows.cluster, how)]
    return Measured(
        n=len(rows),
        values={name: float(point[name][0]) for name in TITLES},
        draws={name: np.concatenate([step[name] for step in steps]) for name in TITLES if steps},
    ).figures

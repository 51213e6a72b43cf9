"""Rows ranked once, from which the figures of many resamples come in a few passes over them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clare.heads.metrics.predictions import Predictions
from clare.ranks import Ranks, running

Drawn = dict[str, NDArray[np.float64]]
"""(B,) a figure of each resample, by name."""

ONE_CLASS = ("accuracy", "accuracy_at_0.5", "ece")
"""Figures that exist where only one label is there."""

BINS = 15
"""Bins of the calibration error."""

_NEED_THRESHOLD = ("accuracy", "balanced_accuracy", "f1")


class Ranking:
    """Reals and fakes, each in falling order of their margin, and what each cut calls fake.

    A **cut** calls all rows from some margin on fake; there is one for each margin, and one above
    them all. Along the cuts both rates only rise, so most figures are found by bisection. Only the
    areas need all rows, and of these only the fakes.

    Args:
        rows: of any order.
        order: (N,) their places, first the reals and then the fakes, each in falling order.
        threshold: margin from which on a row is called fake; figures that need it are left out
            without one.
        oracle: also the best accuracy over all cuts.
    """

    def __init__(
        self, rows: Predictions, order: NDArray[np.int64], threshold: float | None, oracle: bool
    ) -> None:
        margin = rows.margin[order]
        self.reals = int((rows.label == 0).sum())
        real, fake = -margin[: self.reals], -margin[self.reals :]
        self.both = 0 < self.reals < len(order)
        self.threshold = threshold
        self.oracle = oracle
        self.even = rows.even
        cuts = np.unique(-margin)
        # How many reals and fakes are called fake at each cut.
        self.alarms = np.append(0, np.searchsorted(real, cuts, side="right"))
        self.caught = np.append(0, np.searchsorted(fake, cuts, side="right"))
        self.ranks = Ranks.of(-real, -fake)
        self.called = _count(real, fake, threshold)
        self.called_even = _count(real, fake, self.even)
        if self.even is not None:
            score = rows.score[order]
            self.scores = score[: self.reals], score[self.reals :]
            self.bins = [_edges(scores) for scores in self.scores]

    @property
    def names(self) -> list[str]:
        """Every figure, those that do not exist here too."""
        names = ["auc", "ap", "eer", "accuracy", "balanced_accuracy", "f1"]
        names += ["tpr_at_fpr_1", "tpr_at_fpr_5", "ece", "accuracy_at_0.5"]
        return [*names, "accuracy_oracle"] if self.oracle else names

    def figures(self, weights: NDArray[np.float64]) -> Drawn:
        """The figures of each resample.

        Args:
            weights: (B, N), how often each row counts, in the order given.

        Returns:
            (B,) by name: area under the ROC curve, average precision, equal error rate (the mean
            of both rates where they differ least), accuracy, balanced accuracy and F1 at the
            threshold, true positive rate at 1 % and 5 % false ones, expected calibration error of
            p(fake) in 15 bins of equal width, and accuracy at even odds; the last two not of
            plain numbers, of which nobody knows where even odds are.
        """
        real, fake = weights[:, : self.reals], weights[:, self.reals :]
        reals, fakes = running(real), running(fake)
        found = self._at(reals, fakes, self.called)
        if self.even is not None:
            found["accuracy_at_0.5"] = self._at(reals, fakes, self.called_even)["accuracy"]
            found["ece"] = self._calibration(real, fake, fakes)
        if self.both:
            found |= self._areas(reals, fakes) | self._rates(reals, fakes)
        else:
            found = {name: values for name, values in found.items() if name in ONE_CLASS}
        if self.threshold is None:
            found = {n: v for n, v in found.items() if n not in _NEED_THRESHOLD}
        return {name: found[name] for name in self.names if name in found}

    def _at(
        self, reals: NDArray[np.float64], fakes: NDArray[np.float64], called: tuple[int, int]
    ) -> Drawn:
        alarms, caught = reals[:, called[0]], fakes[:, called[1]]
        every_real, every_fake = reals[:, -1], fakes[:, -1]
        with np.errstate(invalid="ignore", divide="ignore"):
            balanced = (caught / every_fake + 1 - alarms / every_real) / 2
        return {
            "accuracy": (caught + every_real - alarms) / (every_real + every_fake),
            "balanced_accuracy": balanced,
            "f1": 2 * caught / np.maximum(caught + alarms + every_fake, 1),
        }

    def _calibration(
        self, real: NDArray[np.float64], fake: NDArray[np.float64], fakes: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        gaps = np.zeros(len(fakes))
        spans = zip(*map(pairwise, self.bins), strict=True)
        for (first, last), (start, end) in spans:
            expected = real[:, first:last] @ self.scores[0][first:last]
            expected += fake[:, start:end] @ self.scores[1][start:end]
            gaps += np.abs(fakes[:, end] - fakes[:, start] - expected)
        return gaps / (real.sum(1) + fakes[:, -1])

    def _areas(self, reals: NDArray[np.float64], fakes: NDArray[np.float64]) -> Drawn:
        every_real, every_fake = reals[:, -1], fakes[:, -1]
        caught = self.ranks.caught(fakes)
        gained = np.diff(caught, prepend=0)
        pairs = every_real * every_fake
        found = {"auc": (pairs - self.ranks.wrong_pairs(reals, gained)) / pairs}
        alarms = reals.take(self.ranks.beside, 1)
        if self.oracle:
            right = (caught - alarms).max(1, initial=0) + every_real
            found["accuracy_oracle"] = right / (every_real + every_fake)
        alarms += caught
        np.maximum(alarms, 1, out=alarms)
        precision = np.divide(caught, alarms, out=alarms)
        found["ap"] = np.einsum("ij,ij->i", gained, precision) / every_fake
        return found

    def _rates(self, reals: NDArray[np.float64], fakes: NDArray[np.float64]) -> Drawn:
        every_real, every_fake = reals[:, -1], fakes[:, -1]
        resamples = np.arange(len(reals))

        def alarms(cut: NDArray[np.int64]) -> NDArray[np.float64]:
            return reals[resamples, self.alarms[cut]]

        def caught(cut: NDArray[np.int64]) -> NDArray[np.float64]:
            return fakes[resamples, self.caught[cut]]

        def gap(cut: NDArray[np.int64]) -> NDArray[np.float64]:
            # Compared in whole numbers, so that rounding never decides between two equal gaps.
            return alarms(cut) * every_fake - (every_fake - caught(cut)) * every_real

        last = len(self.alarms) - 1
        below = _bisect(lambda cut: gap(cut) <= 0, len(reals), last)
        after = np.minimum(below + 1, last)
        best = np.where(np.abs(gap(after)) < np.abs(gap(below)), after, below)
        missed = every_fake - caught(best)
        found = {"eer": (alarms(best) / every_real + missed / every_fake) / 2}

        def within(percent: int, cut: NDArray[np.int64]) -> NDArray[np.bool_]:
            # In whole numbers too: 0.01 * reals would round.
            return 100 * alarms(cut) <= percent * every_real

        for percent in (1, 5):
            allowed = _bisect(partial(within, percent), len(reals), last)
            found[f"tpr_at_fpr_{percent}"] = caught(allowed) / every_fake
        return found


def _bisect(
    holds: Callable[[NDArray[np.int64]], NDArray[np.bool_]], count: int, last: int
) -> NDArray[np.int64]:
    """(count,) the last cut, of 0 to ``last``, at which a condition holds that holds at cut 0."""
    low, high = np.zeros(count, np.int64), np.full(count, last)
    while (low < high).any():
        middle = (low + high + 1) // 2
        still = holds(middle)
        low, high = np.where(still, middle, low), np.where(still, high, middle - 1)
    return low


def _count(
    real: NDArray[np.float64], fake: NDArray[np.float64], threshold: float | None
) -> tuple[int, int]:
    """Reals and fakes that a threshold calls fake; the margins are negated."""
    at = -np.inf if threshold is None else -threshold
    return int(np.searchsorted(real, at, "right")), int(np.searchsorted(fake, at, "right"))


def _edges(score: NDArray[np.float64]) -> list[int]:
    """Where each bin of falling scores begins, and the end of the last."""
    bins = np.minimum((score * BINS).astype(np.int64), BINS - 1)
    return [int((bins >= number).sum()) for number in range(BINS, -1, -1)]

"""Figures of a detector, each with n and a 95 % interval; scikit-learn's definitions.

Fake is the positive class. Rank figures use the margin, for a probability runs out of digits. All
resamples of a bootstrap are computed at once, as rows of weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clare.errors import InputError
from clare.heads.predictions import Predictions
from clare.statistics import interval, resample

Figures = dict[str, NDArray[np.float64]]

ONE_CLASS = ("accuracy", "accuracy_at_0.5", "ece")
"""Figures that exist where only one label is there."""

BINS = 15
"""Bins of the calibration error."""


@dataclass(frozen=True)
class Measured:
    """Figures of one set of rows.

    Args:
        n: rows; for a mean over sets, the number of sets.
        values: figure by name; None where it does not exist.
        draws: (resamples,) of each figure that exists; empty without an interval.
    """

    n: int
    values: Mapping[str, float | None]
    draws: Mapping[str, NDArray[np.float64]]

    def to_json(self) -> dict[str, dict[str, Any]]:
        """``{"auc": {"value", "low", "high", "n"}, …}``; None where there is no figure."""
        made = {}
        for name, value in self.values.items():
            low, high = interval(self.draws.get(name, np.empty(0)))
            made[name] = {"value": value, "low": low, "high": high, "n": self.n}
        return made


def measure(
    predictions: Predictions,
    threshold: float | None,
    seed: int = 0,
    resamples: int = 1000,
    *,
    oracle: bool = False,
) -> dict[str, dict[str, Any]]:
    """All figures of a set of rows; see `figures_of` for their names.

    Args:
        predictions: the rows.
        threshold: margin from which on a row is called fake, found on other rows; without one,
            figures that need it are None.
        seed: of the bootstrap.
        resamples: of the bootstrap; 0 gives no intervals.
        oracle: also the best accuracy over all thresholds, searched on these very rows.

    Returns:
        ``{"auc": {"value": 0.9, "low": 0.88, "high": 0.92, "n": 1000}, …}``.

    Raises:
        InputError: there are no rows.
    """
    return measure_draws(predictions, threshold, seed, resamples, oracle=oracle).to_json()


def measure_draws(
    predictions: Predictions,
    threshold: float | None,
    seed: int = 0,
    resamples: int = 1000,
    *,
    oracle: bool = False,
) -> Measured:
    """`measure`, with every resample's figures."""
    if not len(predictions):
        raise InputError("there are no rows to measure: no row has a score and this split")
    ranked = predictions.take(np.argsort(-predictions.margin, kind="stable"))
    table = _Ranked(ranked, threshold, oracle)
    point = table.figures(np.ones((1, len(ranked))))
    weights = resample(ranked.label, ranked.cluster, seed=seed, resamples=resamples)
    steps = [table.figures(step) for step in weights]
    return Measured(
        n=len(ranked),
        values={name: float(point[name][0]) if name in point else None for name in table.names},
        draws={name: np.concatenate([s[name] for s in steps]) for name in point if steps},
    )


def mean_of(sets: Sequence[Measured]) -> Measured:
    """The mean of each figure over several sets, each counting the same.

    A figure that one of them lacks is None.
    """
    names = [name for name in sets[0].values if all(name in one.values for one in sets)]
    values = {name: [one.values[name] for one in sets] for name in names}
    drawn = [name for name in names if all(name in one.draws for one in sets)]
    return Measured(
        n=len(sets),
        values={
            name: None if None in found else float(np.mean(np.array(found, np.float64)))
            for name, found in values.items()
        },
        draws={name: np.mean([one.draws[name] for one in sets], axis=0) for name in drawn},
    )


def difference_of(first: Measured, second: Measured) -> Measured:
    """Second minus first, on the same rows and the same resamples."""
    names = [name for name in first.values if name in second.values]
    pairs = {name: (first.values[name], second.values[name]) for name in names}
    drawn = [name for name in names if name in first.draws and name in second.draws]
    return Measured(
        n=first.n,
        values={name: None if a is None or b is None else b - a for name, (a, b) in pairs.items()},
        draws={name: second.draws[name] - first.draws[name] for name in drawn},
    )


def best_threshold(margin: NDArray[np.floating], label: NDArray[np.integer]) -> float:
    """The threshold of the highest balanced accuracy; a row is fake from it on.

    It stands half way between two neighbouring margins; among equals, where the gap is widest.

    Args:
        margin: (N,).
        label: (N,) 0 real, 1 fake.

    Raises:
        InputError: only one label is there.
    """
    values, places = np.unique(np.asarray(margin, np.float64), return_inverse=True)
    fakes = np.bincount(places, label == 1)
    reals = np.bincount(places, label == 0)
    if not fakes.sum() or not reals.sum():
        raise InputError("a threshold needs real and fake rows: validation has one label only")
    # Fakes at or above each value, and reals below it.
    caught = fakes.sum() - np.concatenate([[0], np.cumsum(fakes)[:-1]])
    spared = np.concatenate([[0], np.cumsum(reals)[:-1]])
    balanced = caught / fakes.sum() + spared / reals.sum()
    gaps = np.concatenate([[0.0], np.diff(values)])
    best = max(np.flatnonzero(np.isclose(balanced, balanced.max())), key=lambda k: gaps[k])
    if best == 0:
        return float(values[0])
    middle = values[best - 1] + gaps[best] / 2
    # Between two neighbouring floats there is no middle.
    return float(middle if middle > values[best - 1] else values[best])


class _Ranked:
    """Rows in falling order of their margin, and what their figures need."""

    def __init__(self, rows: Predictions, threshold: float | None, oracle: bool) -> None:
        self.fake = (rows.label == 1).astype(np.float64)
        self.both = 0 < self.fake.sum() < len(rows)
        self.ends = np.flatnonzero(np.append(np.diff(rows.margin) != 0, True))
        self.threshold = threshold
        self.oracle = oracle
        self.columns = np.column_stack(
            [
                *_called(rows, threshold if threshold is not None else rows.even),
                *_called(rows, rows.even),
                *_bins(rows.score, self.fake).T,
            ]
        )

    @property
    def names(self) -> list[str]:
        """Every figure, those that do not exist here too."""
        names = ["auc", "ap", "eer", "accuracy", "balanced_accuracy", "f1"]
        names += ["tpr_at_fpr_1", "tpr_at_fpr_5", "ece", "accuracy_at_0.5"]
        return [*names, "accuracy_oracle"] if self.oracle else names

    def figures(self, weights: NDArray[np.float64]) -> Figures:
        """The figures of each resample.

        Args:
            weights: (B, N), how often each row counts, in the rows' order.

        Returns:
            (B,) by name: area under the ROC curve, average precision, equal error rate (the mean
            of both rates where they differ least), accuracy, balanced accuracy and F1 at the
            threshold, true positive rate at 1 % and 5 % false ones, expected calibration error of
            p(fake) in 15 bins of equal width, and accuracy at even odds.
        """
        found = self._at_thresholds(weights)
        if self.both:
            found |= self._of_ranks(weights)
        else:
            found = {name: values for name, values in found.items() if name in ONE_CLASS}
        if self.threshold is None:
            found = {n: v for n, v in found.items() if n not in _NEED_THRESHOLD}
        return {name: found[name] for name in self.names if name in found}

    def _at_thresholds(self, weights: NDArray[np.float64]) -> Figures:
        total = weights.sum(1)
        fakes = weights @ self.fake
        reals = total - fakes
        caught, alarms, caught_even, alarms_even, *bins = (weights @ self.columns).T
        with np.errstate(invalid="ignore", divide="ignore"):
            balanced = (caught / fakes + 1 - alarms / reals) / 2
        return {
            "accuracy": (caught + reals - alarms) / total,
            "balanced_accuracy": balanced,
            "f1": 2 * caught / np.maximum(caught + alarms + fakes, 1),
            "accuracy_at_0.5": (caught_even + reals - alarms_even) / total,
            "ece": np.abs(bins).sum(0) / total,
        }

    def _of_ranks(self, weights: NDArray[np.float64]) -> Figures:
        first = np.zeros((len(weights), 1))
        caught = np.cumsum(weights * self.fake, 1)[:, self.ends]
        called = np.cumsum(weights, 1)[:, self.ends]
        caught, called = np.hstack([first, caught]), np.hstack([first, called])
        alarms = called - caught
        fakes, reals = caught[:, -1:], alarms[:, -1:]
        area = np.sum(np.diff(alarms) * (caught[:, 1:] + caught[:, :-1]), 1) / 2
        precision = caught[:, 1:] / np.maximum(called[:, 1:], 1)
        found = {
            "auc": area / (fakes * reals)[:, 0],
            "ap": np.sum(np.diff(caught) * precision, 1) / fakes[:, 0],
            "eer": _equal_error(alarms, reals, fakes - caught, fakes),
        }
        for percent in (1, 5):
            # In whole numbers: 0.01 * reals would round.
            allowed = np.where(100 * alarms <= percent * reals, caught, 0)
            found[f"tpr_at_fpr_{percent}"] = allowed.max(1) / fakes[:, 0]
        if self.oracle:
            right = caught + reals - alarms
            found["accuracy_oracle"] = right.max(1) / (fakes + reals)[:, 0]
        return found


_NEED_THRESHOLD = ("accuracy", "balanced_accuracy", "f1")


def _called(rows: Predictions, threshold: float) -> tuple[NDArray, NDArray]:
    """Rows called fake that are fake, and that are not, as (N,) of 0 and 1."""
    called = rows.margin >= threshold
    return (called & (rows.label == 1)).astype(float), (called & (rows.label == 0)).astype(float)


def _bins(score: NDArray[np.float64], fake: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, BINS): each row's label minus its score, in the bin of its score."""
    made = np.zeros((len(score), BINS))
    places = np.minimum((score * BINS).astype(np.int64), BINS - 1)
    made[np.arange(len(score)), places] = fake - score
    return made


def _equal_error(
    alarms: NDArray[np.float64],
    reals: NDArray[np.float64],
    missed: NDArray[np.float64],
    fakes: NDArray[np.float64],
) -> NDArray[np.float64]:
    # Compared in whole numbers, so that rounding never decides between two equal gaps.
    place = np.abs(alarms * fakes - missed * reals).argmin(1)[:, None]
    rates = np.take_along_axis(alarms / reals + missed / fakes, place, 1)
    return rates[:, 0] / 2

"""Figures of a detector, each with n and a 95 % interval; scikit-learn's definitions.

Fake is the positive class. Rank figures use the margin, for a probability runs out of digits.
Resamples of a bootstrap are computed many at once, as rows of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clare.bootstrap import USUAL, Figure, Resampling, resample
from clare.errors import InputError
from clare.heads.metrics.predictions import Predictions
from clare.heads.metrics.ranking import Ranking
from clare.shortcuts import auc_draws

TOGETHER = 32
"""Scores that are resampled at a time."""


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

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures with their intervals."""
        none = np.empty(0)
        return {n: Figure.of(v, self.draws.get(n, none), self.n) for n, v in self.values.items()}


def measure(
    predictions: Predictions,
    threshold: float | None,
    how: Resampling = USUAL,
    *,
    oracle: bool = False,
) -> dict[str, Figure]:
    """All figures of a set of rows; see `Ranking.figures` for their names.

    Args:
        predictions: the rows.
        threshold: margin from which on a row is called fake, found on other rows; without one,
            figures that need it are None.
        how: the bootstrap.
        oracle: also the best accuracy over all thresholds, searched on these very rows.

    Raises:
        InputError: there are no rows.
    """
    return measure_draws(predictions, threshold, how, oracle=oracle).figures


def measure_draws(
    predictions: Predictions,
    threshold: float | None,
    how: Resampling = USUAL,
    *,
    oracle: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Measured:
    """`measure`, with every resample's figures; ``progress`` hears how many are done."""
    if not len(predictions):
        raise InputError("there are no rows to measure: no row has a score and this split")
    order = np.lexsort((-predictions.margin, predictions.label))
    label, cluster = predictions.label[order], predictions.cluster[order]
    table = Ranking(predictions, order, threshold, oracle)
    point = table.figures(np.ones((1, len(label))))
    steps = []
    done = 0
    for weights in resample(label, cluster, how):
        steps.append(table.figures(weights))
        done += len(weights)
        if progress is not None:
            progress(done)
    return Measured(
        n=len(label),
        values={name: float(point[name][0]) if name in point else None for name in table.names},
        draws={name: np.concatenate([s[name] for s in steps]) for name in point if steps},
    )


def measure_aucs(
    several: Sequence[NDArray[np.float64]],
    predictions: Predictions,
    sets: Mapping[str, NDArray[np.int64]],
    how: Resampling = USUAL,
    progress: Callable[[int], None] | None = None,
) -> list[dict[str, Measured]]:
    """The AUC of each of several scores on each set of rows, all on the same resamples.

    Args:
        several: (N,) each, higher for fakes.
        predictions: the N rows, with their labels and clusters.
        sets: places of the rows of each set, both labels in each.
        how: the bootstrap.
        progress: hears how many scores are done, before some are resampled.
    """
    found: list[dict[str, Measured]] = [{} for _ in several]
    for start in range(0, len(several), TOGETHER):
        if progress is not None:
            progress(start)
        some = {str(start + k): one for k, one in enumerate(several[start : start + TOGETHER])}
        for name, places in sets.items():
            rows = predictions.take(places)
            facts = {number: scores[places] for number, scores in some.items()}
            drawn = auc_draws(facts, rows.label, rows.cluster, how, rising=[*facts])
            for number, (value, draws) in drawn.items():
                kept = {"auc": draws} if len(draws) else {}
                found[int(number)][name] = Measured(len(rows), {"auc": value}, kept)
    return found


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

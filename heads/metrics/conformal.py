"""Split-conformal sets: the labels that a margin does not rule out, at a stated coverage.

Reals and fakes are calibrated each by itself, so that both keep the coverage (the label-conditional
or Mondrian variant: Vovk, Gammerman and Shafer 2005; Angelopoulos and Bates 2021). Frames of one
video are no independent rows: a cluster weighs as much as a single row (hierarchical conformal
prediction: Lee, Barber and Willett 2023, arXiv 2306.06342). Where each row is a cluster, that is
the usual quantile ceil((n + 1) * coverage) / n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clare.bootstrap import LEVEL, Figure, Resampling, mean_figures
from clare.errors import InputError
from clare.heads.metrics import COVERAGE
from clare.heads.metrics.predictions import Predictions

TITLES = {
    "coverage_real": "reals covered",
    "coverage_fake": "fakes covered",
    "unsure": "unsure",
    "neither": "neither",
    "accuracy_sure": "accuracy where sure",
}
"""Headings of the figures of `measure_sets`."""

ROUNDING = 1e-9
"""How far sums of weights may round, as a share of them."""


@dataclass(frozen=True)
class LabelSets:
    """Which labels a margin does not rule out.

    Both where it lies in the range of either, none where it lies in neither's.

    Args:
        coverage: share of reals, and of fakes, that keep their label, over rows like those of the
            calibration.
        real_up_to: the highest margin that does not rule out real; None where none does, since
            there were too few reals.
        fake_from: the lowest margin that does not rule out fake; None likewise.
        reals: videos, people or single rows that real was calibrated on.
        fakes: those that fake was.
    """

    coverage: float
    real_up_to: float | None
    fake_from: float | None
    reals: int
    fakes: int

    def holds(self, margin: NDArray[np.floating]) -> NDArray[np.bool_]:
        """(N, 2) whether the set of each of (N,) margins holds real, and fake."""
        high = np.inf if self.real_up_to is None else self.real_up_to
        low = -np.inf if self.fake_from is None else self.fake_from
        return np.stack([margin <= high, margin >= low], axis=1)

    @property
    def needed(self) -> int:
        """How many videos, people or single rows of a label a calibration needs at the least."""
        return math.ceil(self.coverage / (1 - self.coverage) * (1 - ROUNDING))

    def leeway(self, count: int) -> tuple[float, float]:
        """Between which shares of a label its coverage lies, 95 %, for so many to calibrate it on.

        The coverage that one calibration on n single rows gives is Beta(k, n + 1 - k), k the rank
        of the quantile (Vovk 2012); of clusters that is an approximation.
        """
        from scipy.stats import beta

        rank = math.ceil((count + 1) * self.coverage * (1 - ROUNDING))
        if rank > count:
            return 1.0, 1.0
        low, high = beta.ppf(LEVEL, rank, count + 1 - rank)
        return float(low), float(high)

    @property
    def uncalibrated(self) -> dict[str, int]:
        """The labels that every set holds, with how many there were to calibrate them on."""
        cuts = {"real": self.real_up_to, "fake": self.fake_from}
        counts = {"real": self.reals, "fake": self.fakes}
        return {name: counts[name] for name, cut in cuts.items() if cut is None}


def calibrate(rows: Predictions, coverage: float = COVERAGE) -> LabelSets:
    """Find the margins at which sets begin and end.

    Args:
        rows: with margins that the detector was not trained on, and its test rows none of them.
        coverage: share of reals, and of fakes, whose set is to hold the true label.

    Raises:
        InputError: the coverage is not between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise InputError(f"the coverage of sets lies between 0 and 1, as 0.9, and is {coverage:g}")
    reals, fakes = (rows.take(rows.label == label) for label in (0, 1))
    real = conformal_quantile(reals.margin, reals.cluster, coverage)
    fake = conformal_quantile(-fakes.margin, fakes.cluster, coverage)
    return LabelSets(
        coverage=coverage,
        real_up_to=real,
        fake_from=None if fake is None else -fake,
        reals=len(np.unique(reals.cluster)),
        fakes=len(np.unique(fakes.cluster)),
    )


def conformal_quantile(
    scores: NDArray[np.float64], cluster: NDArray[np.str_], coverage: float
) -> float | None:
    """The score that a new row of a new cluster exceeds with probability 1 - coverage at most.

    Args:
        scores: (N,) how unlike its label each row is.
        cluster: (N,) the cluster's name of each; a row of K clusters weighs 1 / (K + 1) over its
            cluster's rows, and the row to come 1 / (K + 1).
        coverage: see `calibrate`.

    Returns:
        None where the rows are too few to say: the new one alone weighs more than 1 - coverage.
    """
    names, group, size = np.unique(cluster, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    weight = np.cumsum(1 / size[group[order]])
    place = int(np.searchsorted(weight, coverage * (len(names) + 1) * (1 - ROUNDING)))
    return float(scores[order[place]]) if place < len(scores) else None


def measure_sets(rows: Predictions, sets: LabelSets, how: Resampling) -> dict[str, Figure]:
    """How sets fare on rows that they were not calibrated on.

    Args:
        rows: (N,) of one subset.
        sets: of these rows' detector.
        how: the bootstrap.

    Returns:
        ``coverage_real`` and ``coverage_fake``, the share of reals and of fakes whose set holds
        their label; ``unsure``, the share of all whose set holds both labels, and ``neither``, of
        those whose set is empty; ``accuracy_sure``, of those whose set holds one label.
    """
    held = sets.holds(rows.margin)
    right = held[np.arange(len(rows)), rows.label].astype(np.float64)
    size = held.sum(axis=1)
    values = {
        "coverage_real": np.where(rows.label == 0, right, np.nan),
        "coverage_fake": np.where(rows.label == 1, right, np.nan),
        "unsure": (size == 2).astype(np.float64),
        "neither": (size == 0).astype(np.float64),
        "accuracy_sure": np.where(size == 1, right, np.nan),
    }
    return mean_figures(values, rows.label, rows.cluster, how)

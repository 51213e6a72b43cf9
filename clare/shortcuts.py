"""How well one fact of an image tells real from fake.

A number counts in whichever direction it does; a name, as file formats are, by what it meant in
other rows, so that its AUC may fall a little below 0.5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clare.bootstrap import USUAL, Figure, Resampling, resample
from clare.ranks import Ranks, running

FOLDS = 5
"""Parts of the rows; the order of names that one is measured with comes from the others."""

Fact = NDArray[np.float64] | NDArray[np.str_]
"""(N,) numbers, or names, which have no order."""


def free_aucs(
    facts: Mapping[str, Fact],
    label: NDArray[np.int64],
    cluster: NDArray[np.str_],
    how: Resampling = USUAL,
) -> dict[str, Figure]:
    """The AUC of each fact alone, with a 95 % interval from a stratified cluster bootstrap.

    A number counts upwards or downwards, whichever gives more on these rows; the resamples keep
    that direction, so the interval of a number that says nothing holds 0.5. A name stands for the
    share of fakes that it has in the other four fifths of the clusters, and only rows of one fifth
    are compared: names that stand once each, such as sizes that no two images share, give 0.5.

    Args:
        facts: (N,) by name.
        label: (N,) 0 real, 1 fake; both are there.
        cluster: (N,) the cluster's name of each row.
        how: the bootstrap; its seed deals the fifths too.

    Returns:
        By fact.
    """
    drawn = auc_draws(facts, label, cluster, how)
    return {name: Figure.of(auc, draws, len(label)) for name, (auc, draws) in drawn.items()}


def auc_draws(
    facts: Mapping[str, Fact],
    label: NDArray[np.int64],
    cluster: NDArray[np.str_],
    how: Resampling = USUAL,
    *,
    rising: Collection[str] = (),
) -> dict[str, tuple[float, NDArray[np.float64]]]:
    """The AUC of each fact on all rows and, (B,), in each resample: the same ones for all facts.

    Args:
        facts: see `free_aucs`, as for those below.
        label: (N,).
        cluster: (N,).
        how: the bootstrap.
        rising: numbers that count upwards, as scores of a detector do.
    """
    folds: NDArray[np.int64] | None = None
    ranked: dict[str, list[_Ranked]] = {}
    for name, values in facts.items():
        if name in rising:
            ranked[name] = [_Ranked.of(values.astype(np.float64), label, np.arange(len(label)))]
        elif values.dtype.kind == "f":
            ranked[name] = [_Ranked.free(values.astype(np.float64), label)]
        else:
            folds = _folds(label, cluster, how.seed) if folds is None else folds
            scores = _shares_elsewhere(values.astype(np.str_), label, folds)
            parts = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
            ranked[name] = [_Ranked.of(scores[rows], label[rows], rows) for rows in parts]
    plain = np.ones((1, len(label)))
    draws: dict[str, list[NDArray[np.float64]]] = {name: [] for name in facts}
    for weights in resample(label, cluster, how):
        for name, rankings in ranked.items():
            draws[name].append(_auc(rankings, weights))
    return {
        name: (float(_auc(rankings, plain)[0]), np.concatenate([np.empty(0), *draws[name]]))
        for name, rankings in ranked.items()
    }


@dataclass(frozen=True)
class _Ranked:
    """The places of some rows' reals and fakes, each in falling order, and their ranks."""

    reals: NDArray[np.int64]
    fakes: NDArray[np.int64]
    ranks: Ranks

    @classmethod
    def of(
        cls, scores: NDArray[np.float64], label: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> _Ranked:
        order = np.argsort(-scores, kind="stable")
        real, fake = order[label[order] == 0], order[label[order] == 1]
        return cls(rows[real], rows[fake], Ranks.of(scores[real], scores[fake]))

    @classmethod
    def free(cls, values: NDArray[np.float64], label: NDArray[np.int64]) -> _Ranked:
        rows = np.arange(len(label))
        rising = cls.of(values, label, rows)
        if _auc([rising], np.ones((1, len(label))))[0] >= 0.5:
            return rising
        return cls.of(-values, label, rows)

    def pairs(self, weights: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
        """Pairs of a fake and a real in the right order, and all pairs, each (B,)."""
        reals = running(weights.take(self.reals, 1))
        fakes = running(weights.take(self.fakes, 1))
        gained = np.diff(self.ranks.caught(fakes), prepend=0)
        every = reals[:, -1] * fakes[:, -1]
        return every - self.ranks.wrong_pairs(reals, gained), every


def _auc(rankings: Sequence[_Ranked], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) the share of pairs in the right order, ties half; pairs are within one ranking."""
    right, pairs = np.sum([ranking.pairs(weights) for ranking in rankings], axis=0)
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = right / pairs
    return found


def _folds(label: NDArray[np.int64], cluster: NDArray[np.str_], seed: int) -> NDArray[np.int64]:
    """(N,) the fifth of each row; clusters stay whole, and each kind of cluster is dealt evenly."""
    names, inverse = np.unique(cluster, return_inverse=True)
    fakes, rows = np.bincount(inverse, label), np.bincount(inverse)
    kind = (fakes > 0).astype(int) + 2 * (fakes < rows)
    keys = [hashlib.sha256(f"{seed}\n{name}".encode("utf-8", "surrogatepass")) for name in names]
    order = sorted(range(len(names)), key=lambda k: (kind[k], keys[k].digest()))
    dealt = np.empty(len(names), np.int64)
    for one in np.unique(kind):
        of_kind = [k for k in order if kind[k] == one]
        dealt[of_kind] = np.arange(len(of_kind)) % FOLDS
    found: NDArray[np.int64] = dealt[inverse]
    return found


def _shares_elsewhere(
    values: NDArray[np.str_], label: NDArray[np.int64], folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(N,) the share of fakes among the other folds' rows of the same name.

    One row of the average share is added to each, so that a rare name stays near the average.
    """
    _, name = np.unique(values, return_inverse=True)
    scores = np.empty(len(values))
    for fold in np.unique(folds):
        here = folds == fold
        others, count = ~here, int(name.max()) + 1
        average = label[others].mean() if others.any() else 0.5
        fakes = np.bincount(name[others], label[others], minlength=count)
        rows = np.bincount(name[others], minlength=count)
        scores[here] = ((fakes + average) / (rows + 1))[name[here]]
    return scores

"""Each two of several runs compared by their AUC or masks, as `clare.compare` does."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clare.bootstrap import Resampling
from clare.heads.evaluation.compare import compare, compare_predictions
from clare.heads.evaluation.comparison import Comparison, Pair, compare_masks
from clare.heads.evaluation.record import PREDICTIONS, evaluations_by_name
from clare.heads.metrics.measure import Measured, difference_of, mean_of
from clare.heads.metrics.predictions import Predictions, evaluation_sets, read_predictions
from clare.heads.report.run_results import Finding
from clare.shortcuts import auc_draws

AUC = "auc"


class Pairs:
    """Compares two runs at a time, and measures none twice on the same rows.

    `clare.compare` measures every figure of both runs for each pair. Here it says what is compared,
    on which rows, and the resamples of the AUC alone are kept from pair to pair: of equal rows
    they are equal, whatever the other run is. Of masks the differences themselves are resampled.
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, Measured] = {}

    def compare(self, one: Finding, other: Finding, how: Resampling) -> Comparison:
        """What `clare.compare` finds of two tested runs, of the AUC and of masks alone.

        Args:
            one: a tested run.
            other: another one.
            how: the bootstrap.

        Raises:
            InputError: they can't be compared.
        """
        plain = _plain(one, other, how.seed)
        first, second = map(_predictions, (one, other), plain.tests)
        mine, theirs = _shared(first, second)
        if len(mine) != plain.rows:  # rows that are known by other names than these
            return compare(one.path, other.path, resamples=how.count, seed=how.seed)
        left, right = first.take(mine), second.take(theirs)
        sets = evaluation_sets(left)
        pairs = {
            name: tuple(self._measured(left, side, places, how) for side in (left, right))
            for name, places in sets.items()
        }
        counted = [pairs[name] for name in plain.counted]
        macro = None
        if counted:
            macro = _pair(*(mean_of([pair[side] for pair in counted]) for side in (0, 1)))
        return replace(
            plain,
            resamples=how.count,
            subsets={name: _pair(*pair) for name, pair in pairs.items()},
            macro=macro,
            masks=compare_masks(left, right, sets, how),
        )

    def _measured(
        self, known: Predictions, scored: Predictions, places: NDArray[np.int64], how: Resampling
    ) -> Measured:
        """The AUC of some scores, in the groups of the first run of a pair."""
        label, cluster = known.label[places], known.cluster[places]
        margin = scored.margin[places]
        if not 0 < label.sum() < len(label):
            return Measured(len(label), {AUC: None}, {})
        key = hashlib.sha256(repr(how).encode())
        for values in (label, margin):
            key.update(values.tobytes())
        key.update("\n".join(cluster.tolist()).encode("utf-8", "surrogatepass"))
        if key.digest() not in self._kept:
            # Which row is first decides nothing, but rows in this order are read much faster.
            order = np.lexsort((-margin, label))
            drawn = auc_draws({AUC: margin[order]}, label[order], cluster[order], how, rising={AUC})
            value, draws = drawn[AUC]
            found = {AUC: draws} if len(draws) else {}
            self._kept[key.digest()] = Measured(len(label), {AUC: value}, found)
        return self._kept[key.digest()]


def _plain(one: Finding, other: Finding, seed: int) -> Comparison:
    """What is compared, and on which rows, without resamples."""
    mine, theirs = one.test, other.test
    first, second = one.predictions, other.predictions
    if (
        mine is None
        or theirs is None
        or first is None
        or second is None
        or mine.name != theirs.name
    ):
        return compare(one.path, other.path, resamples=0, seed=seed)
    # The last test of both: its scores are at hand, and a file takes long to read again.
    found = compare_predictions(
        first,
        second,
        (mine.threshold, theirs.threshold),
        aside={*mine.aside, *theirs.aside},
        how=Resampling(0, seed),
    )
    return replace(found, tests=(mine.name, theirs.name))


def _predictions(finding: Finding, test: str) -> Predictions:
    """The scores of one of a run's tests."""
    if finding.test is not None and finding.test.name == test and finding.predictions is not None:
        return finding.predictions
    return read_predictions(evaluations_by_name(finding.path)[test] / PREDICTIONS, masks=True)


def _shared(first: Predictions, second: Predictions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the rows of one subset and name in either, in the same order."""
    mine, theirs = _places(first), _places(second)
    names = sorted(mine.keys() & theirs.keys())
    return np.array([mine[n] for n in names], int), np.array([theirs[n] for n in names], int)


def _places(rows: Predictions) -> Mapping[tuple[str, str], int]:
    names = zip(rows.subset.tolist(), rows.sample_id.tolist(), strict=True)
    return {name: place for place, name in enumerate(names)}


def _pair(first: Measured, second: Measured) -> Pair:
    return Pair(first.figures, second.figures, difference_of(first, second).figures)

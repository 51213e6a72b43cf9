"""What a comparison of two detectors, or of two localisers, says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clare.bootstrap import Figures, Resampling
from clare.errors import InputError
from clare.heads.metrics.by_subset import counted_subsets
from clare.heads.metrics.masks import FIGURES, average_columns
from clare.heads.metrics.predictions import ROUNDING, Predictions
from clare.heads.metrics.score_csv import Scale
from clare.wording import counted


@dataclass(frozen=True)
class Pair:
    """Figures of two detectors, or two localisers, on the same rows.

    Args:
        first: of one.
        second: of the other.
        difference: second minus first, with paired intervals.
    """

    first: Figures
    second: Figures
    difference: Figures


@dataclass(frozen=True)
class Comparison:
    """Two detectors on the rows that both have scored.

    Args:
        read_as: what the scores of either are.
        rows: that both have.
        only_first: rows that the second has not.
        only_second: rows that the first has not.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        aside: see `FiguresBySubset`.
        alone: see `FiguresBySubset`.
        subsets: figures by subset.
        macro: the mean over the subsets that count; None where none does.
        tests: names of the evaluations that were compared, empty for a CSV.
        also: names of the other evaluations that both runs have.
        localisers: whether either says which pixels are fake.
        caveats: of either run, what its published weights' training leaves open; see `RunRecord`.
        masks: by subset the figures of masks, on the images that both have them of; empty where
            not both are localisers.
    """

    read_as: tuple[Scale, Scale]
    rows: int
    only_first: int
    only_second: int
    seed: int
    resamples: int
    aside: tuple[str, ...]
    alone: tuple[str, ...]
    subsets: Mapping[str, Pair]
    macro: Pair | None
    tests: tuple[str, str] = ("", "")
    also: tuple[str, ...] = ()
    localisers: tuple[bool, bool] = (False, False)
    caveats: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    masks: Mapping[str, Pair] = field(default_factory=dict)

    @property
    def detects(self) -> bool:
        """Whether a subset has reals beside its fakes, so that there are figures of detection."""
        aucs = [pair.difference.get("auc") for pair in self.subsets.values()]
        return any(auc is not None and auc.value is not None for auc in aucs)

    @property
    def counted(self) -> list[str]:
        """The subsets that the means are over."""
        return counted_subsets(self.subsets, self.aside, self.alone)


def compare_masks(
    first: Predictions,
    second: Predictions,
    sets: Mapping[str, NDArray[np.int64]],
    how: Resampling,
) -> dict[str, Pair]:
    """The figures of two localisers' masks, and second less first, on the same images.

    Args:
        first: rows of one, with their clusters.
        second: the same rows of the other, in the same order.
        sets: places of each subset's rows.
        how: the bootstrap.

    Returns:
        By subset, where any image of it has a figure in both; ``n`` counts these images.

    Raises:
        InputError: the masks themselves differ.
    """
    mine, theirs = first.masks, second.masks
    shared = [name for name in FIGURES if name in mine and name in theirs]
    if not shared:
        return {}
    if "truth_area" in mine and "truth_area" in theirs:
        apart = abs(mine["truth_area"] - theirs["truth_area"]) > ROUNDING
        if apart.any():
            raise InputError(
                f"the masks of {counted(int(apart.sum()), 'image')} are not the same in both",
                "evaluate both on one store",
            )
    pairs = {}
    for subset, places in sets.items():
        columns = {name: (mine[name][places], theirs[name][places]) for name in shared}
        gaps = {name: other - one for name, (one, other) in columns.items()}
        if all(np.isnan(gap).all() for gap in gaps.values()):
            continue
        found = [
            {name: np.where(np.isnan(gaps[name]), np.nan, columns[name][side]) for name in shared}
            for side in (0, 1)
        ]
        pairs[subset] = Pair(
            *(average_columns(one, first.cluster[places], how) for one in (*found, gaps))
        )
    return pairs

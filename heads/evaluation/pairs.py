"""Figures of pairs: whether a fake scores above its own real, and what a control shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clare.bootstrap import Figure, Resampling, mean_figures
from clare.heads.data.pairs import match_pairs
from clare.heads.metrics.predictions import Predictions
from clare.store.row import Row
from clare.store.rows import Rows, rows_of

BLENDED, DECODED = ("sbi", "blend"), ("vae",)
"""Kinds of pairs whose fakes are reals but for a seam, or for a decoder's trace."""

SWAPS = "FS"
"""Category of swapped faces."""


@dataclass(frozen=True)
class PairFigures:
    """What was measured on the pairs of a subset.

    Args:
        kind: how most were made, as the column ``pair_kind`` says; empty where it is not known.
        accuracy: share of fakes that score above their own real, a tie being a half; ``n`` counts
            pairs, and the interval draws them, or the videos and people that they are of.
        alone: fakes that name a real which is not among the rows.
        finds: of a control, what it shows that the detector finds: ``blending`` or ``decoder``;
            empty where the subset is none for this run.
    """

    kind: str
    accuracy: Figure
    alone: int = 0
    finds: str = ""


def measure_pairs(
    rows: Sequence[Row],
    predictions: Predictions,
    sets: Mapping[str, NDArray[np.int64]],
    how: Resampling,
    trained: Collection[tuple[str, str]],
) -> dict[str, PairFigures]:
    """The figures of each set that has pairs.

    Args:
        rows: (N,) of the predictions.
        predictions: (N,).
        sets: places of the rows of each; see `evaluation_sets`.
        how: the bootstrap.
        trained: category and ``pair_kind`` of the fakes that the run was trained on.
    """
    found, known = {}, rows_of(rows)
    for name, places in sets.items():
        some = known.take(places)
        among, own, alone = match_pairs(some)
        if len(among):
            kind, fakes, reals = _kind(some.take(among)), places[among], places[own]
            accuracy = pair_accuracy(
                predictions.margin[fakes],
                predictions.margin[reals],
                predictions.cluster[reals],
                how,
            )
            found[name] = PairFigures(kind, accuracy, alone, _finds(kind, trained))
    return found


def pair_accuracy(
    fake: NDArray[np.floating],
    real: NDArray[np.floating],
    cluster: NDArray[np.str_],
    how: Resampling,
) -> Figure:
    """Share of pairs whose fake scores higher, with its interval.

    Args:
        fake: (P,) margins of the fakes.
        real: (P,) those of their reals.
        cluster: (P,) what a bootstrap draws as a whole.
        how: the bootstrap.
    """
    wins = np.where(fake == real, 0.5, fake > real)
    one = np.zeros(len(wins), np.int64)
    return mean_figures({"accuracy": wins}, one, cluster, how)["accuracy"]


def _kind(fakes: Rows) -> str:
    kinds = Counter(str(kind or "") for kind in fakes.column("pair_kind").tolist())
    return kinds.most_common(1)[0][0]


def _finds(kind: str, trained: Collection[tuple[str, str]]) -> str:
    """What a control of this kind shows of a run; nothing of one that learned that very kind."""
    if kind in {own for _, own in trained}:
        return ""
    categories = {category for category, _ in trained} - {""}
    if kind in BLENDED and (not categories or SWAPS in categories):
        return "blending"
    if kind in DECODED and (not categories or categories - {SWAPS}):
        return "decoder"
    return ""


def told_of_control(found: PairFigures, auc: Figure | None) -> str:
    """What a control says of the detector, by its AUC on reals that were only blended or decoded.

    Empty where the subset is no control for this run.
    """
    if not found.finds or auc is None or auc.value is None:
        return ""
    if auc.low is None:
        return f"AUC {auc.value:.3f} of the {found.finds} alone; no interval"
    if auc.low > 0.5:
        return f"finds the {found.finds}, not the fake"
    return f"does not find the {found.finds} alone"

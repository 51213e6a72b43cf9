"""How validation chooses: by AUC, and by what a difference of two is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clare.heads.linear.moments import Values

_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")

CLEAR = 2.0
"""Standard errors by which a ratio other than 1 has to be better."""


def auc(scores: Values, y: Values) -> float:
    """Share of pairs of a fake and a real in the right order, ties half.

    Args:
        scores: (n,), higher for fakes.
        y: (n,) -1 for reals and 1 for fakes.
    """
    order = np.argsort(scores)
    rising, (fakes,) = scores[order], np.nonzero(y[order] > 0)
    count, others = len(fakes), len(y) - len(fakes)
    if (rising[1:] > rising[:-1]).all():  # without ties a fake's place tells what is below it
        below = 2 * int(fakes.sum()) - count * (count - 1)
    else:
        real, fake = np.sort(scores[y < 0]), np.sort(scores[y > 0])
        below = sum(int(np.searchsorted(real, fake, side).sum()) for side in _SIDES)
    return below / (2 * others * count)


def clearly_best(
    scores: Values, aucs: Sequence[float], y: Values, clusters: NDArray[np.str_]
) -> int:
    """The column of the highest AUC among those that are clearly better than the first, whatever
    their order; the first where none is.

    Args:
        scores: (n, K).
        aucs: K, of each column.
        y: (n,) -1 for reals and 1 for fakes.
        clusters: (n,) of each row.
    """
    for place in sorted(range(1, len(aucs)), key=lambda k: -aucs[k]):
        if aucs[place] <= aucs[0]:
            break
        if is_clearly_better(scores[:, place], scores[:, 0], y, clusters):
            return place
    return 0


def is_clearly_better(scores: Values, than: Values, y: Values, clusters: NDArray[np.str_]) -> bool:
    """Whether an AUC is higher by more than `CLEAR` standard errors of the difference, paired on
    the same rows (DeLong et al. 1988) and with rows of a cluster counted as one (Obuchowski 1997).

    Args:
        scores: (n,), higher for fakes.
        than: (n,) those that it is held to.
        y: (n,) -1 for reals and 1 for fakes.
        clusters: (n,) of each row: its video or person.
    """
    fakes, reals = (a - b for a, b in zip(_shares(scores, y), _shares(than, y), strict=True))
    gain, parts = fakes.mean(), np.empty(len(y))
    parts[y > 0] = (fakes - gain) / len(fakes)
    parts[y < 0] = (reals - reals.mean()) / len(reals)
    names, own = np.unique(clusters, return_inverse=True)
    if len(names) < 2 or min(len(fakes), len(reals)) < 2:
        return False
    sums = np.bincount(own, parts)
    error = np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1))
    return bool(gain > CLEAR * error)


def _shares(scores: Values, y: Values) -> tuple[Values, Values]:
    """For each fake the share of reals below it, for each real that of fakes above; ties half."""
    real, fake = scores[y < 0], scores[y > 0]
    sorted_real, sorted_fake = np.sort(real), np.sort(fake)
    below = sum(np.searchsorted(sorted_real, fake, side) for side in _SIDES) / (2 * len(real))
    under = sum(np.searchsorted(sorted_fake, real, side) for side in _SIDES) / (2 * len(fake))
    return np.asarray(below), 1 - np.asarray(under)

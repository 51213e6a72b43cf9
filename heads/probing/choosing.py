"""How validation chooses: by AUC, and by what a difference of two is worth."""

from __future__ import annotations

from typing import Literal

import numpy as np

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
    real, fake = np.sort(scores[y < 0]), np.sort(scores[y > 0])
    below = sum(int(np.searchsorted(real, fake, side).sum()) for side in _SIDES)
    return below / (2 * len(real) * len(fake))


def is_clearly_better(scores: Values, than: Values, y: Values) -> bool:
    """Whether an AUC is higher by more than `CLEAR` standard errors of the difference, paired on
    the same rows (DeLong et al. 1988)."""
    fakes, reals = (a - b for a, b in zip(_shares(scores, y), _shares(than, y), strict=True))
    if min(len(fakes), len(reals)) < 2:
        return False
    error = np.sqrt(np.var(fakes, ddof=1) / len(fakes) + np.var(reals, ddof=1) / len(reals))
    return bool(fakes.mean() > CLEAR * error)


def _shares(scores: Values, y: Values) -> tuple[Values, Values]:
    """For each fake the share of reals below it, for each real that of fakes above; ties half."""
    real, fake = scores[y < 0], scores[y > 0]
    sorted_real, sorted_fake = np.sort(real), np.sort(fake)
    below = sum(np.searchsorted(sorted_real, fake, side) for side in _SIDES) / (2 * len(real))
    under = sum(np.searchsorted(sorted_fake, real, side) for side in _SIDES) / (2 * len(fake))
    return np.asarray(below), 1 - np.asarray(under)

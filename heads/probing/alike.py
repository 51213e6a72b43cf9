"""How alike the inputs of probes are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def cka(inputs: Sequence[Values]) -> Values:
    """(I, I) how alike inputs are: linear CKA, its HSIC unbiased (Kornblith et al. 2019; Song et
    al. 2012).

    1 for vectors that a rotation and one scale turn into each other, about 0 for unrelated ones.

    Args:
        inputs: (n, d) of each, the same n rows, at least 4.
    """
    grams = []
    for vectors in inputs:
        gram = vectors @ vectors.T
        np.fill_diagonal(gram, 0)
        grams.append(gram)
    rows = len(grams[0])
    sums = np.array([gram.sum(1) for gram in grams])
    flat = np.array([gram.ravel() for gram in grams])
    totals = sums.sum(1)
    hsic = (
        flat @ flat.T
        + np.outer(totals, totals) / ((rows - 1) * (rows - 2))
        - 2 / (rows - 2) * sums @ sums.T
    ) / (rows * (rows - 3))
    own = np.sqrt(np.maximum(np.diag(hsic), np.finfo(np.float64).tiny))
    found: Values = hsic / np.outer(own, own)
    return found

"""How alike the inputs of probes are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


LEAST = 4
"""Rows that likeness can be measured on."""


def cka(inputs: Sequence[Values]) -> list[list[float | None]]:
    """(I, I) how alike inputs are: linear CKA, its HSIC unbiased (Kornblith et al. 2019; Song et
    al. 2012).

    1 for vectors that a rotation and one scale turn into each other, about 0 for unrelated ones;
    None where vectors do not vary.

    Args:
        inputs: (n, d) of each, the same n rows, `LEAST` or more.
    """
    grams = []
    for vectors in inputs:
        centred = vectors - vectors.mean(0)
        gram = centred @ centred.T
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
    own = np.diag(hsic)
    varies = own > np.finfo(np.float64).eps * np.maximum((flat**2).mean(1), 0)
    lengths = np.sqrt(np.where(varies, own, 1))
    found = hsic / np.outer(lengths, lengths)
    known = np.outer(varies, varies)
    return [
        [float(value) if there else None for value, there in zip(line, has, strict=True)]
        for line, has in zip(found, known, strict=True)
    ]

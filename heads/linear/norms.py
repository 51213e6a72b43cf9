"""What is done to vectors before a probe: nothing, unit length, unit deviations, or whitening."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from clare.advice import LeaveOut
from clare.errors import InputError
from clare.heads.linear.moments import Moments

Norm = Literal["none", "l2", "standard", "whiten"]
NORMS: tuple[Norm, ...] = get_args(Norm)

Values = NDArray[np.float64]


def norm_named(name: str) -> Norm:
    """A normalisation by its name.

    Raises:
        InputError: there is none.
    """
    for norm in NORMS:
        if norm == name:
            return norm
    raise InputError(f"there is no normalisation {name!r}: there are {', '.join(NORMS)}")


def linear_map(moments: Moments, norm: Norm, widths: Sequence[int]) -> Values:
    """The map T (d, k) of a normalisation: z = T^T (x - mean). All but the unit length are linear.

    Where an input has several parts, each is brought to a total variance of 1, so that none
    outweighs another by its width or scale (block scaling, Westerhuis et al. 1998); whitening needs
    none.

    Args:
        moments: of the training rows; for ``l2``, of vectors of unit length.
        norm: its name.
        widths: of the input's parts.

    Raises:
        InputError: whitening has fewer rows than channels, or no channel varies.
    """
    variance = np.diag(moments.scatter) / moments.rows
    still = variance <= np.finfo(np.float64).eps * (1 + moments.mean**2)
    if still.all():
        raise InputError("its vectors are the same in all training rows: there is nothing to learn")
    if norm == "whiten":
        return _whitening(moments)
    scale = np.ones(len(variance))
    if norm == "standard":
        scale = 1 / np.sqrt(np.where(still, 1, variance))
    if len(widths) > 1:
        ends = np.cumsum(widths)
        for start, end in zip(ends - widths, ends, strict=True):
            total = (variance[start:end] * scale[start:end] ** 2).sum()
            scale[start:end] /= np.sqrt(total) if total > 0 else 1
    return np.diag(scale)


def _whitening(moments: Moments) -> Values:
    width = len(moments.mean)
    if moments.rows <= width:
        raise InputError(
            f"{moments.rows} training rows can't whiten {width} channels: it takes more rows than "
            "channels",
            LeaveOut("norms"),
        )
    values, axes = np.linalg.eigh(moments.scatter / moments.rows)
    kept = values > values[-1] * width * np.finfo(np.float32).eps
    found: Values = axes[:, kept] / np.sqrt(values[kept])
    return found

"""What is done to vectors before a probe: nothing, unit length, unit deviations, or whitening."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class LinearMap:
    """z = T^T (x - mean), of d channels to k.

    Args:
        scale: (d,) of each channel; T is its diagonal where there are no axes.
        variance: mean variance of z's channels at a ratio of 1: what strengths are shares of.
        axes: T (d, k) of whitened vectors.
    """

    scale: Values
    variance: float
    axes: Values | None = None

    def take(self, values: Values) -> Values:
        """T^T v of values (d, ...)."""
        if self.axes is not None:
            return self.axes.T @ values
        return (self.scale * values.T).T

    def back(self, values: Values) -> Values:
        """T w of values (k, ...)."""
        if self.axes is not None:
            return self.axes @ values
        return (self.scale * values.T).T

    def louder(self, last: int, ratio: float) -> LinearMap:
        """The map with the last part, of so many channels, at another ratio."""
        scale = self.scale.copy()
        scale[-last:] *= np.sqrt(ratio)
        return replace(self, scale=scale)

    def scatter(self, moments: Moments) -> Values:
        """(d, d) of z, where there are no axes: with them it is a diagonal of n."""
        return self.scale[:, None] * moments.scatter * self.scale


def linear_map(
    moments: Moments, norm: Norm, widths: Sequence[int], ratio: float = 1.0
) -> LinearMap:
    """The map of a normalisation. All but the unit length are linear.

    Where an input has several parts, each is brought to a total variance of 1, so that none
    outweighs another by its width or scale (block scaling, Westerhuis et al. 1998); the last one
    then to that of the ratio, by which it is regularised so much less. Whitening needs neither.

    Args:
        moments: of the training rows; for ``l2``, of vectors of unit length.
        norm: its name.
        widths: of the input's parts.
        ratio: the last part's total variance, of several.

    Raises:
        InputError: whitening has fewer rows than channels, or no channel varies.
    """
    variance = np.diag(moments.scatter) / moments.rows
    still = variance <= np.finfo(np.float64).eps * (1 + moments.mean**2)
    if still.all():
        raise InputError("its vectors are the same in all training rows: there is nothing to learn")
    scale = np.ones(len(variance))
    if norm == "whiten":
        return LinearMap(scale, 1.0, _whitening(moments))
    if norm == "standard":
        scale = 1 / np.sqrt(np.where(still, 1, variance))
    if len(widths) > 1:
        ends = np.cumsum(widths)
        for start, end in zip(ends - widths, ends, strict=True):
            total = (variance[start:end] * scale[start:end] ** 2).sum()
            scale[start:end] /= np.sqrt(total) if total > 0 else 1
    found = LinearMap(scale, float((variance * scale**2).mean()))
    return found.louder(widths[-1], ratio) if len(widths) > 1 else found


def _whitening(moments: Moments) -> Values:
    width = len(moments.mean)
    if moments.rows <= width:
        raise InputError(
            f"{moments.rows} training rows can't whiten {width} channels: it takes more rows than "
            "channels",
            LeaveOut("norms"),
        )
    covariance = moments.scatter / moments.rows
    least = width * float(np.finfo(np.float32).eps)
    if (root := _root_of_inverse(covariance, least)) is not None:
        return root
    values, axes = np.linalg.eigh(covariance)
    kept = values > values[-1] * least
    found: Values = axes[:, kept] / np.sqrt(values[kept])
    return found


def _root_of_inverse(covariance: Values, least: float) -> Values | None:
    """T (d, d) with T T^T the inverse, where all directions are kept: in a tenth of the time of
    eigenvectors. What is fitted to whitened vectors does not ask how they are turned.

    Args:
        covariance: (d, d).
        least: share of the largest eigenvalue that all have to be above.

    Returns:
        None where some eigenvalue is, or may be, smaller.
    """
    from scipy.linalg import LinAlgError, cholesky
    from scipy.linalg.lapack import dtrtri

    shifted = covariance.copy()
    np.fill_diagonal(shifted, np.diag(covariance) - least * np.linalg.norm(covariance))
    try:
        cholesky(shifted, lower=True, overwrite_a=True)  # the norm is no less than the largest
    except LinAlgError:
        return None
    found: Values = dtrtri(cholesky(covariance, lower=True), lower=1)[0].T
    return found

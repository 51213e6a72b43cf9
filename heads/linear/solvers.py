"""The probes themselves: ridge, logistic regression and nearest centroid, a path of strengths at
once.

All of them are linear, ``score = w x + b``, whatever was done to the vectors x before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from clare.errors import InputError
from clare.heads.linear.moments import Moments, Pieces

Kind = Literal["ridge", "logistic", "centroid"]
KINDS: tuple[Kind, ...] = get_args(Kind)

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of regularisation, as shares of the mean variance of a channel."""

_EXACT = 1e-10
"""Of a logistic regression: the largest slope that is left, as a share of that at the start."""

_STEPS = 500

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Linear:
    """K probes over vectors of d channels.

    Args:
        strengths: (K,) of each; empty where there is none to choose.
        weights: (d, K).
        bias: (K,).
    """

    strengths: tuple[float, ...]
    weights: Values
    bias: Values


def kind_named(name: str) -> Kind:
    """A kind of probe by its name.

    Raises:
        InputError: there is none.
    """
    for kind in KINDS:
        if kind == name:
            return kind
    raise InputError(f"there is no probe {name!r}: there are {', '.join(KINDS)}")


def fit(
    kind: Kind, moments: Moments, linear: Values, strengths: Sequence[float], pieces: Pieces
) -> Linear:
    """Fit a probe for each strength.

    With z = T^T (x - mean) of n rows and k channels, and y of -1 and 1:

    - ``ridge``: the least squares of w z + b - y, with alpha ||w||^2;
    - ``logistic``: the sum of log(1 + exp(-y (w z + b))), with alpha/2 ||w||^2;
    - ``centroid``: which of two class means is nearer.

    Alpha is n times strength times the mean variance of z's channels; b is not punished.

    Args:
        kind: which.
        moments: of the training rows.
        linear: T (d, k).
        strengths: of the regularisation.
        pieces: the training rows again; only ``logistic`` reads them.
    """
    if kind == "centroid":
        return _centroid(moments, linear)
    scatter = linear.T @ moments.scatter @ linear
    spectrum, axes = np.linalg.eigh(scatter)
    spectrum = np.maximum(spectrum, 0)
    alphas = np.array(strengths) * spectrum.mean()
    basis = linear @ axes
    if kind == "ridge":
        ideal = axes.T @ (linear.T @ moments.cross)
        weights = basis @ (ideal[:, None] / (spectrum[:, None] + alphas))
        return Linear(tuple(strengths), weights, moments.target - moments.mean @ weights)
    weights, bias = _logistic(moments, basis, spectrum, alphas, pieces)
    return Linear(tuple(strengths), weights, bias)


def _centroid(moments: Moments, linear: Values) -> Linear:
    real, fake = (moments.means - moments.mean) @ linear
    weights = linear @ (2 * (fake - real))
    bias = real @ real - fake @ fake - moments.mean @ weights
    return Linear((), weights[:, None], np.array([bias]))


def _logistic(
    moments: Moments, basis: Values, spectrum: Values, alphas: Values, pieces: Pieces
) -> tuple[Values, Values]:
    """All strengths in one minimisation by L-BFGS.

    Steps are taken where the curvature at the start is 1 in every direction: along the
    eigenvectors of the scatter, each scaled by its own. That is what keeps them few.
    """
    from scipy.optimize import minimize

    width, count = basis.shape[1], len(alphas)
    scale = 1 / np.sqrt(spectrum[:, None] / 4 + alphas)
    steady = 2 / np.sqrt(moments.rows)

    def of(flat: Values) -> tuple[float, Values]:
        free = flat.reshape(width + 1, count)
        inner, bias = free[:width] * scale, free[width] * steady
        weights = basis @ inner
        loss, slope, slope_bias = 0.0, np.zeros_like(weights), np.zeros(count)
        for values, y in pieces():
            centred = values - moments.mean
            margin = y[:, None] * (centred @ weights + bias)
            loss += np.logaddexp(0, -margin).sum()
            pull = -y[:, None] * np.exp(-np.logaddexp(0, margin))
            slope += centred.T @ pull
            slope_bias += pull.sum(0)
        loss += (alphas * inner**2).sum() / 2
        down = np.empty_like(free)
        down[:width] = (basis.T @ slope + alphas * inner) * scale
        down[width] = slope_bias * steady
        return loss, down.ravel()

    start = np.zeros((width + 1) * count)
    begun = float(np.abs(of(start)[1]).max())
    found = minimize(
        of,
        start,
        jac=True,
        method="L-BFGS-B",
        options={
            "gtol": _EXACT * max(begun, 1.0),
            "ftol": 0.0,
            "maxiter": _STEPS,
            "maxfun": 2 * _STEPS,
            "maxcor": 20,
        },
    )
    free = found.x.reshape(width + 1, count)
    weights = basis @ (free[:width] * scale)
    bias: Values = free[width] * steady - moments.mean @ weights
    return weights, bias

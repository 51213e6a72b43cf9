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
from clare.heads.linear.norms import LinearMap

Kind = Literal["ridge", "logistic", "centroid"]
KINDS: tuple[Kind, ...] = get_args(Kind)

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of regularisation, as shares of the mean variance of a channel."""

_EXACT = 1e-10
"""Of a logistic regression: the largest slope that is left, as a share of that at the start."""

_STEPS = 500

_FEW = 3
"""Strengths that are solved one by one."""

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
    kind: Kind, moments: Moments, linear: LinearMap, strengths: Sequence[float], pieces: Pieces
) -> Linear:
    """Fit a probe for each strength.

    With z = T^T (x - mean) of n rows and k channels, and y of -1 and 1:

    - ``ridge``: the least squares of w z + b - y, with alpha ||w||^2;
    - ``logistic``: the sum of log(1 + exp(-y (w z + b))), with alpha/2 ||w||^2;
    - ``centroid``: which of two class means is nearer.

    Alpha is n times strength times the mean variance of z's channels, of several parts at a ratio
    of 1; b is not punished.

    Args:
        kind: which.
        moments: of the training rows.
        linear: the normalisation.
        strengths: of the regularisation.
        pieces: the training rows again; only ``logistic`` reads them.
    """
    if kind == "centroid":
        return _centroid(moments, linear)
    alphas = _alphas(moments, linear, strengths)
    if kind == "ridge":
        cross = linear.take(moments.cross)
        inner = (
            _ridge(linear.scatter(moments), cross, alphas)
            if linear.axes is None
            else cross[:, None] / (moments.rows + alphas)
        )
        weights = linear.back(inner)
        return Linear(tuple(strengths), weights, moments.target - moments.mean @ weights)
    if linear.axes is None:
        spread, axes = np.linalg.eigh(linear.scatter(moments))
        basis = linear.back(axes)
    else:
        basis = linear.axes
        spread = np.full(basis.shape[1], float(moments.rows))
    weights, bias = _logistic(moments, basis, np.maximum(spread, 0), alphas, pieces)
    return Linear(tuple(strengths), weights, bias)


def fit_ratios(
    moments: Moments,
    linear: LinearMap,
    strengths: Sequence[float],
    ratios: Sequence[float],
    last: int,
) -> list[Linear]:
    """Ridge for each ratio of a sum's last part, as `fit` with the map of that ratio.

    The others are eliminated once for a strength, whatever the ratio (by the Schur complement), so
    that the last part alone is solved anew.

    Args:
        moments: of the training rows.
        linear: the normalisation at a ratio of 1, without axes.
        strengths: of the regularisation.
        ratios: of the last part.
        last: its width.
    """
    scatter, cross = linear.scatter(moments), linear.take(moments.cross)
    alphas = _alphas(moments, linear, strengths)
    try:
        found = [linear.back(one) for one in _eliminate(scatter, cross, alphas, ratios, last)]
    except np.linalg.LinAlgError:  # a strength that is lost in what rounding leaves
        found = []
        for ratio in ratios:
            own = linear.louder(last, ratio)
            found.append(own.back(_ridge(own.scatter(moments), own.take(moments.cross), alphas)))
    return [Linear(tuple(strengths), one, moments.target - moments.mean @ one) for one in found]


def _eliminate(
    scatter: Values, cross: Values, alphas: Values, ratios: Sequence[float], last: int
) -> Values:
    """(R, k, K) of the ridges, the last part's penalty divided by each ratio.

    Raises:
        LinAlgError: a matrix is not positive, as rounding leaves it.
    """
    from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

    start = len(cross) - last
    found = np.empty((len(ratios), len(cross), len(alphas)))
    beside = np.concatenate([scatter[:start, start:], cross[:start, None]], 1)
    for number, alpha in enumerate(alphas):
        lower = cholesky(scatter[:start, :start] + alpha * np.eye(start), lower=True)
        turned = solve_triangular(lower, beside, lower=True)
        left = scatter[start:, start:] - turned[:, :-1].T @ turned[:, :-1]
        target = cross[start:] - turned[:, :-1].T @ turned[:, -1]
        for place, ratio in enumerate(ratios):
            own = cho_solve(cho_factor(left + alpha / ratio * np.eye(last)), target)
            rest = turned[:, -1] - turned[:, :-1] @ own
            others = solve_triangular(lower, rest, lower=True, trans="T")
            found[place, :, number] = np.concatenate([others, own])
    return found


def _alphas(moments: Moments, linear: LinearMap, strengths: Sequence[float]) -> Values:
    found: Values = np.array(strengths) * linear.variance * moments.rows
    return found


def _centroid(moments: Moments, linear: LinearMap) -> Linear:
    real, fake = (linear.take(one - moments.mean) for one in moments.means)
    weights = linear.back(2 * (fake - real))
    bias = real @ real - fake @ fake - moments.mean @ weights
    return Linear((), weights[:, None], np.array([bias]))


def _ridge(scatter: Values, cross: Values, alphas: Values) -> Values:
    """(k, K) of (scatter + alpha)^-1 cross for each alpha.

    Turned once to three diagonals, which takes a third of the time of eigenvectors; each alpha is
    then a solve along them. A few are solved one by one, in a fifth to a tenth of that time each.
    """
    from scipy.linalg import lapack

    if len(cross) == 1:
        return cross[:, None] / (scatter + alphas)
    if len(alphas) <= _FEW and (each := _solved(scatter, cross, alphas)) is not None:
        return each
    size = int(lapack.dsytrd_lwork(len(cross), lower=1)[0])
    turned, main, side, tau, _ = lapack.dsytrd(scatter, lower=1, lwork=size)
    turns = turned[1:, :-1]

    def turn(values: Values, back: bool) -> Values:
        values = np.array(values, order="F")
        size = 64 * values.shape[1]
        way = "N" if back else "T"
        values[1:] = lapack.dormqr("L", way, turns, tau, values[1:], size)[0]
        return values

    ideal = turn(cross[:, None], back=False)
    solved = [lapack.dgtsv(side, main + alpha, side, ideal)[3] for alpha in alphas]
    return turn(np.concatenate(solved, 1), back=True)


def _solved(scatter: Values, cross: Values, alphas: Values) -> Values | None:
    """Each alpha by Cholesky; None where a matrix is not positive, as rounding leaves it."""
    from scipy.linalg import lapack

    found = np.empty((len(cross), len(alphas)))
    for number, alpha in enumerate(alphas):
        shifted = np.array(scatter, order="F")
        shifted[np.diag_indices(len(cross))] += alpha
        _, solved, failed = lapack.dposv(shifted, cross[:, None], lower=1, overwrite_a=1)
        if failed:
            return None
        found[:, number] = solved[:, 0]
    return found


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

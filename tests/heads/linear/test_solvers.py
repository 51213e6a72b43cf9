"""Probes are scikit-learn's, whatever was done to the vectors before."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm as normal
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestCentroid

from clare.errors import InputError
from clare.heads.linear.moments import Moments
from clare.heads.linear.norms import NORMS, linear_map
from clare.heads.linear.solvers import fit, fit_ratios
from clare.heads.probing.alike import cka
from clare.heads.probing.answers import holm, two_sided

ROWS, WIDTH = 200, 7
STRENGTHS = (1e-3, 0.1, 10.0)


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(3)
    y = np.where(np.arange(ROWS) % 3 == 0, 1.0, -1.0)
    mixing = rng.normal(size=(WIDTH, WIDTH))
    x = (rng.normal(size=(ROWS, WIDTH)) + 0.4 * y[:, None]) @ mixing + 5 * rng.normal(size=WIDTH)
    x[:, 4] = 2.0  # a channel that never varies
    return x, y


def pieces_of(x, y):
    return lambda: ((x[k : k + 64], y[k : k + 64]) for k in range(0, len(x), 64))


def prepared(x, norm):
    """The vectors as a person would normalise them."""
    if norm == "l2":
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    centred = x - x.mean(0)
    if norm == "standard":
        deviation = x.std(0)
        return x, centred / np.where(deviation > 1e-9, deviation, 1)
    if norm == "whiten":
        values, axes = np.linalg.eigh(centred.T @ centred / len(x))
        kept = values > 1e-6
        return x, centred @ axes[:, kept] / np.sqrt(values[kept])
    return x, centred


def fitted(x, y, norm, kind):
    pieces = pieces_of(x, y)
    moments = Moments.of(pieces)
    return fit(kind, moments, linear_map(moments, norm, [x.shape[1]]), STRENGTHS, pieces)


@pytest.mark.parametrize("norm", NORMS)
def test_ridge_is_scikit_learns(drawn, norm):
    x, z = prepared(drawn[0], norm)
    y = drawn[1]
    found = fitted(x, y, norm, "ridge")
    for k, strength in enumerate(STRENGTHS):
        alpha = strength * len(x) * z.var(0).mean()
        theirs = Ridge(alpha=alpha).fit(z, y).predict(z)
        assert x @ found.weights[:, k] + found.bias[k] == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_logistic_regression_is_scikit_learns(drawn, norm):
    x, z = prepared(drawn[0], norm)
    y = drawn[1]
    found = fitted(x, y, norm, "logistic")
    for k, strength in enumerate(STRENGTHS):
        alpha = strength * len(x) * z.var(0).mean()
        theirs = LogisticRegression(C=1 / alpha, solver="newton-cholesky", tol=1e-12, max_iter=200)
        margins = theirs.fit(z, y).decision_function(z)
        assert x @ found.weights[:, k] + found.bias[k] == pytest.approx(margins, abs=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_the_nearest_centroid_is_scikit_learns(drawn, norm):
    varying = [channel for channel in range(WIDTH) if channel != 4]  # scikit-learn warns of it
    x, z = prepared(drawn[0][:, varying], norm)
    y = drawn[1]
    found = fitted(x, y, norm, "centroid")
    scores = x @ found.weights[:, 0] + found.bias[0]
    assert (np.where(scores > 0, 1, -1) == NearestCentroid().fit(z, y).predict(z)).all()
    assert found.strengths == ()


def test_parts_side_by_side_count_the_same_whatever_their_scale(drawn):
    x, y = drawn
    louder = np.concatenate([x[:, :3], 1000 * x[:, 3:]], 1)

    def scores(values):
        pieces = pieces_of(values, y)
        moments = Moments.of(pieces)
        found = fit("ridge", moments, linear_map(moments, "none", [3, 4]), [1.0], pieces)
        return values @ found.weights + found.bias

    assert scores(louder) == pytest.approx(scores(x), abs=1e-6)


def test_moments_of_many_pieces_take_the_memory_of_few():
    x, width = np.random.default_rng(0).normal(size=(2, 128)), 128

    def pieces(count):
        return lambda: ((x + k % 7, np.array([1.0, -1.0])) for k in range(count))

    tracemalloc.start()
    try:
        found = Moments.of(pieces(2100))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2100 * 2 * width * 8, "less than the sums of all pieces alone"
    rows = np.concatenate([values for values, _ in pieces(2100)()])
    assert found.mean == pytest.approx(rows.mean(0))
    assert found.scatter == pytest.approx(np.cov(rows.T) * (len(rows) - 1))
    assert found.cross == pytest.approx(np.tile([1.0, -1.0], 2100) @ rows, abs=1e-6)


def test_a_ratio_is_a_strength_of_its_own_for_the_last_part(drawn):
    x, y = drawn
    pieces = pieces_of(x, y)
    moments = Moments.of(pieces)
    linear = linear_map(moments, "none", [3, 4], 0.01)
    found = fit("ridge", moments, linear, STRENGTHS, pieces)
    centred = x - x.mean(0)
    parts = [p / np.sqrt((p**2).sum() / ROWS) for p in (centred[:, :3], centred[:, 3:])]
    z = np.concatenate([parts[0], parts[1] / 10], 1)
    for k, strength in enumerate(STRENGTHS):  # of two parts with a total variance of 1 each
        theirs = Ridge(alpha=strength * ROWS * 2 / WIDTH).fit(z, y).predict(z)
        assert x @ found.weights[:, k] + found.bias[k] == pytest.approx(theirs, abs=1e-6)
    plain = linear_map(moments, "none", [3, 4])
    again, whole = fit_ratios(moments, plain, STRENGTHS, [0.01, 1], 4)
    assert again.weights == pytest.approx(found.weights, abs=1e-9)
    assert again.bias == pytest.approx(found.bias, abs=1e-9)
    lost = fit_ratios(moments, plain, [1e-30], [1.0, 0.1], 4)  # below what rounding leaves
    assert all(np.isfinite(one.weights).all() for one in lost)
    one = fit("ridge", moments, plain, STRENGTHS, pieces)
    assert whole.weights == pytest.approx(one.weights, abs=1e-9)


def test_moments_of_rows_apart_are_those_of_all(drawn):
    x, y = drawn
    x = x + 1e4 * (np.arange(ROWS) > 50)[:, None]  # the first rows are unlike the others
    apart = Moments.of(pieces_of(x[:50], y[:50])).beside(Moments.of(pieces_of(x[50:], y[50:])))
    for found in (apart, Moments.of(pieces_of(x, y))):
        assert found.rows == ROWS
        assert found.scatter == pytest.approx(np.cov(x.T, bias=True) * ROWS, rel=1e-9, abs=1e-3)
        assert found.cross == pytest.approx((x - x.mean(0)).T @ (y - y.mean()), rel=1e-9, abs=1e-6)
        assert found.means == pytest.approx(np.stack([x[y < 0].mean(0), x[y > 0].mean(0)]))


@pytest.mark.parametrize(("still", "kept"), [([], WIDTH), ([4], WIDTH - 1)])
def test_whitened_vectors_have_variance_1_in_every_direction_that_is_kept(drawn, still, kept):
    x, y = drawn[0].copy(), drawn[1]
    x[:, 4] = np.random.default_rng(1).normal(size=ROWS)
    x[:, still] = 2.0
    axes = linear_map(Moments.of(pieces_of(x, y)), "whiten", [WIDTH]).axes
    assert axes is not None
    assert np.cov((x @ axes).T, bias=True) == pytest.approx(np.eye(kept), abs=1e-6)


def test_too_few_rows_cannot_whiten_and_constant_vectors_teach_nothing(drawn):
    x, y = drawn
    with pytest.raises(InputError, match="7 training rows can't whiten 7 channels"):
        linear_map(Moments.of(pieces_of(x[:7], y[:7])), "whiten", [WIDTH])
    with pytest.raises(InputError, match="the same in all training rows"):
        linear_map(Moments.of(pieces_of(np.ones((8, 2)), y[:8])), "standard", [2])


def test_inputs_are_alike_up_to_a_rotation_and_a_scale():
    rng = np.random.default_rng(0)
    x, other = rng.normal(size=(2, 300, 6))
    turned = x @ np.linalg.qr(rng.normal(size=(6, 6)))[0] * 40 + 3
    found = np.array(cka([x, turned, other]))
    assert found[0, 1] == pytest.approx(1, abs=0.02)
    assert abs(found[0, 2]) < 0.1
    assert np.diag(found) == pytest.approx(1)


def test_vectors_that_do_not_vary_are_like_nothing():
    x = np.random.default_rng(0).normal(size=(20, 3))
    (own, none), (also, nothing) = cka([x, np.ones((20, 2))])
    assert own == pytest.approx(1)
    assert none is also is nothing is None


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=8))
def test_corrected_p_values_follow_holms_definition(values):
    found = holm(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    for rank, place in enumerate(order):
        steps = [min(1, values[p] * (len(values) - r)) for r, p in enumerate(order[: rank + 1])]
        assert found[place] == pytest.approx(max(steps))


def test_a_p_value_is_that_of_a_normal_law_and_of_students_where_luck_is_estimated():
    draws = np.random.default_rng(0).normal(0.02, 0.01, 5000)
    expected = 2 * normal.sf(0.02 / draws.std(ddof=1))
    assert two_sided(0.02, draws) == pytest.approx(expected)
    assert two_sided(-0.02, -draws) == pytest.approx(expected)
    variance = draws.var(ddof=1) + 0.03**2
    freedom = 4 * variance**2 / 0.03**4  # Satterthwaite's, the bootstrap's variance being known
    wider = 2 * student.sf(0.02 / np.sqrt(variance), freedom)
    assert two_sided(0.02, draws, 0.03**2, 4) == pytest.approx(wider)
    assert two_sided(0.02, draws, 1e-12, 4) == pytest.approx(expected)
    assert two_sided(0.0, np.zeros(500)) == 1
    assert two_sided(0.1, np.array([0.1, 0.11])) is None
    assert two_sided(None, draws) is None
    assert holm([None, 0.5]) == [None, 0.5]


def test_what_is_known_of_the_first_channels_is_taken(drawn):
    x, y = drawn
    whole, first = Moments.of(pieces_of(x, y)), Moments.of(pieces_of(x[:, :5], y))
    found = Moments.of(pieces_of(x, y), first.scatter)
    assert found.scatter == pytest.approx(whole.scatter, rel=1e-10, abs=1e-9)
    assert np.array_equal(found.scatter, found.scatter.T)
    assert found.cross == pytest.approx(whole.cross) and found.mean == pytest.approx(whole.mean)
    other = Moments.of(pieces_of(x, y), first.scatter + 1)
    assert other.scatter - found.scatter == pytest.approx(np.pad(np.ones((5, 5)), (0, 2)))


@pytest.mark.parametrize("strength", [1e-18, 1e-3, 10.0])
def test_few_strengths_give_what_many_give(drawn, strength):
    """Even one that is lost in what rounding leaves of a channel that stands there twice."""
    x, y = drawn
    pieces = pieces_of(np.concatenate([x, x[:, :1]], 1), y)
    moments = Moments.of(pieces)
    linear = linear_map(moments, "standard", [WIDTH + 1])
    several = [strength, 0.1, 0.2, 0.3, 0.4]
    one, many = (fit("ridge", moments, linear, s, pieces) for s in (several[:1], several))
    scores = [next(pieces())[0] @ found.weights[:, 0] + found.bias[0] for found in (one, many)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)

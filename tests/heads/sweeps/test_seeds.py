"""Intervals of means over seeds."""

import statistics

import numpy as np
import pytest

from clare.heads.sweeps.seeds import mean_interval, t_quantile


@pytest.mark.parametrize(
    ("freedom", "known"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (19, 2.0930), (100, 1.9840)],
)
def test_students_t_is_that_of_the_tables(freedom, known):
    assert t_quantile(freedom) == pytest.approx(known, abs=5e-5)


def test_nineteen_of_twenty_intervals_hold_the_mean():
    draws = np.random.default_rng(0).normal(0.5, 0.05, (4000, 5))
    intervals = [mean_interval(values) for values in draws.tolist()]
    held = [low <= 0.5 <= high for low, high in intervals if low is not None and high is not None]
    assert 0.94 < statistics.fmean(held) < 0.96


def test_an_interval_stays_where_figures_are():
    assert mean_interval([0.9, 1.0]) == (pytest.approx(0.314690, abs=1e-5), 1.0)
    assert mean_interval([0.5]) == (None, None)
    assert mean_interval([0.7, 0.7, 0.7]) == (pytest.approx(0.7), pytest.approx(0.7))

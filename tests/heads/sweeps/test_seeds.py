"""Intervals of means over seeds."""

import statistics

import numpy as np
import pytest

from clare.heads.sweeps.table import mean_interval


def test_nineteen_of_twenty_intervals_hold_the_mean():
    draws = np.random.default_rng(0).normal(0.5, 0.05, (4000, 5))
    intervals = [mean_interval(values) for values in draws.tolist()]
    held = [low <= 0.5 <= high for low, high in intervals if low is not None and high is not None]
    assert 0.94 < statistics.fmean(held) < 0.96


def test_an_interval_stays_where_figures_are():
    assert mean_interval([0.9, 1.0]) == (pytest.approx(0.314690, abs=1e-5), 1.0)
    assert mean_interval([0.5]) == (None, None)
    assert mean_interval([0.7, 0.7, 0.7]) == (pytest.approx(0.7), pytest.approx(0.7))

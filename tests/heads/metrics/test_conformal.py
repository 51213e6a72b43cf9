"""Conformal sets: their quantile, the coverage that they promise, ties, clusters, too few rows."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clare.bootstrap import Resampling
from clare.errors import InputError
from clare.heads.metrics.conformal import (
    LabelSets,
    calibrate,
    conformal_quantile,
    measure_sets,
)
from clare.heads.metrics.predictions import Predictions
from tests.figures import existing, low_value_high

LEVELS = ("0.5", "0.8", "0.9", "0.95", "0.99")


def rows_of(margin, label, cluster=None):
    """Predictions of single rows, or of clusters."""
    n = len(margin)
    names = np.arange(n).astype(str)
    empty = np.full(n, "")
    return Predictions(
        sample_id=names,
        subset=np.full(n, "s"),
        category=empty,
        label=np.asarray(label, np.int64),
        margin=np.asarray(margin, np.float64),
        video=empty,
        cluster=names if cluster is None else np.asarray(cluster, np.str_),
    )


@given(
    st.lists(st.integers(-5, 5) | st.floats(-9, 9), min_size=1, max_size=60),
    st.sampled_from(LEVELS),
)
@settings(deadline=None)
def test_the_quantile_of_single_rows_is_the_usual_one(scores, level):
    """The ceil((n + 1) * coverage)-th smallest score, ties and all; none where there is none."""
    scores = np.array(scores, np.float64)
    n = len(scores)
    rank = math.ceil((n + 1) * Fraction(level))
    found = conformal_quantile(scores, np.arange(n).astype(str), float(level))
    assert found == (np.sort(scores)[rank - 1] if rank <= n else None)


@pytest.mark.parametrize("n", [19, 40, 99, 500])
def test_it_is_numpys_inverted_distribution_function(n):
    scores = np.random.default_rng(n).normal(size=n)
    level = math.ceil((n + 1) * Fraction("0.9")) / n
    plain = np.quantile(scores, level, method="inverted_cdf")
    assert conformal_quantile(scores, np.arange(n).astype(str), 0.9) == plain


@pytest.mark.parametrize("decimals", [None, 0], ids=["continuous", "tied"])
@pytest.mark.parametrize("level", [0.8, 0.9])
def test_exchangeable_rows_are_covered_as_stated_each_label_by_itself(decimals, level):
    """Of unequal labels: 37 reals, whose scores are skewed, and 150 fakes."""
    random = np.random.default_rng(3)
    counts, rounds = (37, 150), 2000

    def draw(reals, fakes):
        margin = np.concatenate([random.exponential(size=reals), random.normal(2, 2, size=fakes)])
        margin = margin if decimals is None else margin.round(decimals)
        return rows_of(margin, np.repeat([0, 1], [reals, fakes]))

    covered = np.zeros(2)
    for _ in range(rounds):
        held = calibrate(draw(*counts), level).holds(draw(1, 1).margin)
        covered += np.diag(held)
    error = 3 * math.sqrt(level * (1 - level) / rounds)
    for share, n in zip(covered / rounds, counts, strict=True):
        assert share >= level - error
        if decimals is None:
            assert share <= level + 1 / (n + 1) + error, "no wider than it has to be"


def test_frames_of_one_video_are_no_independent_rows():
    """Twelve videos of thirty frames that hardly differ within a video."""
    random, rounds, level = np.random.default_rng(5), 1000, 0.9
    clusters = np.repeat(np.arange(12).astype(str), 30)
    hits, naive = 0, 0
    for _ in range(rounds):
        scores = np.repeat(random.normal(size=12), 30) + random.normal(0, 0.01, size=360)
        new = random.normal() + random.normal(0, 0.01)
        whole = conformal_quantile(scores, clusters, level)
        alone = conformal_quantile(scores, np.arange(360).astype(str), level)
        assert whole is not None and alone is not None
        hits += new <= whole
        naive += new <= alone
    error = 3 * math.sqrt(level * (1 - level) / rounds)
    assert hits / rounds >= level - error > naive / rounds


def test_a_long_video_counts_as_much_as_a_short_one():
    scores = np.concatenate([np.arange(9.0), np.full(1000, 99.0)])
    clusters = np.array([*map(str, range(9)), *["long"] * 1000])
    assert conformal_quantile(scores, clusters, 0.8) == 8.0, "9 of 11 weights, not 9 of 1009"


def test_too_few_rows_rule_nothing_out():
    rows = rows_of([*range(8), *range(5, 14)], [0] * 8 + [1] * 9)
    sets = calibrate(rows, 0.9)
    assert sets.real_up_to is None and sets.fake_from == 5.0, "0.9 needs nine"
    assert (sets.reals, sets.fakes, sets.needed) == (8, 9, 9)
    assert sets.uncalibrated == {"real": 8}
    assert sets.holds(np.array([-99.0, 4.9, 5.0])).tolist() == [
        [True, False],
        [True, False],
        [True, True],
    ]
    assert calibrate(rows, 0.5).uncalibrated == {}
    alone = calibrate(rows.take(rows.label == 1), 0.8)
    assert alone.uncalibrated == {"real": 0}, "fakes alone"


@pytest.mark.parametrize("coverage", [0, 1, -1, 90, float("nan")])
def test_a_coverage_that_is_none_is_refused(coverage):
    with pytest.raises(InputError, match=r"between 0 and 1, as 0\.9"):
        calibrate(rows_of([0.0], [0]), coverage)


def test_figures_are_those_of_a_plain_loop():
    random = np.random.default_rng(1)
    label = random.integers(2, size=80)
    rows = rows_of(random.normal(size=80).round(1) + label, label, random.integers(30, size=80))
    for sets in (LabelSets(0.9, 1.2, -0.1, 9, 9), LabelSets(0.5, 0.2, 0.9, 9, 9)):
        found = measure_sets(rows, sets, Resampling(50))
        holds = [
            {name for name, held in zip((0, 1), (margin <= up, margin >= low), strict=True) if held}
            for margin in rows.margin
            for up, low in [(sets.real_up_to, sets.fake_from)]
        ]
        pairs = list(zip(holds, rows.label.tolist(), strict=True))
        sure = [(one, true) for one, true in pairs if len(one) == 1]
        expected = {
            "unsure": [len(one) == 2 for one, _ in pairs],
            "neither": [not one for one, _ in pairs],
            "coverage_real": [true in one for one, true in pairs if true == 0],
            "coverage_fake": [true in one for one, true in pairs if true == 1],
            "accuracy_sure": [true in one for one, true in sure],
        }
        assert {*found} == {*expected}
        for name, values in expected.items():
            assert found[name].value == pytest.approx(np.mean(values)) and found[name].n == len(
                values
            )
            low, value, high = low_value_high(found[name])
            assert low <= value <= high
    assert found["unsure"].value == 0 < existing(found["neither"].value), (
        "the last sets never overlap"
    )


def test_where_nothing_is_sure_there_is_no_accuracy():
    sets = LabelSets(0.9, None, None, 3, 3)
    found = measure_sets(rows_of([0.0, 1.0, 2.0, 3.0], [0, 0, 1, 1]), sets, Resampling(20))
    assert found["unsure"].value == 1 and found["accuracy_sure"].value is None
    assert found["accuracy_sure"].n == 0 and found["accuracy_sure"].low is None


@pytest.mark.parametrize("n", [9, 30, 200])
def test_so_few_to_calibrate_on_leave_so_much_open(n):
    """Of uniform scores the coverage of one calibration is its cut."""
    random = np.random.default_rng(n)
    names = np.arange(n).astype(str)
    cuts = np.array(
        [existing(conformal_quantile(random.random(n), names, 0.9)) for _ in range(2000)]
    )
    low, high = LabelSets(0.9, 0.0, 0.0, n, n).leeway(n)
    assert np.mean((cuts > low) & (cuts < high)) == pytest.approx(0.95, abs=0.02)
    assert LabelSets(0.9, None, None, 8, 8).leeway(8) == (1.0, 1.0)

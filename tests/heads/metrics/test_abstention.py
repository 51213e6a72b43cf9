"""Accuracy of the surest rows: against a plain loop over every order of rows that are tied."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clare.bootstrap import Resampling, resample
from clare.heads.metrics.abstention import SHARES, RiskCoverage, measure_abstention
from tests.heads.metrics.test_conformal import rows_of


def plain(certainty, wrong):
    """AURC and the accuracy of the surest, the mean over all orders of rows that are tied."""
    order = sorted(range(len(wrong)), key=lambda k: -certainty[k])
    groups = [list(g) for _, g in itertools.groupby(order, key=lambda k: certainty[k])]
    areas: list[float] = []
    surest: dict[float, list[float]] = {share: [] for share in SHARES}
    for each in itertools.product(*(itertools.permutations(group) for group in groups)):
        mistakes = [int(wrong[k]) for group in each for k in group]
        risks = [sum(mistakes[:count]) / count for count in range(1, len(mistakes) + 1)]
        areas.append(float(np.mean(risks)))
        for share, found in surest.items():
            wanted = share * len(mistakes)
            whole = int(wanted)
            missed = float(sum(mistakes[:whole]))
            if wanted > whole:  # a part of the row that comes next
                missed += (wanted - whole) * mistakes[whole]
            found.append(1 - missed / wanted)
    return np.mean(areas), {share: np.mean(found) for share, found in surest.items()}


@given(st.lists(st.tuples(st.integers(-2, 3), st.booleans()), min_size=1, max_size=7))
@settings(deadline=None, max_examples=60)
def test_figures_are_those_of_a_plain_loop_over_all_orders_of_ties(rows):
    margin = np.array([m for m, _ in rows], np.float64)
    label = np.array([fake for _, fake in rows], np.int64)
    found = measure_abstention(rows_of(margin, label), 0.5, Resampling(0))
    wrong = (margin >= 0.5) != (label == 1)
    area, surest = plain(np.abs(margin - 0.5).tolist(), wrong.tolist())
    assert found["aurc"].value == pytest.approx(area)
    assert found["accuracy"].value == pytest.approx(1 - wrong.mean())
    for share, accuracy in surest.items():
        assert found[f"accuracy_surest_{share:g}"].value == pytest.approx(accuracy)


def test_a_resample_is_measured_as_its_rows_written_out():
    random = np.random.default_rng(2)
    label = random.integers(2, size=40)
    rows = rows_of((random.normal(size=40) + label).round(1), label, random.integers(9, size=40))
    ranked = RiskCoverage(rows, 0.4)
    (weights,) = resample(rows.label, rows.cluster, Resampling(25))
    found = ranked.figures(weights)
    for draw, times in enumerate(weights.astype(int)):
        written = rows.take(np.repeat(np.arange(40), times))
        alone = RiskCoverage(written, 0.4).figures(np.ones((1, len(written))))
        assert {n: v[draw] for n, v in found.items()} == pytest.approx(
            {n: v[0] for n, v in alone.items()}
        )
    whole = measure_abstention(rows, 0.4, Resampling(25))
    low, high = np.quantile(found["aurc"], [0.025, 0.975])
    assert (whole["aurc"].low, whole["aurc"].high) == (low, high) and whole["aurc"].n == 40


def test_the_curve_has_a_point_a_group_and_ends_in_the_accuracy_of_all():
    rows = rows_of([-3.0, 3.0, 1.0, -1.0, 2.0, 0.0], [0, 1, 0, 0, 1, 1])
    share, accuracy = RiskCoverage(rows, 0.0).curve()
    assert share == pytest.approx([2 / 6, 3 / 6, 5 / 6, 1])
    assert accuracy == pytest.approx([1, 1, 4 / 5, 5 / 6]), "a row at the threshold is called fake"
    figures = measure_abstention(rows, 0.0, Resampling(0))
    assert figures["accuracy"].value == pytest.approx(accuracy[-1])
    assert figures["accuracy_surest_0.5"].value == 1


def test_a_detector_that_knows_where_it_errs_has_the_lower_area():
    label = np.tile([0, 1], 20)
    right = np.where(label == 1, 2.0, -2.0)
    late, soon = right.copy(), right.copy()
    late[:4] *= -0.1
    soon[:4] *= -9
    areas = [
        measure_abstention(rows_of(margin, label), 0.0, Resampling(0))["aurc"].value
        for margin in (late, soon)
    ]
    assert areas[0] is not None and areas[1] is not None and areas[0] < 0.02 < 0.2 < areas[1]

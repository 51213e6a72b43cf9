"""Figures against scikit-learn's, their intervals, and the threshold."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from clare.bootstrap import Figure, Resampling, resample
from clare.errors import InputError
from clare.heads.metrics.measure import (
    best_threshold,
    difference_of,
    mean_of,
    measure,
    measure_draws,
)
from clare.heads.metrics.predictions import Predictions
from tests.figures import existing, low_value_high, width

ROWS = st.lists(st.tuples(st.integers(-6, 6), st.booleans()), min_size=2, max_size=60)
BOTH = ROWS.filter(lambda rows: len({label for _, label in rows}) == 2)


def make(margin, label, cluster=None, *, name="s", scale="margin") -> Predictions:
    count = len(label)
    samples = np.array([f"{name}/{n}" for n in range(count)])
    return Predictions(
        sample_id=samples,
        subset=np.full(count, name),
        category=np.full(count, "EFS"),
        label=np.asarray(label, np.int64),
        margin=np.asarray(margin, np.float64),
        video=np.full(count, ""),
        cluster=samples if cluster is None else np.asarray(cluster, str),
        scale=scale,
    )


def drawn(rows) -> Predictions:
    margin, label = zip(*rows, strict=True)
    return make(np.array(margin) / 4, label)


def by_sklearn(label, margin, threshold) -> dict[str, float]:
    """The figures as scikit-learn has them, or computes them from its ROC curve."""
    score, called = 1 / (1 + np.exp(-margin)), margin >= threshold
    alarms, caught, _ = sk.roc_curve(label, margin, drop_intermediate=False)
    reals, fakes = np.sum(label == 0), np.sum(label == 1)
    gaps = np.abs(np.rint(alarms * reals) * fakes - np.rint((1 - caught) * fakes) * reals)
    place = gaps.argmin()
    bins = np.minimum((score * 15).astype(int), 14)
    inside = [bins == n for n in range(15) if (bins == n).any()]
    return {
        "auc": sk.roc_auc_score(label, margin),
        "ap": sk.average_precision_score(label, margin),
        "eer": (alarms[place] + 1 - caught[place]) / 2,
        "accuracy": sk.accuracy_score(label, called),
        "balanced_accuracy": sk.balanced_accuracy_score(label, called),
        "f1": sk.f1_score(label, called, zero_division=0),
        "tpr_at_fpr_1": caught[alarms <= 0.01 + 1e-12].max(),
        "tpr_at_fpr_5": caught[alarms <= 0.05 + 1e-12].max(),
        "ece": sum(m.mean() * abs(label[m].mean() - score[m].mean()) for m in inside),
        "accuracy_at_0.5": sk.accuracy_score(label, margin >= 0),
        "accuracy_oracle": max(
            np.mean(label == (margin >= cut)) for cut in [*np.unique(margin), np.inf]
        ),
    }


@settings(deadline=None)
@given(BOTH, st.integers(-7, 7))
def test_figures_are_those_of_scikit_learn(rows, cut):
    predictions = drawn(rows)
    found = measure(predictions, cut / 4, Resampling(0), oracle=True)
    expected = by_sklearn(predictions.label, predictions.margin, cut / 4)
    assert {name: figure.value for name, figure in found.items()} == pytest.approx(expected)
    assert all(figure.n == len(rows) for figure in found.values())


@settings(max_examples=25, deadline=None)
@given(BOTH.filter(lambda rows: 1 < sum(label for _, label in rows) < len(rows) - 1))
def test_a_resample_is_the_rows_repeated(rows):
    predictions = drawn(rows)
    draws = measure_draws(predictions, 0.25, Resampling(30), oracle=True).draws
    weights = np.concatenate([*resample(predictions.label, predictions.cluster, Resampling(30))])
    for number in (0, 29):
        repeated = predictions.take(np.repeat(np.arange(len(rows)), weights[number].astype(int)))
        assert np.bincount(repeated.label).tolist() == np.bincount(predictions.label).tolist()
        expected = by_sklearn(repeated.label, repeated.margin, 0.25)
        assert {name: values[number] for name, values in draws.items()} == pytest.approx(expected)


def test_ranks_do_not_end_where_probabilities_are_1():
    predictions = make([40.0, 41.0, 400.0, 42.0, 800.0], [0, 0, 0, 1, 1])
    assert measure(predictions, 0.0, Resampling(0))["auc"].value == pytest.approx(5 / 6)


def noisy(count, shift, seed=0):
    label = np.arange(count) % 2
    return np.random.default_rng(seed).normal(shift * label), label


def test_an_interval_narrows_with_rows_and_is_the_same_every_time():
    widths = []
    for count in (40, 400, 4000):
        auc = measure(make(*noisy(count, 1.0)), 0.0, Resampling(300))["auc"]
        low, value, high = low_value_high(auc)
        assert low < value < high and auc.n == count
        widths.append(width(auc))
    assert widths[0] > 2 * widths[1] > 4 * widths[2]
    # The width that DeLong's formula gives for two normals one deviation apart is 0.030.
    assert widths[2] == pytest.approx(0.030, rel=0.2)
    again = measure(make(*noisy(4000, 1.0)), 0.0, Resampling(300))["auc"]
    assert (again.low, again.high) == (auc.low, auc.high)
    other = measure(make(*noisy(4000, 1.0)), 0.0, Resampling(300, seed=1))["auc"]
    assert other.low != auc.low and other.value == auc.value


def test_equal_frames_of_a_video_add_nothing():
    margin, label = noisy(60, 1.0)
    clusters = [f"video {n}" for n in range(60)]
    once = measure(make(margin, label, clusters), 0.0, Resampling(200))
    frames = make(np.repeat(margin, 8), np.repeat(label, 8), np.repeat(clusters, 8))
    eight = measure(frames, 0.0, Resampling(200))
    alone = measure(make(frames.margin, frames.label), 0.0, Resampling(200))
    assert eight["auc"].n == 480
    for end in ("low", "high"):
        assert getattr(eight["auc"], end) == pytest.approx(getattr(once["auc"], end))
    assert width(alone["auc"]) < 0.5 * width(eight["auc"])


def test_an_interval_needs_two_clusters_of_each_label():
    margin, label = noisy(10, 1.0)
    found = measure(make(margin, label, np.where(label, "one", np.arange(10).astype(str))), 0.0)
    assert found["auc"].value is not None and found["auc"].low is None


def test_many_rows_need_little_memory_and_say_how_far_they_are():
    rows = make(*noisy(200_000, 1.0))
    heard: list[int] = []
    tracemalloc.start()
    try:
        measure_draws(rows, 0.0, Resampling(20), progress=heard.append)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 120 * 2**20, "a table of 20 resamples of all rows alone has 32 MB"
    assert heard == sorted(heard) and len(heard) > 5 and heard[-1] == 20


def test_one_label_has_no_ranks():
    found = measure(make([1.0, -1.0, 2.0], [0, 0, 0]), 0.0, Resampling(50))
    assert found["accuracy"].value == pytest.approx(1 / 3) and found["accuracy"].low == 0
    assert existing(found["ece"].value) > 0
    for name in ("auc", "ap", "eer", "balanced_accuracy", "f1", "tpr_at_fpr_1"):
        assert found[name] == Figure(None, None, None, 3)


def test_without_a_threshold_its_figures_are_absent():
    found = measure(make([1.0, -1.0], [1, 0]), None, Resampling(0))
    absent = {name for name, figure in found.items() if figure.value is None}
    assert absent == {"accuracy", "balanced_accuracy", "f1"}


def test_probabilities_are_even_at_one_half():
    found = measure(make([0.6, 0.4, 0.1], [1, 0, 0], scale="probability"), None, Resampling(0))
    assert found["accuracy_at_0.5"].value == 1
    assert found["ece"].value == pytest.approx((0.4 + 0.4 + 0.1) / 3)


@pytest.mark.parametrize(("alarms", "one", "five"), [(1, 1, 1), (2, 0, 1), (5, 0, 1), (6, 0, 0)])
def test_a_rate_of_false_alarms_is_reached_exactly(alarms, one, five):
    margin = np.r_[np.full(alarms, 10.0), np.zeros(100 - alarms), np.full(7, 5.0)]
    found = measure(make(margin, np.repeat([0, 1], [100, 7])), 0.0, Resampling(0))
    assert (found["tpr_at_fpr_1"].value, found["tpr_at_fpr_5"].value) == (one, five)


def test_the_first_and_the_last_bin_of_probabilities_count():
    rows = make([1.0, 0.9, 0.01], [0, 1, 1], scale="probability")
    found = measure(rows, None, Resampling(0))
    assert found["ece"].value == pytest.approx((1.0 + 0.1 + 0.99) / 3)


def test_plain_numbers_have_ranks_and_no_even_odds():
    numbers = make([90.0, 40.0, 10.0, 60.0], [1, 0, 0, 1], scale="number")
    found = measure(numbers, None, Resampling(20))
    assert found["auc"].value == 1
    for name in ("ece", "accuracy_at_0.5", "accuracy"):
        assert found[name] == Figure(None, None, None, 4)
    assert measure(numbers, 50.0, Resampling(0))["accuracy"].value == 1


def test_no_rows_are_refused():
    with pytest.raises(InputError, match="no rows"):
        measure(make([], []), 0.0)


def test_a_mean_over_subsets_knows_that_they_share_their_reals():
    generator = np.random.default_rng(3)
    reals = generator.normal(size=40)
    fakes = [generator.normal(3, 1, 400), generator.normal(3, 1, 400)]
    label = np.repeat([0, 1], [40, 400])

    def sets(shared: bool):
        return [
            measure_draws(
                make(
                    np.concatenate([reals, fake]),
                    label,
                    [f"real {0 if shared else k}/{n}" for n in range(40)]
                    + [f"fake {k}/{n}" for n in range(400)],
                ),
                0.0,
                Resampling(400),
            )
            for k, fake in enumerate(fakes)
        ]

    shared, apart = sets(True), sets(False)
    alike, others = (mean_of(several).figures["auc"] for several in (shared, apart))
    assert alike.n == others.n == 2
    # Almost all variance is that of the reals, which a mean over two subsets does not halve.
    assert width(alike) > 1.2 * width(others)
    assert alike.value == pytest.approx(np.mean([one.values["auc"] for one in shared]))


def test_a_mean_with_a_missing_figure_is_missing():
    whole = measure_draws(make([1.0, -1.0, 2.0], [1, 0, 0]), 0.0, Resampling(20))
    part = measure_draws(make([1.0, -1.0], [0, 0]), 0.0, Resampling(20))
    found = mean_of([whole, part]).figures
    assert found["auc"] == Figure(None, None, None, 2)
    assert found["accuracy"].value == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_paired_difference_is_narrower_than_its_parts():
    margin, label = noisy(300, 1.0)
    better = margin + 0.2 * label + np.random.default_rng(1).normal(0, 0.05, 300)
    one, other = (measure_draws(make(m, label), 0.0, Resampling(300)) for m in (margin, better))
    auc = difference_of(one, other).figures["auc"]
    whole, second = one.figures["auc"], other.figures["auc"]
    low, value, high = low_value_high(auc)
    assert value == pytest.approx(existing(second.value) - existing(whole.value))
    assert 0 < low < value < high
    assert width(auc) < 0.5 * width(whole)


@settings(deadline=None)
@given(BOTH)
def test_the_best_threshold_is_the_best(rows):
    predictions = drawn(rows)
    threshold = best_threshold(predictions.margin, predictions.label)
    assert np.isfinite(threshold)
    found = sk.balanced_accuracy_score(predictions.label, predictions.margin >= threshold)
    real, fake = (predictions.margin[predictions.label == one] for one in (0, 1))
    cuts = np.unique(predictions.margin)
    best = max(((real < cut).mean() + (fake >= cut).mean()) / 2 for cut in cuts)
    assert found == pytest.approx(best)


def test_the_best_threshold_stands_in_the_middle_of_the_widest_gap():
    assert best_threshold(np.array([0.0, 1.0, 5.0, 6.0]), np.array([0, 0, 1, 1])) == 3
    low = np.float64(1.0)
    high = np.nextafter(low, 2)
    assert best_threshold(np.array([low, high]), np.array([0, 1])) == high
    with pytest.raises(InputError, match="one label"):
        best_threshold(np.array([0.0, 1.0]), np.array([1, 1]))

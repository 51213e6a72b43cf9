"""The AUC of one fact of an image, as audits and evaluations measure it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from clare.bootstrap import Figure, Resampling
from clare.shortcuts import free_aucs
from tests.figures import low_value_high, width


def rows(count):
    return np.array([f"row {n}" for n in range(count)])


def alternating(count):
    return np.arange(count) % 2


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=2).filter(
        lambda found: len({label for _, label in found}) == 2
    )
)
def test_a_number_gives_the_larger_of_both_directions(found):
    values, label = (np.array(column) for column in zip(*found, strict=True))
    auc = free_aucs({"x": values.astype(float)}, label, rows(len(label)), Resampling(0))["x"]
    plain = roc_auc_score(label, values)
    assert auc.value == pytest.approx(max(plain, 1 - plain))
    assert (auc.low, auc.n) == (None, len(label))


def test_a_name_needs_no_order_and_is_judged_on_rows_that_it_was_not_learned_from():
    label = alternating(200)
    generator = np.random.default_rng(0)
    facts = {
        "middle": np.array(["b" if fake else "ac"[n % 4 // 2] for n, fake in enumerate(label)]),
        "unique": np.array([str(n) for n in range(200)]),
        "chance": generator.choice(list("abcdefgh"), 200),
        "one": np.full(200, "a"),
    }
    found = free_aucs(facts, label, rows(200), Resampling(300))
    assert found["middle"] == Figure(1.0, 1.0, 1.0, 200)
    # Told from the rows themselves, the name of each row alone would give 1.0.
    assert found["unique"].value == found["one"].value == 0.5
    low, _, high = low_value_high(found["chance"])
    assert low < 0.5 < high


def test_a_name_is_never_judged_by_its_own_cluster():
    """Each video has a size of its own; its frames say nothing of other videos."""
    label = alternating(30).repeat(10)
    video = np.array([f"v{n}" for n in range(30)]).repeat(10)
    assert free_aucs({"size": video}, label, video, Resampling(0))["size"].value == 0.5
    alone = free_aucs({"size": video}, label, rows(300), Resampling(0))["size"].value
    assert alone == 1.0


def test_frames_of_few_videos_give_a_wide_interval():
    label = alternating(20).repeat(20)
    video = np.array([f"v{n}" for n in range(20)]).repeat(20)
    values = (np.random.default_rng(1).normal(size=20) + alternating(20)).repeat(20)
    wide = free_aucs({"x": values}, label, video)["x"]
    narrow = free_aucs({"x": values}, label, rows(400))["x"]
    assert wide.value == narrow.value
    assert width(wide) > 2 * width(narrow)

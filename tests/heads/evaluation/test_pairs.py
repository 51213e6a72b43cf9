"""Figures of pairs: how often a fake scores above its own real, and what controls say."""

import numpy as np
import pytest

from clare.bootstrap import Figure, Resampling
from clare.heads.evaluation.pairs import (
    PairFigures,
    measure_pairs,
    pair_accuracy,
    told_of_control,
)
from clare.heads.metrics.predictions import Predictions, evaluation_sets
from clare.store.row import Row


def row(subset, name, label, pair="", **columns):
    columns = {"subset": subset, "label": label, "pair_id": pair, **columns}
    return Row(sample_id=name, view=0, content=name, columns=columns)


def test_pair_accuracy_is_the_share_of_fakes_above_their_own_real_and_draws_clusters():
    real = np.array([0.0, 5.0, 10.0, 0.0])
    fake = np.array([1.0, 6.0, 9.0, 0.0])
    names = np.array(["a", "b", "c", "d"])
    found = pair_accuracy(fake, real, names, Resampling(400))
    assert found.value == 2.5 / 4 and found.n == 4
    assert found.low is not None and found.high is not None and found.low < 0.4 < 0.8 < found.high
    many = pair_accuracy(np.tile(fake, 50), np.tile(real, 50), np.tile(names, 50), Resampling(400))
    alone = np.array([f"row {n}" for n in range(200)])
    single = pair_accuracy(np.tile(fake, 50), np.tile(real, 50), alone, Resampling(400))
    assert many.low is not None and single.low is not None and many.low < single.low - 0.1
    assert pair_accuracy(fake, real, names, Resampling(0)).low is None


def test_it_tells_what_an_auc_over_unlike_images_hides():
    """Fakes far below other reals and always just above their own."""
    place = np.arange(40.0)
    rows = [
        row("vae", f"{label}{n}", label, f"p{n}", pair_kind="vae")
        for label in (0, 1)
        for n in range(40)
    ]
    margins = np.concatenate([place, place + 0.1])
    predictions = Predictions.of_rows(rows, margins)
    found = measure_pairs(rows, predictions, evaluation_sets(predictions), Resampling(50), set())
    assert found["vae"].accuracy.value == 1 and found["vae"].kind == "vae"
    assert found["vae"].finds == "decoder"


@pytest.mark.parametrize(
    ("kind", "trained", "finds"),
    [
        ("sbi", {("FS", "")}, "blending"),
        ("blend", {("FS", ""), ("EFS", "")}, "blending"),
        ("sbi", {("EFS", "")}, ""),
        ("vae", {("EFS", "")}, "decoder"),
        ("vae", {("FS", "")}, ""),
        ("vae", {("", "")}, "decoder"),
        ("vae", {("", "vae")}, ""),
        ("sbi", {("", "vae")}, "blending"),
        ("", {("FS", "")}, ""),
    ],
)
def test_a_subset_is_a_control_for_runs_that_learned_something_else(kind, trained, finds):
    rows = [row("s", f"{n}", n % 2, f"p{n // 2}", pair_kind=kind) for n in range(8)]
    predictions = Predictions.of_rows(rows, np.arange(8.0))
    found = measure_pairs(rows, predictions, evaluation_sets(predictions), Resampling(0), trained)
    assert found["s"].finds == finds


def test_a_control_is_told_by_the_interval_of_its_auc():
    found = PairFigures("sbi", Figure(0.9, 0.8, 1.0, 10), 0, "blending")
    assert told_of_control(found, Figure(0.8, 0.7, 0.9, 20)) == "finds the blending, not the fake"
    assert told_of_control(found, Figure(0.6, 0.4, 0.8, 20)) == "does not find the blending alone"
    assert "no interval" in told_of_control(found, Figure(0.6, None, None, 20))
    assert told_of_control(found, None) == ""
    assert told_of_control(PairFigures("vae", found.accuracy), Figure(0.8, 0.7, 0.9, 20)) == ""

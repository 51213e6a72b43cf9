"""By simulation: intervals hold the truth as often as they say, and noise is no gain."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm as normal

import clare
from clare.bootstrap import Resampling
from clare.heads.metrics.measure import difference_of
from clare.heads.metrics.predictions import Predictions
from clare.heads.probing.answers import FEWEST, answer, two_sided
from clare.heads.probing.inputs import Part, ProbeInput, Source
from clare.heads.probing.prober import Grid, Prober
from clare.heads.probing.questions import SHUFFLES, Question
from clare.heads.probing.rows import ProbeRows
from clare.heads.probing.said import is_sure
from clare.store.row import Row
from tests.heads.probing.probed_store import store_of

VIDEOS, FRAMES, REPEATS = 80, 3, 120
A, B, SHARED, OWN = 0.6, 0.5, 0.7, 0.8
"""What a part of the truth moves each score by; deviations over videos and over frames."""


@pytest.fixture(scope="module")
def clustered():
    """A prober of frames of videos, of which the scores alone are measured."""
    rows = [
        Row(
            sample_id=f"{n}",
            view=0,
            content=f"{n:064x}",
            columns={"label": n // FRAMES % 2, "subset": "drawn", "video_id": f"{n // FRAMES}"},
        )
        for n in range(VIDEOS * FRAMES)
    ]
    tested = Predictions.of_rows(rows, np.zeros(len(rows)))
    places = np.arange(len(rows))
    y, none = 2 * tested.label.astype(np.float64) - 1, places[:0]
    every = [("drawn", row) for row in rows]
    unread: Any = None
    chosen = ProbeRows(every, y, none, none, places, tested, {}, ())
    return Prober(unread, chosen, Grid([], [], [], []), Resampling(250, 0)), tested


def test_the_paired_interval_of_a_gain_holds_the_truth_95_times_in_100(clustered):
    prober, tested = clustered
    sign = 2.0 * tested.label - 1
    alone = normal.cdf(np.sqrt(2) * A / np.hypot(SHARED, OWN))
    both = normal.cdf(np.sqrt(2) * (A + B) / np.hypot(SHARED, np.sqrt(2) * OWN))
    held = 0
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        video = np.repeat(rng.normal(size=VIDEOS) * SHARED, FRAMES)
        one = A * sign + video + OWN * rng.normal(size=len(sign))
        two = one + B * sign + OWN * rng.normal(size=len(sign))
        (_, base), (_, sum_) = prober.measure([one, two])
        gain = difference_of(base, sum_).figures["auc"]
        held += gain.low <= both - alone <= gain.high
    assert 0.88 <= held / REPEATS <= 0.99


class Held:
    """Vectors by name, in memory."""

    def __init__(self, values):
        self.values = values

    def widths(self, asked):
        return [self.values[part.name].shape[1] for part in asked.parts]

    def pieces(self, asked, places, *, unit, exchanged):
        del unit
        others = exchanged[asked.shuffled - 1][places] if asked.shuffled else places
        rows = [*[places] * (len(asked.parts) - 1), others]
        mine = zip(asked.parts, rows, strict=True)
        yield np.concatenate([self.values[part.name][k] for part, k in mine], 1)


def p_values(seed, planted=(), noises=5, width=60, counts=(60, 20, 2000)):
    """That of each of some noises beside an input that tells something: few rows train and choose,
    so that luck is large, and many test, so that resamples show little of it. Then those of what is
    planted: each mean of a class so far from 0 in four channels."""
    rng, total = np.random.default_rng(seed), sum(counts)
    y = np.where(np.arange(total) % 2, 1.0, -1.0)
    values = {"base": rng.normal(size=(total, 6)) + 0.4 * y[:, None]}
    values |= {f"noise{n}": rng.normal(size=(total, width)) for n in range(noises)}
    values |= {f"{one}": rng.normal(size=(total, 4)) + one * y[:, None] for one in planted}
    rows = [
        Row(sample_id=f"{n}", view=0, content="", columns={"label": n % 2, "subset": "drawn"})
        for n in range(total)
    ]
    train, val, test = np.split(np.arange(total), np.cumsum(counts)[:2])
    tested = Predictions.of_rows([rows[n] for n in test], np.zeros(len(test)))
    every = [("drawn", row) for row in rows]
    chosen = ProbeRows(every, y, train, val, test, tested, {(1.0, 0): train}, ())
    held: Any = Held(values)
    prober = Prober(held, chosen, Grid([], ["none"], ["ridge"], [0.1, 10.0]), Resampling(200, seed))
    base, *others = (ProbeInput((Part(n, Source(n, "drawn", "")),)) for n in values)
    answers, _ = answer(prober, [Question(base, other) for other in others], [], (1.0, 0))
    return [one.mean.p for one in answers]


def test_noise_beside_an_input_is_called_a_gain_or_a_loss_no_more_often_than_p_says():
    """Shuffles that chose their own ratio and strength had 4 of 30, of six seeds, below .0025."""
    found = [p for seed in range(4) for p in p_values(seed)]
    assert len(found) == 20
    assert sum(p <= 0.0025 for p in found) <= 1


def test_a_planted_gain_stays_one_among_36_differences():
    """With five shuffles, whose luck has 4 degrees of freedom, in two of these four draws."""
    found = [p for seed in range(8, 12) for p in p_values(seed, planted=[0.4], noises=0)]
    assert sum(p <= 0.05 / 36 for p in found) == len(found) == 4


def test_a_p_value_of_luck_that_shuffles_tell_is_as_small_as_often_as_it_says():
    """By the normal law 8 in 100 would be below .05."""
    rng, unmoved = np.random.default_rng(0), np.zeros(FEWEST)
    found = []
    for one, *shuffles in rng.normal(size=(3000, 1 + SHUFFLES)):
        luck = np.var(shuffles, ddof=1) * (1 + 1 / SHUFFLES)
        found.append(two_sided(one - np.mean(shuffles), unmoved, luck, SHUFFLES - 1))
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.012)
    assert np.mean(np.array(found) <= 0.0025) <= 0.0055


def test_what_is_planted_is_called_a_gain(tmp_path):
    rng = np.random.default_rng(11)
    signs = np.where(np.arange(600) % 2, 1, -1)
    splits = np.resize(np.repeat(["train", "val", "test", "test"], 2), 600)
    fields = {"base": rng.normal(size=(600, 3)) + 0.4 * signs[:, None]}
    fields["planted"] = rng.normal(size=(600, 3)) + 0.6 * signs[:, None] * [1, 0, 0]
    found = clare.probe(
        store_of(tmp_path / "features.zarr", fields, signs, splits),
        tmp_path / "out",
        inputs=["base"],
        norms=["none", "standard"],
        kinds=["ridge"],
        ask=["does planted add to base?"],
        resamples=400,
    )
    (planted,) = found.answers
    assert is_sure(planted.mean)
    assert (planted.mean.auc.value or 0) > 0.02
    assert abs(planted.shuffled.value or 0) < 0.02

"""By simulation: intervals hold the truth as often as they say, and noise is no gain."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm as normal

import clare
from clare.bootstrap import Resampling
from clare.heads.metrics.measure import difference_of
from clare.heads.metrics.predictions import Predictions
from clare.heads.probing.prober import Grid, Prober
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


def test_of_many_noises_none_is_called_a_gain_and_what_is_planted_is(tmp_path):
    rng = np.random.default_rng(11)
    signs = np.where(np.arange(600) % 2, 1, -1)
    splits = np.resize(np.repeat(["train", "val", "test", "test"], 2), 600)
    fields = {"base": rng.normal(size=(600, 3)) + 0.4 * signs[:, None]}
    fields |= {f"noise{n}": rng.normal(size=(600, 3)) for n in range(8)}
    fields["planted"] = rng.normal(size=(600, 3)) + 0.6 * signs[:, None] * [1, 0, 0]
    asked = [f"does {name} add to base?" for name in fields if name != "base"]
    found = clare.probe(
        store_of(tmp_path / "features.zarr", fields, signs, splits),
        tmp_path / "out",
        inputs=["base"],
        norms=["none", "standard"],
        kinds=["ridge"],
        ask=asked,
        resamples=400,
    )
    assert [one.added for one in found.answers if is_sure(one.mean)] == ["planted"]
    (planted,) = [one for one in found.answers if one.added == "planted"]
    assert (planted.mean.auc.value or 0) > 0.02
    assert abs(planted.shuffled.value or 0) < 0.02

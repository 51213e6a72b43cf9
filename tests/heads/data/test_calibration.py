"""Rows of validation that choose nothing: whole groups, both labels, and coverage that holds."""

from typing import Any

import numpy as np
import pytest

from clare.errors import InputError
from clare.heads.data.calibration import keep_apart
from clare.heads.metrics.conformal import calibrate
from clare.store.row import Row
from clare.store.rows import rows_of
from tests.heads.metrics.test_conformal import rows_of as scored


def rows(count: int, **columns: Any):
    """Reals and fakes in turn; each column's value is made of the row's number."""
    return rows_of(
        [
            Row(
                sample_id=f"{n}",
                view=0,
                content=f"{n:064x}",
                columns={"subset": "s", "label": n % 2, **{k: f(n) for k, f in columns.items()}},
            )
            for n in range(count)
        ]
    )


LABELS = np.arange(40) % 2


def test_a_share_of_each_label_is_kept_apart_whatever_the_order():
    some = rows(40)
    apart = keep_apart(some, LABELS, 0.4)
    assert apart[LABELS == 0].sum() == apart[LABELS == 1].sum() == 8
    order = np.random.default_rng(0).permutation(40)
    assert np.array_equal(keep_apart(some.take(order), LABELS[order], 0.4), apart[order])
    assert not keep_apart(some, LABELS, 0.0).any()


@pytest.mark.parametrize(
    "columns",
    [
        {"source_ids": lambda n: f"{n // 4}"},
        {"source_ids": lambda n: f"{n // 4}|{100 + n}"},
        {"pair_id": lambda n: f"p{n // 4}"},
        {"video_id": lambda n: f"{n // 4}"},
    ],
)
def test_people_pairs_and_videos_stay_whole(columns):
    apart = keep_apart(rows(40, **columns), LABELS, 0.5).reshape(10, 4)
    assert (apart == apart[:, :1]).all() and apart[:, 0].sum() == 5


def test_a_label_that_is_on_one_side_alone_is_refused():
    one_real = np.array([0] + [1] * 9)
    for share, what in ((0.9, "choose by"), (0.1, "calibrate on")):
        with pytest.raises(InputError, match=rf"{share} leaves no reals of validation to {what}"):
            keep_apart(rows(10), one_real, share)


def test_sets_cover_what_they_state_on_rows_that_chose_nothing_and_less_on_those_that_did():
    """Sixty epochs that are equally good, thirty rows of a label, and the luckiest epoch."""
    rng = np.random.default_rng(0)
    label = np.arange(60) % 2
    apart = keep_apart(rows(60), label, 0.5)
    covered: dict[str, list[float]] = {"same": [], "apart": []}
    for _ in range(100):
        margins = rng.normal(size=(60, 60)) + 0.8 * label
        test = rng.normal(size=4000) + 0.8 * (np.arange(4000) % 2)  # of whichever epoch
        for name, choose, keep in (("same", label < 2, label < 2), ("apart", ~apart, apart)):
            real, fake = (margins[:, choose & (label == one)] for one in (0, 1))
            best = margins[(fake[:, :, None] > real[:, None]).mean((1, 2)).argmax()]  # by AUC
            held = calibrate(scored(best[keep], label[keep]), 0.9).holds(test)
            covered[name].append(float(held[np.arange(4000), np.arange(4000) % 2].mean()))
    mean, error = np.mean(covered["apart"]), np.std(covered["apart"]) / np.sqrt(100)
    exact = np.ceil(16 * 0.9) / 16  # of fifteen rows
    assert mean == pytest.approx(exact, abs=4 * error)
    assert np.mean(covered["same"]) < 0.88

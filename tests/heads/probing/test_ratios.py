"""Each part of a sum has a strength of its own."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import clare
from clare.heads.probing.choosing import auc, clearly_best, is_clearly_better
from clare.heads.probing.said import is_sure
from tests.heads.probing.probed_store import store_of


@pytest.fixture(scope="module")
def lopsided(tmp_path_factory):
    """A wide field that tells nothing but loudly, and a narrow one whose weak channel tells all."""
    rng = np.random.default_rng(5)
    signs = np.where(np.arange(480) % 2, 1, -1)
    splits = np.repeat(["train", "val", "test"], 160)
    narrow = rng.normal(size=(480, 2)) * [6, 0.7]
    narrow[:, 1] += signs
    fields = {"wide": rng.normal(size=(480, 120)), "narrow": narrow}
    path = tmp_path_factory.mktemp("lopsided") / "features.zarr"
    return store_of(path, fields, signs, splits)


def test_a_narrow_part_need_not_bear_the_strength_that_fits_a_wide_one(lopsided, tmp_path):
    found = clare.probe(
        lopsided,
        tmp_path / "out",
        inputs=["wide+narrow", "narrow"],
        norms=["none"],
        kinds=["ridge"],
        strengths=[0.1],
        ask=["does narrow add to wide?"],
        resamples=400,
    )
    both, alone = found.probes
    assert both.ratio in (10, 100)
    assert alone.ratio is None
    assert (both.mean.value or 0) > (alone.mean.value or 1) - 0.05
    (answer,) = found.answers
    assert is_sure(answer.mean)
    assert f"last part x {both.ratio:g}" in answer.together


def test_validation_chooses_by_auc_and_only_what_is_clearly_better():
    rng = np.random.default_rng(0)
    y = np.where(np.arange(300) % 3, -1.0, 1.0)
    good, slightly = y + rng.normal(size=300), y + rng.normal(size=300) * 1.01
    bad = rng.normal(size=300).round()
    wins = (good[y > 0][:, None] > good[y < 0]).mean()
    assert auc(good, y) == pytest.approx(wins)
    ties = (bad[y > 0][:, None] == bad[y < 0]).mean() / 2
    assert auc(bad, y) == pytest.approx((bad[y > 0][:, None] > bad[y < 0]).mean() + ties)
    alone = np.arange(300).astype(str)
    assert is_clearly_better(good, bad, y, alone)
    assert not is_clearly_better(bad, good, y, alone)
    assert not is_clearly_better(good, slightly, y, alone)
    assert not is_clearly_better(slightly, good, y, alone)


def test_frames_of_a_video_are_no_evidence_of_their_own():
    """Counted apart, ten frames a video made equal scores clearly better in 23 of 100 draws."""
    rng = np.random.default_rng(2)
    videos = np.repeat(np.arange(30), 10)
    y = np.where(videos % 2, -1.0, 1.0)
    found = 0
    for _ in range(300):
        one, two = y + rng.normal(size=(2, 30))[:, videos] + 0.2 * rng.normal(size=(2, 300))
        found += is_clearly_better(one, two, y, videos.astype(str))
    assert found / 300 < 0.06  # one-sided, two standard errors


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_best_of_what_is_clearly_better_is_chosen_in_whatever_order(order):
    rng = np.random.default_rng(1)
    y = np.where(np.arange(400) % 2, 1.0, -1.0)
    noise = rng.normal(size=400) * 2
    scores = np.stack([y + noise * size for size in (3, 1.5, 1.4)], 1)[:, [0, *order]]
    scores += rng.normal(size=scores.shape) * 0.5
    aucs = [auc(column, y) for column in scores.T]
    alone = np.arange(400).astype(str)
    assert clearly_best(scores, aucs, y, alone) == int(np.argmax(aucs))
    same = np.stack([scores[:, 0], scores[:, 0] + rng.normal(size=400) * 0.01], 1)
    assert clearly_best(same, [auc(column, y) for column in same.T], y, alone) == 0


@pytest.mark.parametrize("decimals", [8, 1])
def test_an_auc_is_scikit_learns_with_ties_and_without(decimals):
    rng = np.random.default_rng(5)
    y = np.where(rng.random(301) < 0.3, -1.0, 1.0)
    scores = (rng.normal(size=301) + 0.4 * y).round(decimals)
    assert auc(scores, y) == pytest.approx(roc_auc_score(y, scores), abs=1e-15)

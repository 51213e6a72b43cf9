"""Each part of a sum has a strength of its own."""

import numpy as np
import pytest

import clare
from clare.heads.probing.choosing import auc, is_clearly_better
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
    assert is_clearly_better(good, bad, y)
    assert not is_clearly_better(bad, good, y)
    assert not (is_clearly_better(good, slightly, y) or is_clearly_better(slightly, good, y))

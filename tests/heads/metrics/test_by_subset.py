"""Figures of several subsets, and which of them a mean is over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clare.bootstrap import Figure, Resampling
from clare.errors import InputError
from clare.heads.metrics.by_subset import (
    FiguresBySubset,
    counted_subsets,
    measure_subsets,
    turned_round,
)
from clare.heads.metrics.measure import measure, measure_draws
from clare.heads.metrics.predictions import Predictions, video_level
from tests.figures import existing, low_value_high

HOW = Resampling(20, seed=4)


def rows_of(subset: str, reals: int, fakes: int, shift=1.0, *, category="EFS", videos=0, seed=0):
    """Rows of one subset; with ``videos``, so many of each label."""
    count = reals + fakes
    label = np.repeat([0, 1], [reals, fakes])
    noise = np.random.default_rng([seed, count]).normal(size=count)
    samples = np.array([f"{subset}/{n}" for n in range(count)])
    video = [f"{subset}/{label[n]}-{n % videos}" if videos else "" for n in range(count)]
    return {
        "sample_id": samples,
        "subset": np.full(count, subset),
        "category": np.where(label == 1, category, "photo"),
        "label": label,
        "margin": noise + shift * label - 0.3,
        "video": np.array(video),
        "cluster": np.array(video) if videos else samples,
    }


def join(*parts: dict[str, Any]) -> Predictions:
    joined: dict[str, Any] = {n: np.concatenate([one[n] for one in parts]) for n in parts[0]}
    return Predictions(**joined)


def part(predictions: Predictions, *names: str) -> Predictions:
    return predictions.take(np.isin(predictions.subset, names))


@pytest.fixture(scope="module")
def several() -> Predictions:
    """Two subsets of one kind, one of another that is of videos, and fakes beside a pool."""
    return join(
        rows_of("sg3", 30, 40, 0.5, seed=1),
        rows_of("pool", 25, 0, seed=2),
        rows_of("swap", 24, 36, 2.0, category="FS", videos=6, seed=3),
        rows_of("pixart", 20, 50, 1.5, seed=4),
        rows_of("alone", 0, 30, 1.0, category="", seed=5),
    )


@pytest.fixture(scope="module")
def found(several) -> FiguresBySubset:
    return measure_subsets(several, 0.1, HOW, oracle=True)


def test_each_subset_has_the_figures_of_its_own_rows(several, found):
    assert list(found.subsets) == ["alone", "pixart", "sg3", "swap"]
    for name, own in (("sg3", ("sg3",)), ("swap", ("swap",)), ("alone", ("alone", "pool"))):
        rows = part(several, *own)
        assert found.subsets[name].frame == measure(rows, 0.1, HOW, oracle=True)
    assert found.subsets["swap"].video == measure(
        existing(video_level(part(several, "swap"))), 0.1, HOW, oracle=True
    )
    assert [found.subsets[name].video for name in ("alone", "pixart", "sg3")] == [None] * 3
    assert (found.threshold, found.seed, found.resamples) == (0.1, 4, 20)
    assert found.aucs == {name: one.frame["auc"].value for name, one in found.subsets.items()}


def test_rows_are_told_by_label_kind_and_whose_reals_they_are(found):
    told = {
        name: (one.category, one.real, one.fake, one.clusters, one.beside)
        for name, one in found.subsets.items()
    }
    assert told == {
        "alone": ("", 25, 30, 55, ("pool",)),
        "pixart": ("EFS", 20, 50, 70, ()),
        "sg3": ("EFS", 30, 40, 70, ()),
        "swap": ("FS", 24, 36, 12, ()),
    }


def test_means_are_over_subsets_and_over_kinds(several, found):
    aucs = {name: existing(value) for name, value in found.aucs.items()}
    assert found.alone == () and found.aside == ()
    assert found.counted == list(found.subsets)
    assert {kind: one.subsets for kind, one in found.categories.items()} == {
        "EFS": ("pixart", "sg3"),
        "FS": ("swap",),
    }
    kinds = {kind: existing(one.frame["auc"].value) for kind, one in found.categories.items()}
    efs = (aucs["pixart"] + aucs["sg3"]) / 2
    assert kinds == pytest.approx({"EFS": efs, "FS": aucs["swap"]})
    subsets, categories = existing(found.macro.subsets), existing(found.macro.categories)
    assert subsets.frame["auc"].value == pytest.approx(np.mean([*aucs.values()]))
    assert categories.frame["auc"].value == pytest.approx((efs + aucs["swap"]) / 2)
    assert (subsets.frame["auc"].n, categories.frame["auc"].n) == (4, 2)
    assert subsets.video is None and categories.video is None
    fs = found.categories["FS"]
    assert existing(fs.video)["auc"].value == existing(found.subsets["swap"].video)["auc"].value
    assert found.categories["EFS"].video is None
    own = [measure_draws(part(several, name), 0.1, HOW, oracle=True) for name in ("pixart", "sg3")]
    draws = np.mean([one.draws["ap"] for one in own], axis=0)
    low, _, high = low_value_high(found.categories["EFS"].frame["ap"])
    assert (low, high) == pytest.approx(tuple(np.quantile(draws, (0.025, 0.975))))


def test_all_of_videos_have_a_mean_of_videos(several):
    found = measure_subsets(part(several, "swap"), None, Resampling(0))
    video = existing(found.subsets["swap"].video)
    assert existing(existing(found.macro.subsets).video)["auc"].value == video["auc"].value
    assert existing(existing(found.macro.categories).video)["auc"].value == video["auc"].value
    assert found.threshold is None and "accuracy_oracle" not in video


def test_some_of_videos_have_none():
    clips = rows_of("clips", 20, 20, videos=5)
    found = measure_subsets(join(clips, rows_of("sg3", 20, 20)), 0.0, Resampling(0))
    assert found.subsets["clips"].video is not None
    assert found.categories["EFS"].video is None
    assert existing(found.macro.subsets).video is None


def test_a_subset_aside_is_measured_and_in_no_mean(several, found):
    less = measure_subsets(several, 0.1, HOW, oracle=True, aside=["swap", "nosuch", "alone"])
    assert less.aside == ("alone", "swap") and less.counted == ["pixart", "sg3"]
    assert less.subsets == found.subsets and list(less.categories) == ["EFS"]
    subsets, kinds = existing(less.macro.subsets), existing(less.macro.categories)
    assert (subsets.frame["auc"].n, kinds.frame["auc"].n) == (2, 1)
    assert subsets.frame["auc"].value == kinds.frame["auc"].value


def test_with_all_aside_there_is_no_mean(several):
    none = measure_subsets(part(several, "sg3"), 0.1, Resampling(0), aside=["sg3"])
    assert none.counted == [] and none.categories == {}
    assert none.macro.subsets is None and none.macro.categories is None


def test_fakes_without_any_reals_are_averaged_where_there_is_nothing_else(several):
    found = measure_subsets(several, 0.1, Resampling(0), reals=[])
    assert found.alone == ("alone",) and found.counted == ["pixart", "sg3", "swap"]
    assert found.subsets["alone"].frame["auc"] == Figure(None, None, None, 30)
    assert existing(found.macro.subsets).frame["auc"].n == 3
    only = measure_subsets(part(several, "alone"), 0.1, Resampling(0))
    assert only.alone == ("alone",) and only.counted == ["alone"] and only.categories == {}
    assert existing(existing(only.macro.subsets).frame["accuracy"].value) > 0
    assert only.macro.categories is None


def test_which_subsets_count():
    names = ["a", "b", "c"]
    assert counted_subsets(names, (), ()) == names
    assert counted_subsets(names, ["a"], ["b"]) == ["c"]
    assert counted_subsets(names, [], names) == names
    assert counted_subsets(names, ["x"], names) == names
    assert counted_subsets(names, ["a"], ["b", "c"]) == []


def test_named_reals_stand_beside(several):
    found = measure_subsets(several, 0.1, Resampling(0), reals=["sg3", "pool"])
    assert found.subsets["alone"].beside == ("pool", "sg3") and found.subsets["alone"].real == 55


def test_progress_rises_through_all_subsets(several):
    heard: list[tuple[str, int, int]] = []
    measure_subsets(several, 0.1, HOW, progress=lambda *told: heard.append(told))
    assert heard == [("resampling", done, 80) for done in (20, 40, 60, 80)]


def test_rows_of_one_set_are_not_copied(several, monkeypatch):
    rows = part(several, "sg3")
    monkeypatch.setattr(Predictions, "take", lambda *_: pytest.fail("rows were copied"))
    assert measure_subsets(rows, 0.1, Resampling(0)).subsets["sg3"].fake == 40


def test_reals_alone_are_refused(several):
    with pytest.raises(InputError, match="no fakes to measure"):
        measure_subsets(part(several, "pool"), 0.1)


def test_what_ranks_the_wrong_way_round_is_asked_about():
    rows = join(
        rows_of("wrong", 100, 100, -2.0),
        rows_of("right", 100, 100, 2.0),
        rows_of("hardly", 10, 10, -0.9, seed=2),
        rows_of("alone", 0, 10),
    )
    found = measure_subsets(rows, None, HOW, reals=[])
    hardly = existing(found.aucs["hardly"])
    assert hardly < 0.5 < existing(found.subsets["hardly"].frame["auc"].high)
    (notice,) = turned_round(found)
    value = existing(found.aucs["wrong"])
    assert f"below 0.5 on wrong ({value:.3f}): are" in notice.what
    (notice,) = turned_round(measure_subsets(rows, None, Resampling(0), reals=[]))
    assert f"hardly ({hardly:.3f}) and wrong ({value:.3f})" in notice.what
    assert turned_round(measure_subsets(part(rows, "right"), None, HOW)) == []
    equal = rows_of("equal", 4, 4)
    equal["margin"] = np.zeros(8)
    assert turned_round(measure_subsets(join(equal), None, Resampling(0))) == []

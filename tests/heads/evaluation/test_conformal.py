"""Conformal sets of a run: calibrated on its validation scores, and on nothing else."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clare.cli.views.certainty import print_sets
from clare.cli.views.console import console
from clare.errors import InputError
from clare.heads.evaluation.conformal import calibrate_run
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.evaluation.record import METRICS, read_evaluation
from clare.heads.metrics.conformal import calibrate
from clare.heads.metrics.measure import best_threshold
from clare.heads.metrics.predictions import read_predictions, video_level
from clare.heads.report.run_results import read_findings
from clare.heads.report.sections.certainty import label_sets
from clare.heads.runs.record import (
    CALIBRATION_PREDICTIONS,
    VAL_METRICS,
    VAL_PREDICTIONS,
    read_validation,
)
from clare.heads.training.train_head import train_head
from tests.figures import existing


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    """A tested run whose validation has single images, and videos of two identities."""
    folder = tmp_path_factory.mktemp("conformal") / "run"
    train_head(
        store,
        folder,
        train=["gan", "swap"],
        reals=["pool"],
        fusion="cls",
        classifier="linear",
        epochs=2,
        device="cpu",
    )
    evaluate(folder, resamples=20, coverage=0.85)
    return folder


def test_sets_come_from_validation_and_figures_from_test_rows(run):
    found = existing(read_evaluation(run).conformal)
    chosen = read_predictions(run / VAL_PREDICTIONS)
    reals = chosen.margin[chosen.label == 0]
    weight = np.array([1 / (chosen.cluster == c).sum() for c in chosen.cluster[chosen.label == 0]])
    clusters = len(np.unique(chosen.cluster[chosen.label == 0]))
    order = np.argsort(reals)
    place = np.searchsorted(np.cumsum(weight[order]), 0.85 * (clusters + 1) - 1e-9)
    sets = found.sets.frame
    assert (sets.coverage, sets.reals) == (0.85, clusters) and clusters > 20
    assert sets.real_up_to == reals[order][place]
    tested = read_predictions(run / "test_predictions.csv")
    swap = tested.take(tested.subset == "swap")
    mine = swap.margin[swap.label == 0] <= existing(sets.real_up_to)
    assert found.subsets["swap"].frame["coverage_real"].value == pytest.approx(mine.mean())
    figure = found.subsets["gan"].frame["coverage_real"]
    assert figure.n == (tested.subset == "pool").sum(), "the reals that stand beside"
    assert existing(figure.low) <= existing(figure.value) <= existing(figure.high)
    video = existing(existing(found.sets.video))
    assert video.real_up_to is None and video.reals == 4, "four videos are too few for 0.85"
    of_videos = existing(found.subsets["swap"].video)
    assert of_videos["coverage_real"].value == 1
    assert of_videos["coverage_real"].n == (existing(video_level(swap)).label == 0).sum()
    assert found.subsets["gan"].video is None


def test_what_could_not_be_calibrated_is_said(run, monkeypatch):
    record = read_evaluation(run)
    (finding,) = read_findings([run])
    said = "every set holds real"
    assert said in str(label_sets(existing(finding.test)))
    monkeypatch.setattr(console, "_width", 160)
    with console.capture() as capture:
        print_sets(record)
    printed = " ".join(capture.get().split())
    assert "Conformal sets of labels, to cover 0.85" in printed and "accuracy where sure" in printed
    assert "sets of images are calibrated on 24 reals and" in printed and "(95 %)" in printed
    need = "sets of videos: a coverage of 0.85 needs 6 reals on validation"
    assert f"{need}, each of another video or person, and there are 4: {said}" in printed
    with console.capture() as capture:
        print_sets(replace(record, conformal=None))
    assert not capture.get()


def test_rows_that_are_kept_apart_choose_nothing_and_calibrate_alone(store, run, tmp_path):
    data: Any = {"train": ["gan", "swap"], "reals": ["pool"], "device": "cpu", "epochs": 2}
    apart = tmp_path / "apart"
    train_head(store, apart, fusion="cls", classifier="linear", calibration=0.5, **data)
    chosen, kept, all_of_them = (
        read_predictions(path)
        for path in (
            apart / VAL_PREDICTIONS,
            apart / CALIBRATION_PREDICTIONS,
            run / VAL_PREDICTIONS,
        )
    )
    names = [
        set(zip(one.subset.tolist(), one.sample_id.tolist(), strict=True))
        for one in (chosen, kept, all_of_them)
    ]
    assert names[0] | names[1] == names[2] and not names[0] & names[1]
    assert not set(chosen.cluster.tolist()) & set(kept.cluster.tolist())
    validation = read_validation(apart)
    assert validation.auc.n == len(chosen)
    assert validation.threshold == best_threshold(chosen.margin, chosen.label)
    found = existing(evaluate(apart, resamples=0, coverage=0.8).record.conformal)
    assert found.sets.apart and found.sets.frame == calibrate(kept, 0.8)
    assert "keeps some apart" not in "".join(found.sets.calibrated())
    assert "keeps some apart" in "".join(existing(calibrate_run(run)).calibrated())
    with pytest.raises(InputError, match=r"0\.99 leaves no .* of validation to choose by"):
        train_head(store, tmp_path / "none", fusion="cls", calibration=0.99, **data)
    assert not (tmp_path / "none").exists()


def test_without_scores_of_validation_there_are_no_sets(run, store, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in run.iterdir():
        if file.is_file() and file.name not in (VAL_PREDICTIONS, METRICS):
            (copy / file.name).write_bytes(file.read_bytes())
    assert calibrate_run(copy) is None
    record = evaluate(copy, resamples=0).record
    assert record.conformal is None and label_sets(record) == []
    assert read_evaluation(copy) == record


def test_a_coverage_that_is_none_and_damaged_scores_are_refused_before_any_row(run, tmp_path):
    before = (run / METRICS).read_bytes()
    with pytest.raises(InputError, match="between 0 and 1"):
        evaluate(run, resamples=0, coverage=90)
    scores = (run / VAL_PREDICTIONS).read_text()
    try:
        (run / VAL_PREDICTIONS).write_text(scores.replace("label", "moon"))
        with pytest.raises(InputError, match=VAL_PREDICTIONS):
            evaluate(run, resamples=0)
    finally:
        (run / VAL_PREDICTIONS).write_text(scores)
    assert (run / METRICS).read_bytes() == before
    assert json.loads((run / VAL_METRICS).read_text())["epoch"]

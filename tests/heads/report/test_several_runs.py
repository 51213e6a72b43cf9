"""A page of several runs: what stands side by side is alike, and each run is measured once."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clare.bootstrap import Resampling
from clare.heads.config import TrainConfig
from clare.heads.evaluation.compare import compare
from clare.heads.evaluation.record import EARLIER, METRICS, PREDICTIONS, EvaluationRecord
from clare.heads.metrics.by_subset import measure_subsets
from clare.heads.metrics.predictions import Predictions, write_predictions
from clare.heads.report import paired
from clare.heads.report.blocks import Cell, Items, Table, Text
from clare.heads.report.run_results import Finding
from clare.heads.report.sections.overview import overview, pairs
from clare.heads.report.sections.results import results
from clare.heads.runs.record import RunRecord, Validation
from clare.shortcuts import auc_draws
from clare.typed_json import write_json

ROWS = 24


def rows_of(subsets, seed, *, clusters=8, lift=1.0):
    """Predictions of `ROWS` rows a subset, half of them fake; a subset's rows are the same ones."""
    random = np.random.default_rng(seed)
    labels = np.tile([0, 1], ROWS // 2)
    names = [(subset, number) for subset in subsets for number in range(ROWS)]
    label = np.tile(labels, len(subsets))
    return Predictions(
        sample_id=np.array([f"{number}.png" for _, number in names]),
        subset=np.array([subset for subset, _ in names]),
        category=np.array(["" for _ in names]),
        label=label,
        margin=random.normal(size=len(names)) + lift * label,
        video=np.array(["" for _ in names]),
        cluster=np.array([f"{subset}/{number % clusters}" for subset, number in names]),
    )


@pytest.fixture
def tested(tmp_path):
    """A run that was tested on subsets, with its files."""

    def make(name, subsets, resamples=100, *, aside=(), rows=None, predictions=None, **asked):
        scores = predictions or rows_of(subsets, len(name) + ord(name[0]))
        if rows is not None:
            scores = scores.take(rows)
        measured = measure_subsets(scores, 0.0, Resampling(resamples), aside=aside)
        asked = {"store": "s", "split": "test", **asked}
        record = EvaluationRecord(
            **vars(measured), run=name, trained_on=("own",), control=None, protocol=None,
            domains=(), frames=None, sampling="even", reals=(), skipped={}, absent={}, notes=(),
            **asked,
        )  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        write_json(folder / METRICS, record)
        write_predictions(scores, folder / PREDICTIONS, scores.sample_id.tolist(), 0.0)
        own = RunRecord(TrainConfig(), "s", ("own",), {}, {}, (), {}, {}, fakes=("own",))
        validation = Validation(1, 0.0, {})
        return Finding(folder, own, validation, [], record, scores, None, None, ())

    return make


def table_of(findings):
    table, note = overview(findings).blocks
    assert isinstance(table, Table) and isinstance(note, Text)
    heads = {head.text: head.under for head in table.columns if isinstance(head, Cell)}
    return heads, str(note.text)


def test_the_accuracy_says_where_each_threshold_comes_from(tested):
    ours, theirs = tested("a", ["x"]), tested("b", ["x"])
    theirs = replace(theirs, validation=replace(theirs.validation, imported=True))
    assert "the run's threshold (chosen on validation)" in table_of([ours])[1]
    assert "(chosen on validation and as published)" in table_of([ours, theirs])[1]


def test_differences_are_those_of_compare_and_each_run_is_measured_once(tested, monkeypatch):
    counted = []

    def once(facts, *rest, **named):
        counted.append(facts)
        return auc_draws(facts, *rest, **named)

    monkeypatch.setattr(paired, "auc_draws", once)
    monkeypatch.setattr(paired, "compare", None)  # their files are read already
    findings = [tested(name, ["x", "y", "z"], aside=["z"]) for name in "abc"]
    kept = paired.Pairs()
    for one, other in itertools.combinations(findings, 2):
        found = kept.compare(one, other, Resampling(100))
        known = compare(one.path, other.path, resamples=100)
        assert found.counted == known.counted == ["x", "y"] and found.tests == known.tests
        for name, pair in known.subsets.items():
            assert found.subsets[name].difference["auc"] == pair.difference["auc"]
            assert found.subsets[name].first["auc"] == pair.first["auc"]
        assert found.macro and known.macro
        assert found.macro.difference["auc"] == known.macro.difference["auc"]
    assert len(counted) == 3 * 3, "runs x subsets"


def test_rows_that_one_of_two_lacks_are_left_out_as_in_compare(tested):
    few = np.arange(2, ROWS)
    one, other = tested("a", ["x"]), tested("b", ["x"], rows=few[::-1])
    found = paired.Pairs().compare(one, other, Resampling(100))
    known = compare(one.path, other.path, resamples=100)
    assert found.rows == known.rows == ROWS - 2
    assert found.subsets["x"].difference["auc"] == known.subsets["x"].difference["auc"]


def test_an_earlier_test_that_both_have_is_compared(tested):
    one, other, last = tested("a", ["x"]), tested("b", ["x"]), tested("last", ["y"])
    assert other.test and last.test
    folder = other.path / EARLIER / other.test.name
    folder.mkdir(parents=True)
    for name in (METRICS, PREDICTIONS):
        (other.path / name).rename(folder / name)
        (last.path / name).rename(other.path / name)
    now = replace(other, test=last.test, predictions=last.predictions)
    for pair in ((one, now), (now, one)):
        found = paired.Pairs().compare(*pair, Resampling(100))
        known = compare(*(finding.path for finding in pair), resamples=100)
        assert found.tests == known.tests == (other.test.name, other.test.name)
        assert found.subsets["x"].difference["auc"] == known.subsets["x"].difference["auc"]
    (section,) = pairs([one, now])
    assert "This is by an earlier test that both have" in str(section.blocks[0])


def test_each_count_of_resamples_is_named(tested):
    _, said = table_of([tested("a", ["x"], 100), tested("b", ["x"], 50), tested("c", ["x"], 50)])
    assert "from 50 or 100 resamples of" in said and "without resamples" not in said
    _, said = table_of([tested("d", ["x"], 100), tested("e", ["x"], 0)])
    assert "from 100 resamples of" in said and "tested without resamples has none" in said


def test_means_of_other_subsets_are_no_means_of_two_subsets(tested):
    one, other = tested("a", ["x", "y"]), tested("b", ["x", "z"])
    assert table_of([one, other])[0]["mean"] == "of each run's own subsets"
    assert table_of([one, tested("c", ["x", "y"])])[0]["mean"] == "of 2 subsets"


def test_the_same_number_of_rows_need_not_be_the_same_rows(tested):
    one = tested("a", ["x"])
    assert table_of([one, tested("b", ["x", "y"])])[0]["x"] == "12 real\n12 fake"
    assert table_of([one, tested("c", ["x"], store="t")])[0]["x"] == "rows may differ"
    assert table_of([one, tested("d", ["x"], split="val")])[0]["x"] == "rows may differ"
    assert table_of([one, tested("e", ["x"], rows=np.arange(20))])[0]["x"] == "rows differ"


def test_without_resamples_nobody_is_better_and_no_interval_is_spoken_of(tested):
    findings = [tested("a", ["x", "y"], 0), tested("b", ["x", "y"], 100)]
    (section,) = pairs(findings)
    items, note = section.blocks
    assert isinstance(items, Items) and isinstance(note, Text)
    assert "without an interval nothing says who is better on x" in items.texts[0]
    assert "in the mean over 2 subsets nothing says who leads, without" in items.texts[0]
    assert "neither" not in items.texts[0]
    assert "None has an interval" in str(note.text) and "95 %" not in str(note.text)
    _, said = table_of([findings[0], replace(findings[0], path=Path("again"))])
    assert "No figure has an interval" in said and "95 %" not in said
    assert "No figure has an interval" in str(results(findings[0]))


def test_a_subset_of_one_cluster_has_no_interval_and_that_is_said(tested):
    scores = rows_of(["x", "y"], 1)
    lone = scores.cluster.copy()
    lone[scores.subset == "y"] = "y/0"
    findings = [
        tested(name, ["x", "y"], predictions=replace(scores, cluster=lone, margin=margin))
        for name, margin in (("a", scores.margin), ("b", scores.margin[::-1].copy()))
    ]
    (section,) = pairs(findings)
    items, note = section.blocks
    assert isinstance(items, Items) and isinstance(note, Text)
    assert "without an interval nothing says who is better on y" in items.texts[0]
    assert "Where there is none, nothing says who leads" in str(note.text)
    assert "There is none on y, where all reals" in table_of(findings)[1]

"""Sweeps: their runs, their tables, and going on after an interruption."""

import csv
import json
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clare.bootstrap import Figure
from clare.errors import InputError
from clare.heads.config import DetectorConfig, Machine, TrainConfig, create_config
from clare.heads.sweeps.axes import expand, parse_values
from clare.heads.sweeps.sweep import run_sweep
from clare.heads.sweeps.table import leaderboard
from clare.heads.training.trainer import Observer

BASE = TrainConfig(DetectorConfig("cls", "linear"), lr=0.02, epochs=2, batch=32)
AXES = {"fusion": ["cls", "lare"], "fraction": ["0.5", "1"], "seed": ["0", "1"]}


def lines(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@given(st.lists(st.integers(0, 99), min_size=1, unique=True))
def test_lists_of_values_come_back(values):
    assert parse_values(", ".join(map(str, values))) == list(map(str, values))


def test_ranges_are_spelt_out():
    assert parse_values("0-3,7") == ["0", "1", "2", "3", "7"]
    assert parse_values("1e-3,1e-4") == ["1e-3", "1e-4"]
    for text, message in (("3-1", "falls"), ("", "no list"), ("1,1", "different")):
        with pytest.raises(InputError, match=message):
            parse_values(text)


def test_the_product_has_a_name_for_every_run():
    configs = expand(BASE, AXES)
    assert len(configs) == 8
    assert configs["lare_fraction-0.5_seed-1"] == create_config(
        {"fusion": "lare", "fraction": 0.5, "seed": 1}, BASE
    )
    with pytest.raises(InputError, match="two runs of the sweep are called cls"):
        expand(BASE, {"fusion": ["cls", "cls"]})
    with pytest.raises(InputError, match="no setting 'speed'"):
        expand(BASE, {"speed": ["1"]})


@pytest.mark.slow
def test_a_sweep_writes_a_line_a_run_and_ranks_them(store, tmp_path):
    configs = expand(BASE, AXES)
    results = run_sweep(configs, AXES, store.path, tmp_path)
    table = {line["run"]: line for line in lines(tmp_path / "results.csv")}
    assert list(table) == list(configs)
    for name in configs:
        found = json.loads((tmp_path / name / "val_metrics.json").read_text())
        assert float(table[name]["val_auc"]) == found["metrics"]["auc"]["value"]
        assert float(table[name]["val_auc_low"]) == found["metrics"]["auc"]["low"]
        assert float(table[name]["threshold"]) == found["threshold"]
    board = lines(tmp_path / "leaderboard.csv")
    assert [line["fusion"] for line in board[:2]] == ["cls", "cls"]  # LaRE tells nothing here
    aucs = [line["val_auc"] for line in results if (line["fusion"], line["fraction"]) == ("cls", 1)]
    best = next(line for line in board if (line["fusion"], line["fraction"]) == ("cls", "1.0"))
    assert float(best["val_auc"]) == pytest.approx(statistics.fmean(aucs))
    assert float(best["val_auc_spread"]) == pytest.approx(statistics.stdev(aucs))
    assert best["seeds"] == "2"


class Stop(Observer):
    """Interrupts when a run is done."""

    def finished(self, run, result):
        raise KeyboardInterrupt


class Count(Observer):
    def __init__(self):
        self.runs = []

    def finished(self, run, result):
        self.runs.append(run.name)


@pytest.mark.slow
def test_an_interrupted_sweep_does_only_what_is_missing(store, tmp_path):
    configs = expand(BASE, AXES)
    whole = run_sweep(configs, AXES, store.path, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_sweep(configs, AXES, store.path, tmp_path / "cut", Machine(), Stop())
    done = [line["run"] for line in lines(tmp_path / "cut" / "results.csv")]
    assert len(done) == 1
    times = (tmp_path / "cut" / done[0] / "val_metrics.json").stat().st_mtime_ns
    count = Count()
    resumed = run_sweep(configs, AXES, store.path, tmp_path / "cut", Machine(), count)
    assert sorted(count.runs) == sorted(set(configs) - set(done))
    assert (tmp_path / "cut" / done[0] / "val_metrics.json").stat().st_mtime_ns == times
    assert resumed == whole
    count.runs.clear()
    assert run_sweep(configs, AXES, store.path, tmp_path / "cut", Machine(), count) == whole
    assert count.runs == []
    changed = expand(replace(BASE, epochs=3), AXES)
    with pytest.raises(InputError, match="finished run with another configuration"):
        run_sweep(changed, AXES, store.path, tmp_path / "cut")


def test_a_run_that_fails_is_a_line_too(store, tmp_path):
    axes = {"lr": ["1e30", "0.01"]}
    configs = expand(replace(BASE, optimizer="sgd", clip=None), axes)
    results = run_sweep(configs, axes, store.path, tmp_path)
    assert "failed in epoch" in results[0]["failure"] and not results[1]["failure"]
    board = leaderboard(results, axes)
    assert [(line["lr"], line["failed"]) for line in board] == [(0.01, 0), (1e30, 1)]
    assert lines(tmp_path / "results.csv")[0]["val_auc"] == ""


def test_test_figures_stand_beside_and_never_rank(store, tmp_path):
    axes = {"seed": ["0", "1"], "lr": ["0.02", "1e-9"]}

    def evaluate(run):
        # The worse run looks better on test rows.
        value = 0.9 if "1e-09" in run.name else 0.1
        return {"auc": Figure(value, 0.0, 1.0, 7)}

    results = run_sweep(expand(BASE, axes), axes, store.path, tmp_path, evaluate=evaluate)
    board = leaderboard(results, axes)
    assert [line["lr"] for line in board] == [0.02, 1e-9]
    assert [line["test_auc"] for line in board] == [0.1, 0.9]

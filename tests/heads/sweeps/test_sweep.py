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


def test_tokens_are_an_axis_of_what_reads_them():
    tokens = {"tokens": ["clip_tokens_12", "clip_tokens_20"]}
    found = expand(BASE, {"fusion": ["cls", "esa"], "classifier": ["linear"], **tokens})
    assert {name: dict(one.detector.fields) for name, one in found.items()} == {
        "cls_linear": {},  # once: it reads none
        "esa_linear_clip_tokens_12": {"tokens": "clip_tokens_12"},
        "esa_linear_clip_tokens_20": {"tokens": "clip_tokens_20"},
    }
    named = create_config({"fields": {"tokens": "old", "lare": "lare_x"}}, BASE)
    found = expand(named, {"fusion": ["cls", "esa"], "tokens": ["new"]})
    assert found["cls"].detector.fields == {"lare": "lare_x"}
    assert found["esa_new"].detector.fields == {"tokens": "new", "lare": "lare_x"}
    with pytest.raises(InputError, match="fusion cls reads no tokens"):
        expand(BASE, tokens)
    with pytest.raises(InputError, match="reads one field of tokens"):
        expand(BASE, {"fusion": ["esa"], "tokens": ["a+b"]})


def test_a_decoder_takes_several_fields_at_once():
    axes = {"decoder": ["linear", "conv-4"], "tokens": ["a", "lare+a+b", "lare"], "seed": ["0"]}
    found = expand(create_config({"fields": {"mask": "mask_x"}}, BASE), axes)
    assert list(found) == [
        f"{decoder}_{tokens}_seed-0"
        for decoder in ("linear", "conv_4")
        for tokens in ("a", "a+b+lare", "lare")
    ]
    assert found["conv_4_a+b+lare_seed-0"].detector.fields == {
        "mask": "mask_x",
        "tokens": "a",
        "tokens_2": "b",
        "lare": "lare",
    }
    for text, said in (("a+b+c", "names 3"), ("a+a", "no list of different"), ("a+", "no list of")):
        with pytest.raises(InputError, match=said):
            expand(BASE, {"decoder": ["linear"], "tokens": [text]})
    with pytest.raises(InputError, match="ranks its runs by one figure"):
        expand(BASE, {"decoder": ["linear"], "fusion": ["cls"]})


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


def test_decoders_are_ranked_by_their_iou(masked, tmp_path):
    linear = TrainConfig(
        DetectorConfig(decoder="linear"), train=("local",), reals=("pool",), empty_masks=True,
        select="iou", warmup_epochs=0, epochs=2, batch=16,
    )  # fmt: skip
    axes = {"lr": ["1e-9", "0.1"], "tokens": ["clip_tokens"]}
    results = run_sweep(expand(linear, axes), axes, masked.path, tmp_path)
    assert all(line["val_iou"] is not None and line["val_n"] == 12 for line in results)
    board = lines(tmp_path / "leaderboard.csv")
    assert [line["lr"] for line in board] == ["0.1", "1e-09"]
    assert float(board[0]["val_iou"]) > float(board[1]["val_iou"])
    # An AUC, however high, does not outrank an IoU.
    auc = [{**line, "val_auc": 1 - line["val_iou"]} for line in results]
    assert [line["lr"] for line in leaderboard(auc, axes)] == [0.1, 1e-9]

    mixed = {"select": ["iou", "auc"], "supervision": ["image"]}
    with pytest.raises(InputError, match=r"select-iou_.* has an IoU .* select-auc_.* has none"):
        run_sweep(expand(linear, mixed), mixed, masked.path, tmp_path / "mixed")
    assert not (tmp_path / "mixed").exists()


def test_a_sweep_of_decoders_grows_in_its_folder(masked, tmp_path):
    linear = TrainConfig(
        DetectorConfig(decoder="linear"), train=("few",), select="iou", epochs=1, batch=8
    )
    first = {"decoder": ["linear"], "tokens": ["clip_tokens"], "seed": ["0"]}
    run_sweep(expand(linear, first), first, masked.path, tmp_path)
    more = {**first, "tokens": ["clip_tokens_20+lare"]}
    results = run_sweep(expand(linear, more), more, masked.path, tmp_path)
    assert [line["tokens"] for line in results] == ["clip_tokens", "clip_tokens_20+lare"]
    start = create_config({"decoder_settings": {"start": "declip"}}, linear)
    other = {**first, "seed": ["1"]}
    with pytest.raises(InputError, match="run of another sweep, with another decoder_settings"):
        run_sweep(expand(start, other), other, masked.path, tmp_path)


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

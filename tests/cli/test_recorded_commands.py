"""What a run and its test were made by is recorded as it was typed, and gives the same again."""

import json
import shlex

import pytest

from clare.cli.app import app
from clare.cli.command import typed

LINEAR = ("--fusion", "cls", "--classifier", "linear", "--epochs", "1")


def read(file):
    return json.loads(file.read_text())


def test_a_run_and_its_test_are_made_again_by_what_they_record(head, tmp_path, monkeypatch):
    head("train-head", *LINEAR, "--set", "train.lr=0.01", "--seed", "3", "--out", "one run")
    head("evaluate", "one run", "--subset", "toy", "--resamples", "20")
    first = tmp_path / "one run"
    commands = [read(first / name)["command"] for name in ("config.json", "test_metrics.json")]
    assert [command[:2] for command in commands] == [["clare", "train-head"], ["clare", "evaluate"]]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for command in commands:
        head(*shlex.split(shlex.join(command))[1:])
    again = tmp_path / "elsewhere" / "one run"
    for name in ("config.json", "val_metrics.json", "seen.json"):
        assert read(again / name) == read(first / name), name
    predicted = "test_predictions.csv"
    assert (again / predicted).read_bytes() == (first / predicted).read_bytes()


def test_the_runs_of_a_sweep_record_the_sweep(head, tmp_path):
    words = ("sweep", *LINEAR, "--seeds", "0-1", "--out", "many")
    head(*words)
    for seed in (0, 1):
        record = read(tmp_path / "many" / f"cls_linear_seed-{seed}" / "config.json")
        assert record["command"] == ["clare", *words]


def test_what_was_typed_is_known_without_the_interpreter(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/lib/clare/__main__.py", "--version"])
    with pytest.raises(SystemExit):
        app()
    assert typed() == ("clare", "--version")

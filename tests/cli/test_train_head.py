"""`clare train-head` and `clare sweep` on features of tiny models."""

import csv
import json
import re

import pytest
from typer.testing import CliRunner

from clare.cli.app import app
from clare.errors import InputError


@pytest.fixture(scope="module")
def store(tmp_path_factory, pictures):
    path = tmp_path_factory.mktemp("train") / "features.zarr"
    command = ["extract", "--real", str(pictures / "real"), "--fake", f"toy={pictures / 'fake'}"]
    result = CliRunner().invoke(app, [*command, "--backbone", "tiny", "--store", str(path)])
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture
def clare(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLARE_STORE", str(store))
    monkeypatch.setenv("COLUMNS", "160")

    def run(*command):
        result = CliRunner().invoke(app, list(command))
        if isinstance(result.exception, InputError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_a_fusion_is_all_that_has_to_be_said(clare, tmp_path):
    for folder in ("cls-linear", "cls-linear-2"):
        told = clare("train-head", "--fusion", "cls", "--classifier", "linear", "--epochs", "2")
        assert f"clare evaluate runs/{folder}" in told
        found = json.loads((tmp_path / "runs" / folder / "val_metrics.json").read_text())
        assert f"{found['metrics']['auc']['value']:.4f}" in told
        assert f"{found['threshold']:.4f}" in told
        assert "checkpoint and threshold were chosen on these rows" in told
    config = json.loads((tmp_path / "runs/cls-linear/config.json").read_text())["config"]
    assert config["epochs"] == 2 and config["classifier_settings"] == {}


def test_options_win_over_presets_and_sets_over_both(clare, tmp_path):
    options = ("--preset", "clare-published", "--epochs", "1", "--lr", "0.5", "--reals", "real")
    sets = ("--set", "train.lr=0.25", "--set", "cocoop.n_ctx=4", "--set", "cross_attn.heads=2")
    told = clare("train-head", *options, "--train", "toy", *sets, "--out", "mine")
    assert "otherwise than published" in told
    config = json.loads((tmp_path / "mine" / "config.json").read_text())["config"]
    assert config["lr"] == 0.25 and config["epochs"] == 1 and config["scope"] == "as-published"
    assert config["fusion_settings"] == {"query": "mean", "heads": 2}
    assert config["classifier_settings"] == {"n_ctx": 4}
    assert (config["train"], config["reals"]) == (["toy"], ["real"])
    clare("train-head", "--config", "mine/config.json", "--query", "all", "--out", "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())["config"]
    assert again == {**config, "fusion_settings": {"query": "all", "heads": 2}}


def test_train_and_test_in_one_command(clare, tmp_path):
    options = ("--fusion", "cls", "--classifier", "linear", "--epochs", "1", "--out", "run")
    clare("train-head", *options, "--evaluate", "toy")
    assert "toy" in json.loads((tmp_path / "run" / "test_metrics.json").read_text())["subsets"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fusion", "none"), "no fusion 'none'"),
        (("--preset", "none"), "--preset none is not one of"),
        (("--preset", "gend", "--config", "x.yaml"), "give one of them"),
        (("--query", "mean", "--fusion", "esa"), "--query is for cross_attn"),
        (("--memory", "tape"), "--memory tape is not one of auto, device, host, disk"),
        (("--features", "lare"), "not of the form EXTRACTOR=FINGERPRINT"),
        (("--resume", "run", "--lr", "1"), "leave other options out"),
        (("--resume", "run"), "is missing"),
        (("--train", "toy", "--classifier", "linear"), "--reals NAME"),
        (("--set", "coop.n_ctx=4"), r"--set coop\.… names no part"),
    ],
)
def test_what_can_not_be_is_refused_in_a_sentence(clare, options, message):
    with pytest.raises(InputError, match=message):
        clare("train-head", *options)


def test_a_finished_run_is_not_resumed(clare):
    clare("train-head", "--preset", "univfd", "--epochs", "1", "--out", "run")
    for options in (("--resume", "run"), ("--preset", "univfd", "--out", "run")):
        with pytest.raises(InputError, match="finished"):
            clare("train-head", *options)


def test_a_sweep_of_several_parts(clare, tmp_path):
    axes = ("--fusion", "cls,cross_attn", "--classifier", "linear,coop", "--seeds", "0-1")
    sets = ("--set", "coop.n_ctx=2", "--query", "mean", "--vary", "weight_decay=0,0.1")
    told = clare("sweep", *axes, *sets, "--epochs", "1", "--out", "many", "--evaluate", "toy")
    with (tmp_path / "many" / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 16 and all(line["test_auc"] for line in lines)
    assert "16 runs, 0 failed" in told
    assert len(re.findall(r"(?m)^(cls|cross_attn) .*±", told)) == 8
    config = json.loads(
        (tmp_path / "many/cross_attn_coop_weight_decay-0.1_seed-1/config.json").read_text()
    )["config"]
    assert config["fusion_settings"] == {"query": "mean"}
    assert config["classifier_settings"] == {"n_ctx": 2}
    assert (config["weight_decay"], config["seed"]) == (0.1, 1)

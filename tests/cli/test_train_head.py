"""`clare train-head` on features of tiny models."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clare.cli.app import app
from clare.cli.train_options import names_of
from clare.errors import ClareError, InputError
from clare.heads import classifiers, fusion
from clare.heads.config import Machine, create_config, list_presets
from clare.heads.training.trainer import Observer, train_run
from clare.plugins import list_parts

LINEAR = ("--fusion", "cls", "--classifier", "linear")


def test_a_fusion_is_all_that_has_to_be_said(head, tmp_path):
    for folder in ("cls-linear", "cls-linear-2"):
        told = head("train-head", "--fusion", "cls", "--classifier", "linear", "--epochs", "2")
        assert f"clare evaluate runs/{folder}" in told
        found = json.loads((tmp_path / "runs" / folder / "val_metrics.json").read_text())
        assert f"{found['metrics']['auc']['value']:.4f}" in told
        assert f"{found['threshold']:.4f}" in told
        assert "checkpoint and threshold were chosen on these rows" in told
    config = json.loads((tmp_path / "runs/cls-linear/config.json").read_text())["config"]
    assert config["epochs"] == 2 and config["classifier_settings"] == {}


def test_options_win_over_presets_and_sets_over_both(head, tmp_path):
    options = ("--preset", "clare-published", "--epochs", "1", "--lr", "0.5", "--reals", "real")
    sets = ("--set", "train.lr=0.25", "--set", "cocoop.n_ctx=4", "--set", "cross_attn.heads=2")
    told = head("train-head", *options, "--train", "toy", *sets, "--out", "mine")
    assert "otherwise than published" in told
    config = json.loads((tmp_path / "mine" / "config.json").read_text())["config"]
    assert config["lr"] == 0.25 and config["epochs"] == 1 and config["scope"] == "as-published"
    assert config["fusion_settings"] == {"query": "mean", "heads": 2}
    assert config["classifier_settings"] == {"n_ctx": 4}
    assert (config["train"], config["reals"]) == (["toy"], ["real"])
    head("train-head", "--config", "mine/config.json", "--query", "all", "--out", "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())["config"]
    assert again == {**config, "fusion_settings": {"query": "all", "heads": 2}}


def test_train_and_test_in_one_command(head, tmp_path):
    options = ("--fusion", "cls", "--classifier", "linear", "--epochs", "1", "--out", "run")
    head("train-head", *options, "--evaluate", "toy")
    assert "toy" in json.loads((tmp_path / "run" / "test_metrics.json").read_text())["subsets"]


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (("--fusion", "none"), "'none'"),
        (("--preset", "none"), "clare-published"),
        (("--preset", "gend", "--config", "x.yaml"), "preset"),
        (("--query", "mean", "--fusion", "esa"), "cross_attn"),
        (("--features", "lare"), "EXTRACTOR=FINGERPRINT"),
        (("--resume", "run", "--lr", "1"), "begun"),
        (("--resume", "run", "--query", "mean"), "begun"),
        (("--resume", "run", "--tokens", "clip_tokens"), "begun"),
        (("--resume", "run", "--features", "clip=aa"), "begun"),
        (("--resume", "run", "--set", "train.lr=1"), "begun"),
        (("--tokens", "clip_tokens", "--fusion", "cls"), "cls reads no tokens"),
        (("--protocol", "clare-41k", "--train", "toy"), "protocol"),
        ((*LINEAR, "--evaluate", ","), "evaluate"),
        ((*LINEAR, "--evaluate", "real"), "real has reals alone in split test"),
        ((*LINEAR, "--out", "file"), "file is a file"),
        ((*LINEAR, "--out", "file/run"), "something that is not a folder stands there"),
        (("--resume", "run"), "no run at run"),
        (("--train", "real", "--classifier", "linear"), "no fake images in training"),
        (("--set", "coop.n_ctx=4"), "coop"),
    ],
)
def test_what_can_not_be_is_refused_in_a_sentence(head, tmp_path, options, fact):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ClareError) as refused:
        head("train-head", *options)
    assert fact in str(refused.value)
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").glob("*/*"))


@pytest.mark.parametrize(
    "options", [("--memory", "tape"), ("--sampling", "odd"), ("--epochs", "many")]
)
def test_a_value_that_is_no_choice_is_refused_before_anything_else(features, options):
    result = CliRunner().invoke(app, ["train-head", "--store", str(features), *options])
    assert result.exit_code == 2 and options[0] in result.output


def test_a_wrong_test_is_refused_before_training(head, tmp_path):
    for command in (("train-head", *LINEAR), ("sweep", *LINEAR)):
        with pytest.raises(ClareError, match="no subset 'none'"):
            head(*command, "--evaluate", "toy,none", "--out", "out")
        assert not (tmp_path / "out").exists()


@pytest.fixture
def begun(head, monkeypatch):
    """A run that stopped after an epoch, on a store of its own that has moved since."""

    class Stop(Observer):
        def epoch(self, run, record):
            raise KeyboardInterrupt

    def begin(store, moved):
        shutil.copytree(os.environ["CLARE_STORE"], store)
        config = create_config({"fusion": "cls", "classifier": "linear", "epochs": 2})
        with pytest.raises(KeyboardInterrupt):
            train_run(config, store, Path("run"), Machine(checkpoint_seconds=0), Stop())
        store.rename(moved)

    return begin


def test_a_run_goes_on_where_its_store_is_now(head, begun, tmp_path, monkeypatch):
    begun(tmp_path / "first.zarr", tmp_path / "second.zarr")
    monkeypatch.setenv("CLARE_STORE", str(tmp_path / "none.zarr"))
    with pytest.raises(ClareError, match=r"store of run is not at .*first.zarr any more"):
        head("train-head", "--resume", "run")
    told = head("train-head", "--resume", "run", "--store", str(tmp_path / "second.zarr"))
    assert "clare evaluate run" in told
    head("evaluate", "run", "--store", str(tmp_path / "second.zarr"))
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["store"] == str(tmp_path / "second.zarr")


def test_a_store_that_is_named_is_taken(head, begun, tmp_path):
    begun(tmp_path / "first.zarr", tmp_path / "second.zarr")
    shutil.copytree(tmp_path / "second.zarr", tmp_path / "first.zarr")
    with pytest.raises(ClareError, match=r"no feature store at .*none.zarr"):
        head("train-head", "--resume", "run", "--store", str(tmp_path / "none.zarr"))
    head("train-head", "--resume", "run", "--store", str(tmp_path / "second.zarr"))
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["store"] == str(tmp_path / "second.zarr")


def test_the_help_lists_what_stands_in_the_packages(head, tmp_path, monkeypatch):
    told = " ".join(re.sub(r"-\n\s+", "-", head("train-head", "--help")).split())
    for names in (list_parts(fusion), list_parts(classifiers), list_presets()):
        assert ", ".join(names) in told
    (tmp_path / "film.py").write_text("")
    monkeypatch.setattr(fusion, "__path__", [*fusion.__path__, str(tmp_path)])
    assert "film" in names_of("fusion") and "clare.heads.fusion.film" not in sys.modules


def test_a_finished_run_is_not_resumed(head, monkeypatch):
    head("train-head", "--preset", "univfd", "--epochs", "1", "--out", "run")
    for options in (("--resume", "run"), ("--preset", "univfd", "--out", "run")):
        with pytest.raises(InputError, match="finished"):
            head("train-head", *options)
    # A job that is queued again is none that would train twice, and says what there is.
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    for words in (("--resume", "run"), ("--preset", "univfd", "--epochs", "1", "--out", "run")):
        assert "clare evaluate run" in head("train-head", *words)
    with pytest.raises(InputError, match="finished"):
        head("train-head", "--preset", "univfd", "--epochs", "2", "--out", "run")
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    # One whose test was stopped is queued again with the same words.
    assert "toy" in head("train-head", "--resume", "run", "--evaluate", "toy")

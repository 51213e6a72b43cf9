"""`clare train-head` and `clare sweep` of decoders, on a small store with masks."""

import csv
import json

import pytest
from typer.testing import CliRunner

from clare.cli.app import app
from clare.errors import ClareError
from tests.heads.masked_store import create_masked

QUICK = ("--train", "few", "--epochs", "1", "--batch", "8")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return create_masked(tmp_path_factory.mktemp("decoders") / "features.zarr").path


@pytest.fixture
def head(store, tmp_path, monkeypatch):
    """Run a command on that store, in a working folder of its own; errors pass through."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLARE_STORE", str(store))
    monkeypatch.setenv("COLUMNS", "160")

    def run(*command):
        result = CliRunner().invoke(app, list(command))
        if isinstance(result.exception, ClareError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


def read(run):
    return json.loads((run / "config.json").read_text())["config"]


def test_a_sweep_of_decoders_and_tokens(head, tmp_path):
    axes = ("--decoder", "linear,attention", "--tokens", "clip_tokens,clip_tokens_20+lare")
    told = head("sweep", *axes, "--seeds", "0", *QUICK, "--set", "attention.causal=true")
    with (tmp_path / "runs/sweep/leaderboard.csv").open() as file:
        board = list(csv.DictReader(file))
    assert [line["val_iou"] for line in board] == sorted(
        (line["val_iou"] for line in board), key=float, reverse=True
    )
    assert {(line["decoder"], line["tokens"]) for line in board} == {
        (decoder, tokens)
        for decoder in ("linear", "attention")
        for tokens in ("clip_tokens", "clip_tokens_20+lare")
    }
    assert "ranked by IoU on validation" in told and "95 % of the mean IoU" in told
    assert f"{float(board[0]['val_iou']):.3f}" in told and "AUC" not in told
    other = read(tmp_path / "runs/sweep/attention_clip_tokens_20+lare_seed-0")
    assert other["fields"] == {"tokens": "clip_tokens_20", "lare": "lare"}
    assert other["decoder_settings"] == {"causal": True} and other["select"] == "iou"
    linear = read(tmp_path / "runs/sweep/linear_clip_tokens_seed-0")
    assert linear["decoder_settings"] == {}
    head("report", "runs/sweep", "--out", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "ranked by IoU on validation" in page and "best validation IoU" in page


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (("--decoder", "linear", "--fusion", "cls"), "one figure: decoders by IoU"),
        (("--decoder", "linear,conv-5"), "no decoder 'conv_5'"),
        (("--decoder", "conv-4,conv_4"), "two runs of the sweep are called conv_4_seed-0"),
        (("--decoder", "linear", "--tokens", "a+b+c"), "names 3"),
        (("--decoder", "linear", "--tokens", "clip_tokens_99"), "clip_tokens_99"),
        (("--decoder", "linear", "--query", "mean"), "linear has no query"),
    ],
)
def test_a_sweep_of_decoders_that_can_not_be(head, tmp_path, options, fact):
    with pytest.raises(ClareError) as refused:
        head("sweep", *options, *QUICK, "--out", "many")
    assert fact in str(refused.value)
    assert not (tmp_path / "many").exists()


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (("--preset", "declip", "--fusion", "cls"), "preset declip is of a decoder"),
        (("--preset", "clare", "--decoder", "linear"), "is of a fusion and a classifier"),
        (("--decoder", "linear", "--classifier", "linear"), "a decoder stands in the place of"),
        (("--decoder", "linear", "--query", "mean"), "linear has no query"),
        (("--decoder", "linear", "--tokens", "clip_tokens_99"), "clip_tokens_99"),
        (("--decoder", "linear", "--tokens", "lare,lare"), "no list of different fields"),
        (("--decoder", "nope"), "no decoder 'nope'"),
        (("--decoder", "linear", "--set", "conv_4.start=declip"), "conv_4 names no part"),
    ],
)
def test_a_decoder_that_can_not_be_is_refused_in_a_sentence(head, tmp_path, options, fact):
    with pytest.raises(ClareError) as refused:
        head("train-head", *options, *QUICK)
    assert fact in str(refused.value)
    assert not any(tmp_path.glob("runs/*/*"))


def test_an_axis_is_not_decided_for_all(head):
    with pytest.raises(ClareError, match=r"--set train\.fields would decide it for all"):
        head("sweep", "--decoder", "linear", "--tokens", "a,b", "--set", "train.fields={}")


def test_the_help_names_decoders_by_their_size(head):
    told = " ".join(head("train-head", "--help").replace("│", " ").split())
    assert "attention, conv-4, conv-12, conv-20, " in told

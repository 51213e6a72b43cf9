"""`clare extract` and `clare train-head` when SIGTERM or SIGUSR1 comes: exit code 75, and go on."""

import os
import signal
from pathlib import Path

import pytest

from clare.cli.command import AGAIN
from clare.cli.views.progress import ExtractView, TrainView
from clare.pipeline.extraction import loop
from clare.store.feature_store import open_store


def send_at_first(number, monkeypatch, view, method):
    """Send a signal when a view is first told of something."""
    told: list[int] = []

    def tell(*_):
        if not told:
            os.kill(os.getpid(), number)
        told.append(1)

    monkeypatch.setattr(view, method, tell)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_an_extraction_keeps_what_is_done_and_goes_on(clare, pictures, monkeypatch, number):
    command = ("extract", "--real", pictures / "real", "--features", "pixels", "--views", "10")
    with monkeypatch.context() as during:
        send_at_first(number, during, ExtractView, "extracting")
        code, _, err = clare(*command)
    assert code == 75 and f"stopped by {number.name}: {AGAIN}" in err
    (feature,) = open_store("features.zarr").features("real")
    before = feature.counts()
    assert before["complete"] >= 64 and before["pending"]
    code, out, err = clare(*command)
    assert code == 0, err
    assert f"{before['pending']} rows in" in out


def test_a_signal_before_the_loop_ends_it_too(clare, pictures, monkeypatch):
    send_at_first(signal.SIGTERM, monkeypatch, ExtractView, "loading_models")
    code, _, err = clare("extract", "--real", pictures / "real", "--features", "pixels")
    assert code == 75 and AGAIN in err


def test_an_extraction_that_is_done_when_the_signal_comes_is_done(clare, pictures, monkeypatch):
    send_at_first(signal.SIGTERM, monkeypatch, ExtractView, "extracting")
    code, out, err = clare("extract", "--real", pictures / "real", "--features", "pixels")
    assert code == 0 and "40 rows in" in out, err


def test_one_that_waits_for_another_run_does_not_wait_on(clare, pictures, monkeypatch):
    monkeypatch.setattr(loop, "claim_shards", lambda *_: iter(()))
    send_at_first(signal.SIGUSR1, monkeypatch, ExtractView, "waiting")
    code, _, _ = clare("extract", "--real", pictures / "real", "--features", "pixels")
    assert code == 75


def test_a_log_has_a_line_a_shard(clare, pictures):
    words = ("extract", "--real", pictures / "real", "--features", "pixels", "--views", "8")
    code, _, err = clare(*words)
    lines = [line for line in err.splitlines() if " rows/s" in line]
    assert code == 0 and len(lines) > 2
    assert lines[-1].startswith("236 of 236 rows, ") and lines[-1].endswith(", real")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_training_ends_after_its_epoch_and_goes_on(clare, features, monkeypatch, number):
    parts = ("--fusion", "cls", "--classifier", "linear", "--epochs", "3")
    words = ("train-head", "--store", features, *parts, "--out")
    assert clare(*words, "whole")[0] == 0
    with monkeypatch.context() as during:
        send_at_first(number, during, TrainView, "trained")
        code, _, err = clare(*words, "torn")
    assert code == 75 and "clare train-head --resume torn" in err
    code, _, err = clare("train-head", "--resume", "torn", "--store", features)
    assert code == 0 and "going on after 1 epochs" in err
    for name in ("val_metrics.json", "best.safetensors"):
        assert Path("torn", name).read_bytes() == Path("whole", name).read_bytes()

"""Stores of tuned towers, and a run that is killed and gone on with."""

from functools import cache

import pytest

from clare.heads.training.trainer import Observer, train_run
from tests.heads.tuned_runs import machine
from tests.heads.tuned_store import create_tuned


@pytest.fixture(scope="session")
def stores(tmp_path_factory):
    """A store by the kind of its tower, made once; read alone."""

    @cache
    def make(kind, **settings):
        folder = tmp_path_factory.mktemp(kind)
        return create_tuned(folder / "features.zarr", kind, **settings)

    return make


@pytest.fixture
def killed_and_resumed(tmp_path):
    """Train a run in ``whole``, and in ``cut`` one that is killed after two epochs and gone on
    with: both have the same files, to the last bit.
    """

    class Stopping(Observer):
        def epoch(self, run, record):
            if record["epoch"] == 2:
                raise KeyboardInterrupt

    def train(config, store):
        whole, cut = tmp_path / "whole", tmp_path / "cut"
        often = machine(store, checkpoint_seconds=0)
        train_run(config, store, whole, often)
        with pytest.raises(KeyboardInterrupt):
            train_run(config, store, cut, often, Stopping())
        train_run(config, store, cut, often)
        for name in ("best.safetensors", "val_predictions.csv"):
            assert (cut / name).read_bytes() == (whole / name).read_bytes(), name

    return train

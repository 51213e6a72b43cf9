"""Runs that tune, a second time: swept again, gone on with, beside others, begun from others."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from safetensors.torch import load_file

from clare.heads.config import create_config
from clare.heads.sweeps.axes import expand
from clare.heads.sweeps.sweep import run_sweep
from clare.heads.training.trainer import train_run, train_runs
from tests.heads.training.test_tuning import LN, Stopping, machine
from tests.heads.tuned_store import create_tuned

CONCAT = create_config({"fusion": "concat", "fields": {}, "epochs": 2}, LN)
"""Reads tokens of the tower and LaRE of the store beside each other, both standardised."""


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A store by the kind of its tower, made once; read alone."""

    @cache
    def make(kind, **settings):
        folder = tmp_path_factory.mktemp(kind)
        return create_tuned(folder / "features.zarr", kind, **settings)

    return make


@pytest.fixture
def store(stores):
    return stores("vit", layers=(0,), class_layers=True)


def channels(path):
    """The means and deviations that a run standardises with, by name."""
    kept = load_file(path / "best.safetensors")
    found = {name: value for name, value in kept.items() if "standardizations" in name}
    assert any("tokens" in name for name in found)
    return found


@pytest.mark.parametrize("way", ["ln", "blocks:1"])
def test_a_sweep_with_a_finished_run_is_run_again(store, tmp_path, way):
    base = create_config({"tune": way, "epochs": 1}, LN)
    for seeds in (["0"], ["0", "1"], ["0", "1"]):
        axes = {"seed": seeds}
        found = run_sweep(expand(base, axes), axes, store, tmp_path / "sweep", machine(store))
        assert [str(line["seed"]) for line in found] == seeds
        assert not any(line["failure"] for line in found)


@pytest.mark.parametrize("way", ["ln", "blocks:1", "adapter", "visual-prompts"])
@pytest.mark.parametrize("begun", [False, True])
def test_tokens_of_a_killed_run_are_standardised_as_before(store, tmp_path, way, begun):
    config = create_config({"tune": way, "epochs": 3}, CONCAT)
    often = machine(store, checkpoint_seconds=0)
    if begun:
        train_run(replace(config, epochs=1, seed=5), store, tmp_path / "parent", often)
        config = replace(config, init_from=str(tmp_path / "parent"))
    train_run(config, store, tmp_path / "whole", often)
    with pytest.raises(KeyboardInterrupt):
        train_run(config, store, tmp_path / "cut", often, Stopping(2))
    train_run(config, store, tmp_path / "cut", often)
    for name in ("best.safetensors", "val_predictions.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_tower_that_begins_at_random_is_measured_by_every_seed(store, tmp_path):
    config = create_config({"tune": "visual-prompts", "epochs": 1}, CONCAT)
    seeds = [replace(config, seed=seed) for seed in (0, 1)]
    train_runs(seeds, store, [tmp_path / "a", tmp_path / "b"], machine(store))
    train_run(seeds[1], store, tmp_path / "alone", machine(store))
    one, alone, other = (channels(tmp_path / name) for name in ("b", "alone", "a"))
    assert all(torch.equal(one[name], value) for name, value in alone.items())
    assert not all(torch.equal(other[name], value) for name, value in alone.items())

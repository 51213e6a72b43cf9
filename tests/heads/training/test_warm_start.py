"""Runs that begin from other runs: what they take over, and what counts as seen."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clare.errors import InputError
from clare.heads.config import DetectorConfig, Machine, TrainConfig, create_config
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.runs.run import open_run
from clare.heads.sweeps.axes import expand
from clare.heads.sweeps.sweep import run_sweep
from clare.heads.training.trainer import Observer, train_run

LINEAR = TrainConfig(DetectorConfig("cls", "linear"), lr=0.02, epochs=2, batch=32)
ESA = create_config({"fusion": "esa", "classifier": "coop", "lr": 1e-3}, LINEAR)


@pytest.fixture
def stores(tmp_path, build_store, rows_of):
    """Make stores of the same images whose splits change names."""

    def make(name, **renamed):
        subsets = {}
        for subset, label in (("pool", 0), ("gan", 1)):
            rows = rows_of["plain"](subset, label, 32)
            for row in rows:
                row.columns["split"] = renamed.get(row.columns["split"], row.columns["split"])
            subsets[subset] = rows
        return build_store(tmp_path / f"{name}.zarr", subsets)

    return make


def named_swaps(first, second):
    return {first: second, second: first}


def test_what_a_parent_saw_is_not_tested(stores, tmp_path, monkeypatch):
    """Train and test change places between the stores; a grandchild knows it too."""
    plain, swapped = stores("plain"), stores("swapped", **named_swaps("train", "test"))
    monkeypatch.chdir(tmp_path)
    train_run(LINEAR, plain.path, Path("a"))
    train_run(replace(LINEAR, init_from="a"), swapped.path, Path("b"))
    train_run(replace(LINEAR, init_from="b"), swapped.path, Path("c"))
    train_run(LINEAR, swapped.path, Path("alone"))
    for child in ("b", "c"):
        with pytest.raises(InputError, match=r"20 of the 20 test rows of gan share"):
            evaluate(Path(child), swapped.path, ["gan"], reals=["pool"], resamples=0)
    evaluate(Path("alone"), swapped.path, ["gan"], reals=["pool"], resamples=0)


def test_rows_that_a_parent_was_trained_on_choose_nothing(stores, tmp_path):
    plain, swapped = stores("plain"), stores("swapped", **named_swaps("train", "val"))
    train_run(LINEAR, plain.path, tmp_path / "a")
    child = replace(LINEAR, init_from=str(tmp_path / "a"))
    with pytest.raises(
        InputError,
        match=r"40 of the 40 validation rows were trained on by .*/a, .* \(image .* 35 more",
    ):
        train_run(child, swapped.path, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    # Rows that chose the parent may choose its child.
    train_run(child, plain.path, tmp_path / "b")
    with pytest.raises(InputError, match="or by a run before it"):
        train_run(replace(LINEAR, init_from=str(tmp_path / "b")), swapped.path, tmp_path / "c")


def test_a_sweep_remembers_its_parents(stores, tmp_path):
    plain, swapped = stores("plain"), stores("swapped", **named_swaps("train", "test"))
    train_run(LINEAR, plain.path, tmp_path / "a")
    axes = {"init_from": [str(tmp_path / "a")], "seed": ["0", "1"]}
    configs = expand(LINEAR, axes)
    run_sweep(configs, axes, swapped.path, tmp_path / "many")
    for name in configs:
        seen = open_run(tmp_path / "many" / name).seen
        assert all(seen.shared_with(row) for row in swapped.rows("gan"))


def test_it_says_how_much_it_takes_over(store, tmp_path):
    train_run(create_config({"classifier": "coop"}, LINEAR), store.path, tmp_path / "prompts")
    notes = []

    class Look(Observer):
        def planned(self, plan):
            notes.extend(plan.notes)

    config = replace(ESA, init_from=str(tmp_path / "prompts"))
    train_run(config, store.path, tmp_path / "fused", observer=Look())
    prompts, fused = (
        load_file(tmp_path / name / "best.safetensors") for name in ("prompts", "fused")
    )
    learnt = {n: v for n, v in fused.items() if not n.startswith("standardizations")}
    taken = sum(v.numel() for n, v in learnt.items() if n in prompts)
    total = sum(value.numel() for value in learnt.values())
    (note,) = notes
    assert f"{taken:,} of {total:,} parameters" in note.what and "start at random" in note.what
    assert note.what in (tmp_path / "fused" / "run.log").read_text()


def test_a_detector_alone_is_no_finished_run(store, tmp_path):
    train_run(LINEAR, store.path, tmp_path / "whole")
    (tmp_path / "part").mkdir()
    shutil.copy(tmp_path / "whole" / "best.safetensors", tmp_path / "part")
    with pytest.raises(InputError, match="is no finished run"):
        train_run(replace(LINEAR, init_from=str(tmp_path / "part")), store.path, tmp_path / "b")


class Stop(Observer):
    """Ends a run after its second epoch."""

    def epoch(self, run, record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt


def test_a_run_goes_on_without_its_parent(store, tmp_path):
    """What does not learn came from the parent too."""
    train_run(ESA, store.path, tmp_path / "a")
    config = replace(ESA, scope="as-published", init_from=str(tmp_path / "a"), epochs=3, seed=4)
    train_run(config, store.path, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_run(config, store.path, tmp_path / "b", Machine(checkpoint_seconds=0), Stop())
    shutil.rmtree(tmp_path / "a")
    train_run(config, store.path, tmp_path / "b")
    whole, gone_on = (load_file(tmp_path / n / "best.safetensors") for n in ("whole", "b"))
    assert all(torch.equal(value, gone_on[name]) for name, value in whole.items())
    seen, same = ((tmp_path / name / "seen.json").read_text() for name in ("whole", "b"))
    assert seen == same


def test_the_parent_is_known_by_its_place_and_its_hash(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train_run(LINEAR, store.path, Path("a"))
    config = replace(LINEAR, init_from="a")

    class Early(Observer):
        def loading(self, done, total):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(config, store.path, Path("b"), observer=Early())
    weights = (tmp_path / "a" / "best.safetensors").read_bytes()
    assert json.loads(Path("b/config.json").read_text())["parent"] == {
        "run": str(tmp_path / "a"),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "subsets": ["gan", "pool", "swap"],
        "fakes": ["gan", "swap"],
        "imported": None,
    }
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "a")
    train_run(replace(LINEAR, seed=7), store.path, tmp_path / "a")
    with pytest.raises(InputError, match="parent was"):
        train_run(config, store.path, tmp_path / "b")

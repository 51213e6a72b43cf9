"""`clare.sweep`: what is varied, and what all runs have in common."""

from pathlib import Path

import numpy as np
import pytest

from clare.errors import InputError, StoreError
from clare.heads.config import DetectorConfig, TrainConfig
from clare.heads.runs.record import read_record
from clare.heads.sweeps import call
from clare.heads.sweeps.call import sweep

BASE = TrainConfig(DetectorConfig("cls", "linear"), lr=0.02, epochs=1, batch=32)


def swept(store, out, vary, **settings):
    found = sweep(store, out, vary=vary, device="cpu", **settings)
    return {str(line["run"]): read_record(out / str(line["run"])).config for line in found.results}


@pytest.mark.parametrize(
    ("vary", "names"),
    [
        ({"shuffle_labels": [True, False]}, ["shuffle_labels-True", "shuffle_labels-False"]),
        ({"frames": [None, 4]}, ["frames-None", "frames-4"]),
        ({"train": [["gan"], ("gan", "swap")]}, ["train-gan", "train-gan+swap"]),
        ({"lr": np.array([0.5, 0.25])}, ["lr-0.5", "lr-0.25"]),
    ],
)
def test_values_are_taken_as_they_are(store, tmp_path, vary, names):
    configs = swept(store, tmp_path / "a", vary, config=BASE)
    assert list(configs) == [f"{name}_seed-0" for name in names]
    ((setting, values),) = vary.items()
    held = [configs[name].settings[setting] for name in configs]
    assert held == [tuple(value) if setting == "train" else value for value in values]


def test_presets_are_varied_too(store, tmp_path):
    vary = {"preset": ["univfd", "linear-probe"], "seed": range(1)}
    configs = swept(store, tmp_path / "a", vary, epochs=1, batch=32)
    assert [config.preset for config in configs.values()] == ["univfd", "linear-probe"]


def test_a_seed_for_all_runs_is_theirs(store, tmp_path):
    assert list(swept(store, tmp_path / "a", {"lr": [0.5]}, config=BASE, seed=3)) == [
        "lr-0.5_seed-3"
    ]


@pytest.mark.parametrize(
    ("vary", "settings"), [({"seed": [0]}, {"seed": 1}), ({"preset": ["univfd"]}, {"preset": "x"})]
)
def test_what_is_varied_is_not_given_for_all_runs_too(store, tmp_path, vary, settings):
    with pytest.raises(InputError, match=f"{next(iter(vary))} is varied, and given for all runs"):
        sweep(store, tmp_path / "a", vary=vary, **settings)
    assert not (tmp_path / "a").exists()


def test_a_cluster_finds_a_store_in_a_bucket(tmp_path, monkeypatch):
    asked: list[Path] = []

    def open_store(path):
        asked.append(path)
        raise StoreError("not today")

    monkeypatch.setattr(call, "open_store", open_store)
    with pytest.raises(StoreError, match="not today"):
        sweep("s3://bucket/faces.zarr", tmp_path / "a", vary={"seed": [0]}, cluster="local:1")
    assert str(asked[0]) == "s3://bucket/faces.zarr"

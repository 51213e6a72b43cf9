"""Runs that tune, a second time: swept again, gone on with, beside others, begun from others."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clare.errors import InputError
from clare.heads.config import create_config
from clare.heads.detector import create_model
from clare.heads.runs.record import extractor_record
from clare.heads.runs.tower import rebuild_tower
from clare.heads.sweeps.axes import expand
from clare.heads.sweeps.sweep import run_sweep
from clare.heads.training.lockstep import arrange
from clare.heads.training.notices import notices_of
from clare.heads.training.trainer import train_run, train_runs
from tests.heads.tuned_runs import LN, fresh, machine, places

CONCAT = create_config({"fusion": "concat", "fields": {}, "epochs": 2}, LN)
"""Reads tokens of the tower and LaRE of the store beside each other, both standardised."""

CACHED = {"layers": (0,), "class_layers": True}
"""A tower whose last blocks can be tuned."""


@pytest.fixture
def store(stores):
    return stores("vit", **CACHED)


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


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        *(("vit", {"tune": way}) for way in ("ln", "blocks:1", "adapter", "visual-prompts")),
        ("rn50", {"tune": "full", "tune_settings": {"batchnorm": "train"}}),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_tokens_of_a_killed_run_are_standardised_as_before(
    stores, killed_and_resumed, tmp_path, kind, given, begun
):
    store = stores(kind, **CACHED) if kind == "vit" else stores(kind)
    config = create_config({**given, "epochs": 3}, CONCAT)
    if begun:
        parent = replace(config, epochs=1, seed=5)
        train_run(parent, store, tmp_path / "parent", machine(store))
        config = replace(config, init_from=str(tmp_path / "parent"))
    killed_and_resumed(config, store)


def test_a_tower_that_begins_at_random_is_measured_by_every_seed(store, tmp_path):
    config = create_config({"tune": "visual-prompts", "epochs": 1}, CONCAT)
    seeds = [replace(config, seed=seed) for seed in (0, 1)]
    train_runs(seeds, store, [tmp_path / "a", tmp_path / "b"], machine(store))
    train_run(seeds[1], store, tmp_path / "alone", machine(store))
    one, alone, other = (channels(tmp_path / name) for name in ("b", "alone", "a"))
    assert all(torch.equal(one[name], value) for name, value in alone.items())
    assert not all(torch.equal(other[name], value) for name, value in alone.items())


@pytest.mark.parametrize(
    ("way", "settings", "said"),
    [
        ("full", {}, "tuned its tower by ln {}, and this run does by full {'batchnorm': 'eval'}"),
        ("blocks", {"last": 1}, "tuned its tower by ln {}, and this run does by blocks:1"),
    ],
)
def test_what_moved_is_not_taken_in_parts(store, tmp_path, way, settings, said):
    config = replace(LN, epochs=1)
    train_run(config, store, tmp_path / "ln", machine(store))
    given = {"tune": way, "tune_settings": settings, "init_from": str(tmp_path / "ln")}
    with pytest.raises(InputError, match=said):
        train_run(create_config(given, config), store, tmp_path / "other", machine(store))
    assert not (tmp_path / "other").exists()


def test_settings_of_a_way_are_the_same_whether_said_or_not(store, tmp_path):
    config = create_config({"tune": "adapter", "epochs": 1}, LN)
    train_run(config, store, tmp_path / "first", machine(store))
    begun = replace(config, init_from=str(tmp_path / "first"))
    same = create_config({"tune_settings": {"width": 64}}, begun)
    train_run(same, store, tmp_path / "next", machine(store))
    log = (tmp_path / "next" / "run.log").read_text()
    assert "begins with 8,450 of 8,450 parameters" in log
    other = create_config({"tune_settings": {"scale": 0.2}}, begun)
    with pytest.raises(InputError, match=r"adapter {'width': 64, 'scale': 0.1}, and this run"):
        train_run(other, store, tmp_path / "other", machine(store))


def test_a_head_taken_without_its_tower_says_what_the_tower_begins_as(store, tmp_path):
    probe = create_config({"tune": "none", "epochs": 1}, LN)
    train_run(probe, store, tmp_path / "probe")
    begun = replace(LN, init_from=str(tmp_path / "probe"), epochs=1)
    train_run(begun, store, tmp_path / "ln", machine(store))
    log = (tmp_path / "ln" / "run.log").read_text()
    assert "its tower starts as if nothing was taken over" in log
    assert "start at random" not in log


def test_nothing_is_augmented_whose_boxes_stay_where_they_were(store):
    roi = create_config({"fusion": "roi", "fields": {}, "augment": "gend"}, LN)
    (key,) = (key for key in store.extractor_keys() if key.startswith("clip-"))
    tower = rebuild_tower(extractor_record(store, key), places(store)["clip"])
    specs = {n: s.shape for k in store.extractor_keys() for n, s in store.extractor(k)[1].items()}
    model = create_model(roi.detector, {**specs, "face_parts": (5, 4)}, None, tower)
    with pytest.raises(InputError, match="roi would pool the parts of the face where they were"):
        notices_of(model, roi)
    assert notices_of(model, replace(roi, augment=""))


def test_runs_that_look_at_other_pixels_share_no_batches(store):
    """Views would be drawn of one of the two fields alone."""
    detector, *_ = fresh(store, LN)

    def state(pixels):
        fields = {"cls": "clip_cls_pre", "pixels": pixels}
        config = create_config({"augment": "gend", "fields": fields}, LN)
        rows = SimpleNamespace(plain=np.arange(4), views=np.arange(4))
        run = SimpleNamespace(
            config=config, train=rows, val=rows, detector=detector, fields=(pixels,)
        )
        progress = SimpleNamespace(epoch=0)
        return SimpleNamespace(
            run=run, progress=progress, complete=False, is_fitted=False, parameters=450
        )

    shared: Any = arrange([state("pixels"), state("pixels"), state("others")])
    assert [len(one.groups) for one in shared] == [2, 1]

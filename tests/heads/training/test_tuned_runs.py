"""Runs that tune a tower: what is kept of them, and what they share and begin with."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from safetensors.torch import load_file

from clare.errors import InputError
from clare.heads.config import create_config
from clare.heads.data.dataset import FeatureDataset
from clare.heads.detector import create_model
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.evaluation.explain import plot_explanation
from clare.heads.runs.record import read_record
from clare.heads.runs.run import open_run
from clare.heads.training.learner import Learner
from clare.heads.training.trainer import Observer, train_run, train_runs
from tests.heads.tuned_runs import LARE2, LN, fresh, machine, places
from tests.heads.tuned_store import create_tuned


@pytest.mark.parametrize(
    ("kind", "way", "settings", "count"),
    [
        ("vit", "ln", {}, 12),
        ("pe", "ln", {}, 2 * (3 * 2 + 3)),
        ("rn50", "full", {}, None),
        ("rn50", "full", {"batchnorm": "train"}, None),
    ],
)
def test_a_run_keeps_what_moved_and_is_opened_with_the_rest(
    stores, tmp_path, kind, way, settings, count
):
    store = stores(kind)
    fields = {"cls": "tower_pooled" if kind == "pe" else "clip_cls"}
    detector = replace(LN.detector, fields=fields, tune=way, tune_settings=settings)
    train_run(replace(LN, detector=detector, epochs=2), store, tmp_path / "run", machine(store))
    kept = load_file(tmp_path / "run" / "best.safetensors")
    tower = {name for name in kept if name.startswith("fusion.tower.")}
    statistics = {name for name in tower if "running" in name or "num_batches" in name}
    assert bool(statistics) == (settings != {})
    if count:
        assert len(tower) == count and all(kept[name].ndim == 1 for name in tower)
    assert read_record(tmp_path / "run").tower == ("tower" if kind == "pe" else "clip")
    run = open_run(tmp_path / "run", places=places(store))
    found = evaluate(tmp_path / "run", resamples=0, settings=places(store))
    data = FeatureDataset(store, ["pixels"], subsets=["all"], split="test")
    with torch.no_grad():
        margins = run.detector.margins(data.read(range(len(data))))
    assert found.predictions.margin == pytest.approx(margins.numpy(), abs=1e-5)


def test_the_tower_may_be_named_with_its_field(stores, tmp_path):
    store = stores("vit", layers=(0,), class_layers=True)
    (key,) = [one for one in store.extractor_keys() if one.startswith("clip-")]
    fields = {"cls": f"clip_cls#{key.rpartition('-')[2][:8]}"}
    for name, named in (("plain", {"cls": "clip_cls"}), ("named", fields)):
        config = create_config({"fields": named, "tune": "blocks:1", "epochs": 1}, LN)
        train_run(config, store, tmp_path / name, machine(store))
    found = [
        evaluate(tmp_path / name, resamples=0, settings=places(store)).predictions.margin
        for name in ("plain", "named")
    ]
    assert found[0].tolist() == found[1].tolist()


@pytest.mark.parametrize("way", ["ln", "full", "adapter", "visual-prompts"])
def test_blocks_behind_the_layer_that_is_read_are_not_kept(stores, tmp_path, way):
    store = stores("vit", layers=(0,), class_layers=True)
    given = {"tune": way, "fields": {"cls": "clip_cls_0"}, "epochs": 1, "weight_decay": 0.5}
    train_run(create_config(given, LN), store, tmp_path / "run", machine(store))
    kept = load_file(tmp_path / "run" / "best.safetensors")
    tower = {name for name in kept if name.startswith("fusion.tower.")}
    behind = ("resblocks.1.", "ln_post", "projection")
    assert tower and not [name for name in tower if any(part in name for part in behind)]
    run: Any = open_run(tmp_path / "run", places=places(store))
    before = run.detector.base.loaded.module.state_dict()
    after = run.detector.fusion.tower.state_dict()
    there = before.keys() & after.keys()
    changed = {name for name in there if not torch.equal(after[name], before[name])}
    assert {f"fusion.tower.{name}" for name in changed} <= tower
    found = evaluate(tmp_path / "run", resamples=0, settings=places(store))
    data = FeatureDataset(store, ["pixels"], subsets=["all"], split="test")
    with torch.no_grad():
        margins = run.detector.margins(data.read(range(len(data))))
    assert found.predictions.margin == pytest.approx(margins.numpy(), abs=1e-5)


@pytest.mark.parametrize("way", ["full", "visual-prompts"])
def test_what_a_tuned_run_looked_at_is_drawn(stores, tmp_path, monkeypatch, way):
    panels: list[str] = []
    monkeypatch.setattr(Axes, "set_title", lambda axes, title: panels.append(title))
    store = stores("vit")
    config = create_config({"tune": way, "epochs": 1}, LARE2)
    train_run(config, store, tmp_path / "run", machine(store))
    run = open_run(tmp_path / "run", places=places(store))
    row = FeatureDataset(store, ["pixels", "lare"], subsets=["all"], split="test")[0]
    features = {name: np.asarray(row[name]) for name in ("pixels", "lare")}
    picture = features["pixels"]
    plot_explanation(run.detector, features, picture, "", tmp_path / "why.png", (200,))
    assert panels == ["image", "LaRE, timestep 200", "attention"]


@pytest.mark.parametrize(("kind", "config"), [("vit", LN), ("rn50", LARE2)])
def test_killed_and_resumed_is_as_undisturbed(stores, killed_and_resumed, kind, config):
    if kind == "rn50":
        moving = replace(config.detector, tune_settings={"batchnorm": "train"})
        config = replace(config, detector=moving, epochs=3)
    killed_and_resumed(config, stores(kind))


def test_runs_of_one_process_share_what_does_not_move(stores):
    store = stores("vit")
    detector, *_ = fresh(store, LN)
    other: Any = create_model(LN.detector, detector.specs, None, detector.base)
    for name, value in detector.fusion.tower.named_parameters():
        twin = other.fusion.tower.get_parameter(name)
        assert (twin is value) == (not value.requires_grad)
        assert value.requires_grad == (".ln_" in name)
    learner = Learner([detector], [LN], torch.tensor([0, 1]))
    learning = sum(p.numel() for p in detector.parameters() if p.requires_grad)
    assert learner.values.shape == (1, learning)
    assert learner._constants.numel() == 0


def test_runs_side_by_side_are_as_alone(stores, tmp_path):
    store = stores("vit")
    configs = [replace(LN, seed=seed) for seed in (0, 1)]
    train_runs(configs, store, [tmp_path / "a", tmp_path / "b"], machine(store))
    train_run(configs[1], store, tmp_path / "alone", machine(store))
    one, other = (load_file(tmp_path / name / "best.safetensors") for name in ("b", "alone"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_head_that_was_trained_on_cached_features_goes_on_with_the_tower(stores, tmp_path):
    store = stores("vit")
    probe = replace(LN, detector=replace(LN.detector, tune="none"))
    train_run(probe, store, tmp_path / "probe")
    begun = replace(LN, init_from=str(tmp_path / "probe"), epochs=1)
    train_run(begun, store, tmp_path / "ln", machine(store))
    log = (tmp_path / "ln" / "run.log").read_text()
    assert "begins with 66 of 450 parameters" in log


def test_what_another_run_tuned_goes_on_in_the_same_tower_alone(stores, tmp_path):
    store = stores("vit")
    short = replace(LN, epochs=1)
    train_run(short, store, tmp_path / "first", machine(store))
    begun = replace(short, init_from=str(tmp_path / "first"))
    train_run(begun, store, tmp_path / "next", machine(store))
    assert "begins with 450 of 450 parameters" in (tmp_path / "next" / "run.log").read_text()
    cached = replace(begun, detector=replace(LN.detector, tune="none"))
    train_run(cached, store, tmp_path / "head")
    log = (tmp_path / "head" / "run.log").read_text()
    assert "66 of 66 parameters" in log and "its tower was tuned and stays behind" in log
    other = create_tuned(tmp_path / "other" / "features.zarr", "vit", seed=3)
    with pytest.raises(InputError, match="tuned a tower of other weights"):
        train_run(begun, other, tmp_path / "no", machine(other))


def test_waiting_for_batches_is_told_before_each_step(stores, tmp_path):
    told = []

    class Watching(Observer):
        def waited(self, seconds):
            told.append(seconds >= 0)

        def trained(self, done, total):
            told.append((done, total))

    store = stores("vit")
    config = replace(LN, epochs=1)
    train_run(config, store.path, tmp_path / "run", machine(store), Watching())
    assert told == [True, (8, 24), True, (16, 24), True, (24, 24)]

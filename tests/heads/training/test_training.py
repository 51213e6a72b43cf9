"""Training from a store: what it reads, what it writes, that a kill and company change nothing."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from clare.errors import InputError
from clare.heads import classifiers, fusion
from clare.heads.config import (
    DetectorConfig,
    Machine,
    TrainConfig,
    create_config,
    list_presets,
    read_preset,
)
from clare.heads.data.dataset import FeatureDataset
from clare.heads.metrics.measure import best_threshold
from clare.heads.metrics.predictions import read_predictions
from clare.heads.runs.run import open_run
from clare.heads.training.prepare import create_detector
from clare.heads.training.trainer import Observer, Plan, train_run, train_runs
from clare.plugins import list_parts
from clare.store.layout import shard_path
from clare.store.reader import FieldReader
from clare.store.spec import SHARD_ROWS
from clare.store.zarr_shards import cell_bytes

LINEAR = TrainConfig(DetectorConfig("cls", "linear"), lr=0.02, epochs=3, batch=32)
ESA = create_config({"fusion": "esa", "classifier": "coop", "lr": 1e-3, "select": "loss"}, LINEAR)
"""Its dropout draws random numbers in every step."""


def margins(run) -> np.ndarray:
    return read_predictions(run / "val_predictions.csv").margin


def history(run) -> list[dict[str, float]]:
    with (run / "history.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def same_run(first, second, tolerance=0.0):
    np.testing.assert_allclose(margins(first), margins(second), rtol=0, atol=tolerance)
    for one, other in zip(history(first), history(second), strict=True):
        assert one == pytest.approx(other, rel=0, abs=tolerance)
    if tolerance == 0:
        weights, others = (load_file(run / "best.safetensors") for run in (first, second))
        assert all(torch.equal(value, others[name]) for name, value in weights.items())


def test_a_run_learns_and_its_files_agree(store, tmp_path, drawn):
    run = tmp_path / "run"
    train_run(LINEAR, store.path, run, Machine(keep_every=2))
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "run.log", "history.csv", "curves.png", "best.safetensors"),
        *("last.safetensors", "val_metrics.json", "val_predictions.csv", "seen.json"),
        "epoch-002.safetensors",
    }
    with Image.open(run / "curves.png") as picture:
        assert min(picture.size) > 300
    found = json.loads((run / "val_metrics.json").read_text())
    predictions = read_predictions(run / "val_predictions.csv")
    auc = roc_auc_score(predictions.label, predictions.margin)
    assert found["metrics"]["auc"]["value"] == pytest.approx(auc) and auc > 0.9
    assert found["threshold"] == best_threshold(predictions.margin, predictions.label)
    epochs = history(run)
    assert [row["epoch"] for row in epochs] == [1, 2, 3]
    best = epochs[found["epoch"] - 1]
    assert best["val_auc"] == max(row["val_auc"] for row in epochs) == pytest.approx(auc)
    val = [r for s in store.subsets() for r in store.rows(s) if r.columns["split"] == "val"]
    assert sorted(predictions.sample_id.tolist()) == sorted(row.sample_id for row in val)
    record = json.loads((run / "config.json").read_text())
    assert record["fingerprints"] == {"clip": store.feature("gan", "clip").key}
    assert record["rows"]["train"] == {"real": 90, "fake": 90}


def damage_test_rows(store) -> int:
    damaged = 0
    for subset in store.subsets():
        for row in store.rows(subset):
            if row.columns["split"] != "test":
                continue
            for extractor in ("clip", "lare"):
                feature = store.feature(subset, extractor)
                for name, spec in feature.fields.items():
                    shard = row.slot // SHARD_ROWS
                    path = shard_path(feature.array_path(name), shard, spec)
                    with path.open("r+b") as file:
                        file.seek(row.slot % SHARD_ROWS * cell_bytes(spec))
                        file.write(b"\xff" * spec.row_bytes)
                    damaged += 1
    return damaged


@pytest.mark.parametrize("memory", ["host", "disk"])
def test_no_test_row_is_ever_read(tmp_path, build_store, rows_of, monkeypatch, memory):
    """Every test row's bytes are broken, and every reader is asked for train and val rows alone."""
    subsets = {"pool": rows_of["plain"]("pool", 0, 40), "swap": rows_of["videos"]("swap", 8)}
    store = build_store(tmp_path / "s.zarr", subsets)
    assert damage_test_rows(store) == 4 * (5 + 8)
    splits = {(s, row.slot): row.columns["split"] for s in subsets for row in store.rows(s)}
    asked: set[str] = set()
    read = FieldReader.read

    def spy(self, slots, *into):
        asked.update(splits[self.subset, int(slot)] for slot in slots)
        return read(self, slots, *into)

    monkeypatch.setattr(FieldReader, "read", spy)
    configs = [
        create_config({"fusion": "concat"}, LINEAR),
        create_config({"fusion": "lare", "classifier": "knn"}, LINEAR),
        create_config({"fusion": "esa", "shuffle_labels": True, "fraction": 0.5}, LINEAR),
    ]
    folders = [tmp_path / str(number) for number in range(3)]
    assert train_runs(configs, store.path, folders, Machine(memory=memory)) == [None] * 3
    assert asked == {"train", "val"}


def test_rows_that_no_run_uses_are_neither_planned_nor_read(store, tmp_path, monkeypatch):
    """A smaller fraction takes less memory; of a pool of reals the fakes take none."""
    read: set[str] = set()
    names = {(s, row.slot): row.sample_id for s in store.subsets() for row in store.rows(s)}
    original = FieldReader.read

    def spy(self, slots, *into):
        read.update(names[self.subset, int(slot)] for slot in slots)
        return original(self, slots, *into)

    monkeypatch.setattr(FieldReader, "read", spy)
    row = 24 * 4  # bytes of a class token
    pooled = replace(LINEAR, train=("gan",), reals=("swap",), epochs=1)
    for name, config, views, val in (
        ("all", pooled, 2 * 50 + 40, 20 + 16),
        ("half", replace(pooled, fraction=0.5), 2 * 25 + 20, 20 + 16),
        ("plain", replace(pooled, views=False), 50 + 40, 20 + 16),
    ):
        read.clear()
        plan, _ = told(config, store, tmp_path / name)
        assert [field.bytes for field in plan.fields] == [(views + val) * row]
        assert len(read) == sum(plan.rows["train"].values()) + val
        assert not any(sample.split("-")[0::2][:2] == ["swap", "1"] for sample in read)
    configs = [replace(pooled, fraction=share, epochs=2) for share in (0.5, 0.2)]
    train_runs(configs, store.path, [tmp_path / "a", tmp_path / "b"])
    train_run(configs[1], store.path, tmp_path / "alone", Machine(memory="disk"))
    same_run(tmp_path / "b", tmp_path / "alone", tolerance=1e-5)


def test_streaming_from_disk_gives_the_same(store, tmp_path):
    config = create_config({"fusion": "concat"}, ESA)
    train_run(config, store.path, tmp_path / "memory", Machine(memory="host"))
    train_run(config, store.path, tmp_path / "disk", Machine(memory="disk"))
    same_run(tmp_path / "memory", tmp_path / "disk")


def test_channels_are_measured_on_training_rows(store, tmp_path):
    train_run(
        create_config({"fusion": "concat", "epochs": 1}, LINEAR), store.path, tmp_path / "run"
    )
    weights = load_file(tmp_path / "run" / "best.safetensors")
    rows = [
        (s, row.slot)
        for s in store.subsets()
        for row in store.rows(s)
        if row.columns["split"] == "train" and row.view == 0
    ]
    read = {s: store.feature(s, "lare").reader("lare") for s in store.subsets()}
    lare = np.concatenate([read[s].read([slot]) for s, slot in rows]).astype(np.float64)
    steps = lare[:, 0].mean(1)
    found = weights["standardizations.lare.mean"].flatten().numpy()
    np.testing.assert_allclose(found, steps.mean((0, 2, 3)), rtol=0, atol=1e-5)
    found = weights["standardizations.lare.deviation"].flatten().numpy()
    np.testing.assert_allclose(found, steps.std((0, 2, 3)), rtol=1e-4)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from clare.heads.config import create_config
from clare.heads.training.trainer import Observer, Plan, train_runs
from clare.heads.config import Machine

torch.set_num_threads(1)

class Kill(Observer):
    def epoch(self, run, record):
        if record["epoch"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)

configs = [create_config(one) for one in eval(sys.argv[1])]
folders = [Path(folder) for folder in sys.argv[3:]]
train_runs(configs, Path(sys.argv[2]), folders, Machine(checkpoint_seconds=0), Kill())
"""


@pytest.mark.slow
def test_killed_runs_go_on_as_if_nothing_had_happened(store, tmp_path):
    linear = replace(LINEAR, epochs=4, fraction=0.3)
    configs = [replace(ESA, epochs=4, fraction=0.3), linear, replace(linear, seed=1)]
    killed = [tmp_path / f"killed{n}" for n in range(3)]
    texts = repr([config.to_json() for config in configs])
    child = subprocess.run(
        [sys.executable, "-c", KILLED, texts, str(store.path), *map(str, killed)], check=False
    )
    assert child.returncode == -9
    assert not (killed[0] / "val_metrics.json").exists()
    train_runs(configs, store.path, killed)
    whole = [tmp_path / f"whole{n}" for n in range(3)]
    train_runs(configs, store.path, whole)
    for one, other in zip(killed, whole, strict=True):
        assert "resumed after epoch 2" in (one / "run.log").read_text()
        same_run(one, other)


@pytest.mark.slow
def test_side_by_side_is_like_alone(store, tmp_path):
    """Stacked or not, of several shapes, rows and lengths; one stops early."""
    still, short = {"dropout": 0.0}, replace(LINEAR, epochs=2)
    configs = [
        *(replace(LINEAR, seed=n, lr=lr) for n in (0, 1) for lr in (0.02, 1e-3)),
        *(replace(LINEAR, seed=n, fraction=0.3, data_seed=1) for n in (0, 1)),
        *(replace(LINEAR, seed=n, lr=1e-9, patience=1) for n in (0, 1)),
        *(
            create_config({"fusion": "esa", "fusion_settings": still, "seed": n}, short)
            for n in (0, 1)
        ),
        *(create_config({"classifier": "coop", "seed": n, "lr": 1e-3}, short) for n in (0, 1)),
        create_config({"classifier": "cocoop", "fusion": "esa"}, short),
        create_config({"classifier": "knn"}, LINEAR),
    ]
    plans = []

    class Look(Observer):
        def planned(self, plan):
            plans.append(plan)

    together = [tmp_path / f"together{n}" for n in range(len(configs))]
    train_runs(configs, store.path, together, observer=Look())
    assert sorted(plans[0].together) == [1, 2, 2, 2, 2, 4]
    assert len(history(together[6])) < 3
    for number, config in enumerate(configs):
        train_run(config, store.path, tmp_path / f"alone{number}")
        same_run(together[number], tmp_path / f"alone{number}", tolerance=1e-4)


def test_seeds_decide(store, tmp_path):
    for name, config in {
        "a": ESA,
        "b": ESA,
        "seed": replace(ESA, seed=1),
        "data": replace(ESA, data_seed=1),
    }.items():
        train_run(replace(config, epochs=1), store.path, tmp_path / name)
    same_run(tmp_path / "a", tmp_path / "b")
    assert not np.allclose(margins(tmp_path / "a"), margins(tmp_path / "seed"))
    assert not np.allclose(margins(tmp_path / "a"), margins(tmp_path / "data"))


@pytest.mark.slow
def test_every_fusion_trains_with_every_classifier(store, tmp_path):
    # The store has no face_parts, which `roi` reads; its contract trains that one.
    fusions = [name for name in list_parts(fusion) if name != "roi"]
    pairs = [(f, c) for f in fusions for c in list_parts(classifiers)]
    configs = [
        create_config(
            {
                "fusion": f,
                "classifier": c,
                "epochs": 1,
                "fraction": 0.2,
                "precision": "bfloat16" if n % 2 else "float32",
            },
            LINEAR,
        )
        for n, (f, c) in enumerate(pairs)
    ]
    folders = [tmp_path / f"{f}-{c}" for f, c in pairs]
    assert train_runs(configs, store.path, folders) == [None] * len(pairs)
    for folder in folders:
        run = open_run(folder, store)
        assert np.isfinite(margins(folder)).all() and np.isfinite(run.threshold)


DETECTORS = [
    name
    for name in list_presets()
    if not (read_preset(name).detector.decoder or read_preset(name).detector.is_tuned)
    and not read_preset(name).takes_pairs
]


@pytest.mark.parametrize("name", DETECTORS)
def test_every_preset_trains(store, tmp_path, name):
    config = create_config({"epochs": 2, "patience": None}, read_preset(name))
    train_run(config, store.path, tmp_path / "run")
    assert open_run(tmp_path / "run").record.config == config


def test_as_published_the_prompts_alone_learn(store, tmp_path):
    config = create_config({"lr": 0.1, "warmup_lr": 0.1}, read_preset("clare-published"))
    train_run(config, store.path, tmp_path / "run")
    run = open_run(tmp_path / "run")
    classifier: Any = run.detector.classifier
    fresh = create_detector(config, run.detector.specs, classifier.text)
    changed = {
        name
        for name, value in run.detector.named_parameters()
        if not torch.equal(value, dict(fresh.named_parameters())[name])
    }
    assert changed and all(name.startswith("classifier.prompts.") for name in changed)
    assert not run.detector.standardizations
    log = (tmp_path / "run" / "run.log").read_text()
    assert "clip was extracted otherwise than published, where it has mean_std=half" in log
    with pytest.raises(InputError, match="linear has no prompts"):
        train_run(create_config({"classifier": "linear"}, config), store.path, tmp_path / "other")


def test_a_run_begins_from_another(store, tmp_path):
    prompts = create_config({"classifier": "coop", "lr": 0.01}, LINEAR)
    train_run(prompts, store.path, tmp_path / "prompts")
    learnt = load_file(tmp_path / "prompts" / "best.safetensors")["classifier.prompts.ctx"]
    fused = replace(
        ESA, init_from=str(tmp_path / "prompts"), lr=1e-12, warmup_lr=0.0, weight_decay=0.0
    )
    train_run(fused, store.path, tmp_path / "fused")
    begun = load_file(tmp_path / "fused" / "best.safetensors")["classifier.prompts.ctx"]
    torch.testing.assert_close(begun, learnt)
    with pytest.raises(InputError, match="no parameter that fits"):
        train_run(create_config({"classifier": "linear"}, fused), store.path, tmp_path / "none")
    with pytest.raises(InputError, match="is no finished run"):
        train_run(replace(fused, init_from=str(tmp_path)), store.path, tmp_path / "none")


@pytest.mark.slow
def test_shuffled_labels_teach_nothing(store, tmp_path):
    """Twenty shuffles, last epoch, scored on the shuffled labels: 0.5 lies in their interval."""
    configs = [replace(LINEAR, shuffle_labels=True, seed=n) for n in range(20)]
    folders = [tmp_path / str(n) for n in range(20)]
    train_runs(configs, store.path, folders)
    found = [json.loads((folder / "val_metrics.json").read_text()) for folder in folders]
    assert {one["epoch"] for one in found} == {3}
    aucs = np.array([one["metrics"]["auc"]["value"] for one in found])
    assert abs(aucs.mean() - 0.5) < 2.1 * aucs.std(ddof=1) / 20**0.5
    labels = {tuple(read_predictions(f / "val_predictions.csv").label) for f in folders}
    assert len(labels) == 20


def test_half_precision_ends_with_the_threshold_of_what_is_kept(store, tmp_path):
    """The saved detector, in float32, gives the margins that validation chose on."""
    config = create_config(
        {"fusion": "concat", "classifier": "coop", "precision": "bfloat16", "epochs": 1}, LINEAR
    )
    train_run(config, store.path, tmp_path / "run")
    run, found = open_run(tmp_path / "run"), read_predictions(tmp_path / "run/val_predictions.csv")
    data = FeatureDataset(store, run.detector.fields, split="val", digests=run.record.digests)
    with torch.no_grad():
        kept = run.detector.margins(data.read(range(len(data)))).numpy()
    by_name = dict(zip(found.sample_id, found.margin, strict=True))
    chosen = [by_name[row.sample_id] for row in data.rows]
    np.testing.assert_allclose(kept, chosen, rtol=0, atol=1e-5)


def told(config, store, folder) -> tuple[Plan, str]:
    """What is said before a run, and its log."""
    plans: list[Plan] = []

    class Look(Observer):
        def planned(self, plan):
            plans.append(plan)

    train_run(config, store.path, folder, observer=Look())
    return plans[0], (folder / "run.log").read_text()


def test_losses_of_vectors_that_do_not_learn_are_named(store, tmp_path):
    gend = create_config({"epochs": 1}, read_preset("gend-cached"))
    for name, config, idle in (
        ("gend", gend, True),
        ("prompts", replace(ESA, scope="as-published", epochs=1, uniformity=0.5), True),
        ("esa", create_config({"fusion": "esa"}, gend), False),
        ("plain", replace(gend, alignment=0.0, uniformity=0.0), False),
    ):
        plan, log = told(config, store, tmp_path / name)
        assert any("change nothing here" in note.what for note in plan.notes) is idle
        assert ("change nothing here" in log) is idle
    norm, same = tmp_path / "plain", tmp_path / "gend"
    np.testing.assert_array_equal(margins(norm), margins(same))
    plan, _ = told(create_config({"fusion": "concat"}, gend), store, tmp_path / "concat")
    assert any("clip_cls_pre is read as cls" in note.what for note in plan.notes)


def test_a_field_in_the_place_of_the_class_token_is_told_to_be_taken_as_it_is(store, tmp_path):
    as_cls = create_config({"fields": {"cls": "clip_cls_pre"}, "epochs": 1}, LINEAR)
    plan, _ = told(as_cls, store, tmp_path / "run")
    assert any("and is not standardised" in note.what for note in plan.notes)


def test_slerp_needs_a_classifier_of_directions(store, tmp_path):
    mixed = replace(LINEAR, slerp=True)
    with pytest.raises(InputError, match=r"slerp .* linear would be tested on lengths"):
        train_run(mixed, store.path, tmp_path / "run")
    train_run(
        create_config({"classifier_settings": {"normalize": True}}, mixed),
        store.path,
        tmp_path / "run",
    )


def test_nothing_learns_before_a_bank(store, tmp_path):
    knn = create_config({"classifier": "knn"}, LINEAR)
    plan, _ = told(knn, store, tmp_path / "cls")
    assert list(plan.parameters) == [0] and not plan.notes
    plan, _ = told(create_config({"fusion": "esa"}, knn), store, tmp_path / "esa")
    assert list(plan.parameters) == [0]
    (note,) = plan.notes
    assert "esa" in note.what and "init_from" in str(note.advice)
    train_run(replace(ESA, epochs=1), store.path, tmp_path / "trained")
    begun = create_config({"fusion": "esa", "init_from": str(tmp_path / "trained")}, knn)
    plan, log = told(begun, store, tmp_path / "begun")
    assert "random start" not in log


def test_a_bank_holds_the_training_rows(store, tmp_path):
    train_run(create_config({"classifier": "knn"}, LINEAR), store.path, tmp_path / "run")
    classifier: Any = open_run(tmp_path / "run").detector.classifier
    assert (len(classifier.real), len(classifier.fake)) == (90, 90)


def test_a_run_that_diverges_says_so_and_leaves_others_alone(store, tmp_path):
    wild = replace(LINEAR, lr=1e30, optimizer="sgd", clip=None)
    calm = replace(wild, lr=0.01)
    failures = train_runs([wild, calm], store.path, [tmp_path / "wild", tmp_path / "calm"])
    assert failures[1] is None and "wild failed in epoch" in str(failures[0])
    assert "failed in epoch" in (tmp_path / "wild" / "run.log").read_text()
    train_run(calm, store.path, tmp_path / "alone")
    same_run(tmp_path / "calm", tmp_path / "alone", tolerance=1e-5)
    with pytest.raises(InputError, match="a lower learning rate may help"):
        train_run(wild, store.path, tmp_path / "again")


def test_a_folder_of_something_else_is_left_alone(store, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and no run"):
        train_run(LINEAR, store.path, tmp_path)
    train_run(LINEAR, store.path, tmp_path / "run")
    with pytest.raises(InputError, match=r"holds another run \(lr was 0.02 and is 0.5\)"):
        train_run(replace(LINEAR, lr=0.5), store.path, tmp_path / "run")


SLERP = {"slerp": True, "classifier_settings": {"normalize": True}, "epochs": 1}


def test_slerp_with_a_single_image_of_a_class_is_refused(tmp_path, build_store, rows_of):
    reals = [r for r in rows_of["plain"]("pool", 0, 16) if r.columns["split"] != "train"]
    reals.append(rows_of["row"]("pool", "only", 0, "train"))
    subsets = {"pool": reals, "gan": rows_of["plain"]("gan", 1, 16)}
    store = build_store(tmp_path / "features.zarr", subsets)
    with pytest.raises(InputError, match=r"slerp mixes images of one class.* a single real one"):
        train_run(create_config(SLERP, LINEAR), store.path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_slerp_in_batches_with_few_of_a_class_says_so(store, tmp_path):
    config = create_config({**SLERP, "batch": 2, "train": ("gan",), "reals": ("pool",)}, LINEAR)
    _, log = told(config, store, tmp_path / "run")
    assert "a batch has 1.0 real images on average, and slerp leaves one alone" in log


def test_fusions_that_read_one_field_otherwise_are_trained_side_by_side(store, tmp_path):
    fusions = ("lare", "lare_trajectory")
    configs = [create_config({"fusion": name, "epochs": 1}, LINEAR) for name in fusions]
    folders = [tmp_path / name for name in fusions]
    assert train_runs(configs, store.path, folders) == [None, None]
    one, every = (load_file(folder / "best.safetensors") for folder in folders)
    steps = every["standardizations.lare_steps.mean"].flatten()
    torch.testing.assert_close(steps[:4], one["standardizations.lare.mean"].flatten())

"""Opening a run, and giving its configuration back."""

import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from clare.advice import Run, Set
from clare.cli.views.figures import print_validation
from clare.errors import InputError, StoreError
from clare.heads.config import (
    DetectorConfig,
    TrainConfig,
    assign_settings,
    create_config,
    read_config,
    read_preset,
)
from clare.heads.data.dataset import FeatureDataset
from clare.heads.metrics.predictions import read_predictions
from clare.heads.report.run_results import read_findings
from clare.heads.runs.run import load_text_tower, open_run
from clare.heads.sweeps.table import result_line
from clare.heads.text.tower import TEXT_TOWER
from clare.heads.training.trainer import train_run
from clare.store.feature_store import create_store
from clare.store.spec import FeatureSpec, Fingerprint

COOP = TrainConfig(DetectorConfig("concat", "coop"), epochs=1, train=("gan",), reals=("pool",))


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "coop"
    train_run(COOP, store.path, folder)
    return folder


def test_an_opened_run_scores_as_it_did(run, store):
    opened = open_run(run)
    found = read_predictions(run / "val_predictions.csv")
    subsets = ["gan", "pool"]
    data = FeatureDataset(
        store.path,
        opened.detector.fields,
        subsets=subsets,
        split="val",
        digests=opened.record.digests,
    )
    with torch.no_grad():
        margins = opened.detector.margins(data.read(range(len(data))))
    by_name = dict(zip(found.sample_id, found.margin, strict=True))
    mine = [by_name[row.sample_id] for row in data.rows]
    np.testing.assert_allclose(margins.numpy(), mine, atol=1e-5)
    assert opened.threshold == json.loads((run / "val_metrics.json").read_text())["threshold"]
    assert opened.record.subsets == ("gan", "pool") and opened.record.reals == ("pool",)


def test_a_pool_of_reals_is_not_what_a_run_was_trained_on(store, tmp_path):
    linear = TrainConfig(DetectorConfig("cls", "linear"), epochs=1)
    for name, config in {
        "all": linear,
        "named": replace(linear, train=("gan",), reals=("pool",)),
        "domain": replace(linear, domains=("ff",)),
    }.items():
        train_run(config, store.path, tmp_path / name)
    trained = {name: open_run(tmp_path / name).record.trained_on for name in ("all", "named")}
    assert trained == {"all": ("gan", "swap"), "named": ("gan",)}
    assert open_run(tmp_path / "domain").record.trained_on == ("swap",)


def test_what_it_saw_is_train_and_val(run, store):
    seen = open_run(run).seen
    for row in store.rows("gan"):
        assert bool(seen.shared_with(row)) == (row.columns["split"] != "test")
    assert not any(seen.shared_with(row) for row in store.rows("swap"))


def test_the_configuration_of_a_run_comes_back(run, tmp_path):
    assert read_config(run / "config.json") == COOP
    (tmp_path / "mine.yaml").write_text("fusion: esa\nlr: 1e-4\nclassifier_settings: {n_ctx: 4}\n")
    mine = read_config(tmp_path / "mine.yaml")
    assert (mine.detector.fusion, mine.lr, mine.detector.classifier_settings) == (
        "esa",
        1e-4,
        {"n_ctx": 4},
    )
    for text, message in (
        ("[1, 2]", "a table"),
        ("lr: [", "can't be read as a configuration"),
        ("speed: 3", r"mine.yaml: .*no setting 'speed'"),
    ):
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(InputError, match=message):
            read_config(tmp_path / "mine.yaml")
    with pytest.raises(InputError, match="'no-such' is not one of clare, clare-pairs, clare-pub"):
        read_preset("no-such")


def test_settings_go_to_the_part_that_is_named():
    config = create_config({"fusion": "esa", "classifier": "coop"})
    given: dict[str, Any] = {"esa": {"heads": 2}, "classifier": {"n_ctx": 4}, "train": {"lr": 0.5}}
    found = assign_settings(config, given)
    assert found.detector.fusion_settings == {"heads": 2}
    assert found.detector.classifier_settings == {"n_ctx": 4}
    assert found.lr == 0.5
    with pytest.raises(InputError, match="cocoop names no part"):
        assign_settings(config, {"cocoop": {"n_ctx": 4}})
    assert assign_settings(config, {"cocoop": {"n_ctx": 4}}, known=["cocoop"]) == config
    decoder = create_config({"decoder": "conv-4"})
    for name in ("conv_4", "conv-4", "decoder"):
        found = assign_settings(decoder, {name: {"start": "declip"}})
        assert found.detector.decoder_settings == {"start": "declip"}
    assert assign_settings(decoder, {"conv-12": {"start": "x"}}, known=["conv-12"]) == decoder


def test_a_folder_that_is_no_finished_run_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="there is no run at"):
        open_run(tmp_path / "none")
    with pytest.raises(InputError, match=r"config.json is missing"):
        open_run(tmp_path)
    shutil.copytree(run, tmp_path / "begun")
    with pytest.raises(InputError, match="is no run, but holds begun: name a run"):
        open_run(tmp_path)
    (tmp_path / "begun" / "val_metrics.json").unlink()
    with pytest.raises(InputError, match="is not finished") as error:
        open_run(tmp_path / "begun")
    assert isinstance(error.value.advice[0], Run)
    (tmp_path / "begun" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        open_run(tmp_path / "begun")
    (tmp_path / "begun" / "config.json").write_text("not JSON")
    with pytest.raises(InputError, match="can't be read"):
        open_run(tmp_path / "begun")


def test_a_detector_whose_bytes_changed_is_refused(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    data = bytearray((folder / "best.safetensors").read_bytes())
    data[-5] ^= 4  # in the values, which have no checksum of their own
    (folder / "best.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        open_run(folder)


def without(name):
    return lambda found: found.pop(name)


@pytest.mark.parametrize(
    "read",
    [
        open_run,
        print_validation,
        lambda folder: read_findings([folder]),
        lambda folder: result_line(folder, COOP, {}, None, {}),
    ],
    ids=["open", "print", "page", "sweep"],
)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: found.clear(), "epoch"),
        (without("threshold"), "threshold"),
        (lambda found: found.update(threshold="low"), "threshold"),
        (lambda found: found.update(threshold=float("nan")), "threshold"),
        (lambda found: found.update(metrics=[]), "metrics"),
        (lambda found: found["metrics"].clear(), "it has neither AUC nor IoU"),
        (lambda found: found["metrics"]["auc"].pop("low"), "metrics.auc.low"),
        (lambda found: found["metrics"]["auc"].update(value="?"), "metrics.auc.value"),
    ],
)
def test_damaged_figures_on_validation_are_said_by_every_reader(run, tmp_path, read, change, said):
    folder = shutil.copytree(run, tmp_path / "run")
    found = json.loads((run / "val_metrics.json").read_text())
    read(folder)
    change(found)
    (folder / "val_metrics.json").write_text(json.dumps(found))
    with pytest.raises(InputError, match=f"val_metrics.json is damaged: {said}"):
        read(folder)
    (folder / "val_metrics.json").write_text("{")
    with pytest.raises(InputError, match=r"val_metrics.json can't be read"):
        read(folder)


def test_the_text_tower_is_found_or_asked_for(run, store, tmp_path):
    shutil.copytree(run, tmp_path / "moved")
    record = json.loads((run / "config.json").read_text())
    record["store"] = str(tmp_path / "gone.zarr")
    (tmp_path / "moved" / "config.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match=r"moved is not at .*gone.zarr"):
        open_run(tmp_path / "moved")
    assert open_run(tmp_path / "moved", store).detector.config.classifier == "coop"
    classifier: Any = open_run(run).detector.classifier
    again: Any = open_run(tmp_path / "moved", text=classifier.text).detector.classifier
    assert again.text is classifier.text
    record["fingerprints"]["clip"] = "clip-0000"
    (tmp_path / "moved" / "config.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match=r"of other settings \(clip-.*\) than clip-0000"):
        open_run(tmp_path / "moved", store)
    with pytest.raises(StoreError, match="text tower of clip-0000 is not in"):
        open_run(tmp_path / "moved", create_store(tmp_path / "empty.zarr"))


def test_a_choice_of_fingerprints_is_asked_for(tmp_path, build_store, rows_of, store):
    rows = {"pool": rows_of["plain"]("pool", 0, 16), "gan": rows_of["plain"]("gan", 1, 16)}
    both = build_store(tmp_path / "s.zarr", rows)
    other = Fingerprint("clip", 1, "aa", {"mean_std": "half"})
    plain = both.feature("gan", "clip")
    both.declare(other, list(plain.fields.values()))
    for subset in rows:
        source, feature = both.feature(subset, "clip", plain.fingerprint.digest), None
        feature = both.feature(subset, "clip", other.digest)
        assert feature.claim(0)
        values = {
            name: np.concatenate([source.reader(name).read(range(16))] * 4)
            for name in source.fields
        }
        feature.write_shard(0, values, {}, {})
        feature.release(0)
    config = TrainConfig(DetectorConfig("cls", "linear"), epochs=1)
    with pytest.raises(InputError, match="several clip features") as error:
        train_run(config, both.path, tmp_path / "a")
    assert Set("features", {"clip": "latest"}, "takes those begun last") in error.value.advice
    newest = replace(config, features={"clip": "latest"})
    train_run(newest, both.path, tmp_path / "latest")
    assert open_run(tmp_path / "latest").record.fingerprints == {"clip": other.key}
    train_run(replace(config, features={"clip": other.digest[:6]}), both.path, tmp_path / "b")
    assert open_run(tmp_path / "b").record.fingerprints == {"clip": other.key}
    published = replace(config, extracted={"clip": {"mean_std": "half"}})
    train_run(published, both.path, tmp_path / "c")
    assert open_run(tmp_path / "c").record.fingerprints == {"clip": other.key}
    with pytest.raises(InputError, match="no clip features with a fingerprint beef"):
        train_run(replace(config, features={"clip": "beef"}), both.path, tmp_path / "d")


def test_files_in_a_store_make_no_code_run(plain_text, tmp_path):
    """The text tower of a stranger's store names that folder as its tokenizer, with code in it."""
    store, clip = create_store(tmp_path / "forged.zarr"), Fingerprint("clip", 1, "aa")
    store.declare(clip, [FeatureSpec("clip_cls", (24,), "float32")])
    home, marker = store.layout.extractor(clip.key), tmp_path / "ran"
    with safe_open(plain_text.file, "pt") as opened:
        facts = json.loads(opened.metadata()["text_tower"])
    facts["tokenizer"] = str(home)
    facts["text_config"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    tower = save(load_file(plain_text.file), {"text_tower": json.dumps(facts)})
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nclass Trap: ...\n"
    named = {"auto_map": {"AutoTokenizer": ["trap.Trap", None]}, "tokenizer_class": "Trap"}
    files = {
        TEXT_TOWER: tower,
        "trap.py": code.encode(),
        "tokenizer_config.json": json.dumps(named).encode(),
        "config.json": json.dumps({"model_type": "clip", **named}).encode(),
    }
    store.write_assets(clip.key, files)
    with pytest.raises(InputError, match="its tokenizer has trust_remote_code"):
        load_text_tower(store, clip.key)
    assert not marker.exists()

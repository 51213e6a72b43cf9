"""A run on two extractions of CLIP: trained, resumed, tested, swept and told."""

import json
from dataclasses import replace

import pytest
import torch

from clare.errors import InputError
from clare.heads.config import DetectorConfig, TrainConfig, create_config
from clare.heads.data.dataset import FeatureDataset
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.report.write import report
from clare.heads.runs.record import read_history, read_record
from clare.heads.runs.run import open_run
from clare.heads.sweeps.sweep import run_sweep
from clare.heads.training.trainer import Observer, train_run
from tests.heads.masked_store import RESNET, TRANSFORMER, create_towers, fill_feature, make_rows

DECLIP = {"tokens": "clip_tokens_20", "tokens_2": "clip_tokens_layer3"}
CONFIG = TrainConfig(
    DetectorConfig(decoder="linear", fields=DECLIP),
    train=("local",),
    select="iou",
    lr=0.1,
    warmup_epochs=0,
    epochs=2,
    batch=8,
)
NAMES = {"clip": TRANSFORMER.key, "clip_2": RESNET.key}


@pytest.fixture(scope="module")
def run(towers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("towers") / "run"
    train_run(CONFIG, towers.path, folder)
    return folder


def test_its_record_names_both(run, towers):
    record = read_record(run)
    mask = towers.feature("local", "mask").key
    assert record.fingerprints == {**NAMES, "mask": mask}
    assert record.sources == {"clip_tokens_20": "clip", "clip_tokens_layer3": "clip_2"}
    made = {name: one.fingerprint for name, one in record.extractors.items()}
    assert made["clip"] == TRANSFORMER and made["clip_2"] == RESNET
    assert record.digests["clip_tokens_layer3"] == RESNET.digest
    assert record.digests["clip"] == TRANSFORMER.digest


def test_rows_that_both_have_count(run):
    assert read_record(run).rows == {
        "train": {"real": 0, "fake": 30},
        "val": {"real": 0, "fake": 6},
    }
    found = evaluate(run, subsets=["local"], resamples=0)
    assert len(found.predictions) == 6 and found.record.skipped == {"local": 2}


def test_each_field_is_scored_from_its_own_tower(run, towers):
    found = evaluate(run, subsets=["local"], resamples=0, baselines=True)
    detector, digests = open_run(run).detector, open_run(run).record.digests
    data = FeatureDataset(towers, detector.fields, subsets=["local"], split="test", digests=digests)
    with torch.no_grad():
        margins = detector.margins(data.read(range(len(data)))).numpy()
    assert found.predictions.margin == pytest.approx(margins)


def test_towers_with_a_field_in_common_are_told_apart_by_name(towers, tmp_path):
    fields = {"tokens": "clip_tokens", "tokens_2": "clip_tokens_layer3"}
    config = create_config({"fields": fields, "epochs": 1}, CONFIG)
    train_run(config, towers.path, tmp_path / "one")
    assert open_run(tmp_path / "one").detector.specs["clip_tokens"] == (4, 6)
    both = replace(config, features={"clip": f"{TRANSFORMER.digest}+{RESNET.digest}"})
    train_run(both, towers.path, tmp_path / "both")
    run = open_run(tmp_path / "both")
    assert run.detector.specs["clip_tokens"] == (16, 8) and run.record.fingerprints["clip"] == (
        TRANSFORMER.key
    )
    assert len(evaluate(run.path, subsets=["local"], resamples=0).predictions) == 6


def test_the_same_field_of_both_is_read_as_it_is_named(towers, tmp_path):
    keys = {"tokens": RESNET, "tokens_2": TRANSFORMER}
    fields = {role: f"clip_tokens#{one.digest[:8]}" for role, one in keys.items()}
    config = create_config({"fields": fields, "epochs": 1}, CONFIG)
    train_run(config, towers.path, tmp_path)
    run = open_run(tmp_path)
    assert [run.detector.specs[name] for name in fields.values()] == [(4, 6), (16, 8)]
    assert {run.record.digests[fields[role]]: role for role in keys} == {
        one.digest: role for role, one in keys.items()
    }
    assert len(evaluate(run.path, subsets=["local"], resamples=0).predictions) == 6


def test_a_kill_changes_nothing(run, towers, tmp_path):
    class Killed(Observer):
        def epoch(self, run, record):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(CONFIG, towers.path, tmp_path / "run", observer=Killed())
    train_run(CONFIG, towers.path, tmp_path / "run")
    assert read_history(tmp_path / "run")[-1]["val_iou"] == read_history(run)[-1]["val_iou"]
    assert read_record(tmp_path / "run") == read_record(run)


def test_a_sweep_reads_each_layer_where_it_is(towers, tmp_path):
    configs = {
        name: create_config({"fields": {"tokens": field}, "epochs": 1}, CONFIG)
        for name, field in (("vit", "clip_tokens_20"), ("resnet", "clip_tokens_layer3"))
    }
    configs["both"] = create_config({"epochs": 1}, CONFIG)
    for _ in range(2):  # the second time it looks at what is finished
        run_sweep(configs, {}, towers, tmp_path)
    records = {name: read_record(tmp_path / name) for name in configs}
    assert {name: one.fingerprints["clip"] for name, one in records.items()} == {
        "vit": TRANSFORMER.key,
        "resnet": RESNET.key,
        "both": TRANSFORMER.key,
    }
    assert [name for name, one in records.items() if one.sources] == ["both"]


def test_a_sweep_refuses_runs_of_another_tower(tmp_path):
    store = create_towers(tmp_path / "s.zarr")
    run_sweep({"both": replace(CONFIG, epochs=1)}, {}, store, tmp_path / "sweep")
    other = replace(RESNET, weights="cc")
    for subset, label, count in (("local", 1, 48), ("pool", 0, 24)):
        specs = list(store.extractor(RESNET.key)[1].values())
        fill_feature(store, subset, make_rows(subset, label, count), other, specs)
    newer = replace(CONFIG, epochs=1, features={"clip_tokens_layer3": other.digest})
    path = tmp_path / "sweep" / "both" / "config.json"
    record = json.loads(path.read_text())
    record["config"]["features"] = dict(newer.features)
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"was trained on .*{RESNET.key}.* and not .*{other.key}"):
        run_sweep({"both": newer}, {}, store, tmp_path / "sweep")


def test_a_page_lists_the_settings_of_both(run, tmp_path):
    report([run], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert all(one in page for one in ("clip_2", TRANSFORMER.key, RESNET.key))


def test_records_from_before_are_read_as_they_were(towers, tmp_path):
    config = create_config({"fields": {"tokens": "clip_tokens_20"}, "epochs": 1}, CONFIG)
    train_run(config, towers.path, tmp_path)
    path = tmp_path / "config.json"
    known, written = read_record(tmp_path), json.loads(path.read_text())
    assert known.fingerprints["clip"] == TRANSFORMER.key and written.pop("sources") == {}
    path.write_text(json.dumps(written))
    assert read_record(tmp_path) == known
    assert len(evaluate(tmp_path, subsets=["local"], resamples=0).predictions) == 7

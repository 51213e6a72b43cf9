"""Testing a sweep's runs: rows are read once, and what can't be tested stands aside."""

import json
import shutil
from dataclasses import replace

import pytest

from clare.heads.config import DetectorConfig, TrainConfig
from clare.heads.data.dataset import FeatureDataset
from clare.heads.evaluation.batch_cache import BatchCache
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.evaluation.record import METRICS, read_evaluation
from clare.heads.sweeps.axes import expand
from clare.heads.sweeps.sweep import run_sweep
from clare.heads.sweeps.table import leaderboard
from clare.heads.sweeps.tests import SweepTests, require_tests
from tests.figures import existing

BASE = TrainConfig(DetectorConfig("cls", "linear"), lr=0.02, epochs=1, batch=32)
AXES = {"seed": ["0", "1", "2"]}


@pytest.fixture(scope="module")
def sweep(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep")
    run_sweep(expand(BASE, AXES), AXES, store.path, out)
    return out


@pytest.fixture
def reads(monkeypatch):
    """The number of rows of every batch that comes from a store."""
    found = []
    read = FeatureDataset.read

    def count(self, indices):
        found.append(len(indices))
        return read(self, indices)

    monkeypatch.setattr(FeatureDataset, "read", count)
    return found


def test_test_rows_are_read_once_for_all_runs(store, sweep, tmp_path, reads):
    out = shutil.copytree(sweep, tmp_path / "out")
    steps = []
    tests = SweepTests(store, ["gan", "swap"], progress=lambda *step: steps.append(step))
    found = [tests(out / f"seed-{seed}") for seed in AXES["seed"]]
    # 10 fakes, 10 reals of the pool beside them, 16 frames of videos
    assert sorted(reads) == [10, 10, 16] and not tests.failures
    assert {what.split(":")[0] for what, _, _ in steps} == {"seed-0", "seed-1", "seed-2"}
    for seed, figures in enumerate(found):
        alone = evaluate(out / f"seed-{seed}", store, ["gan", "swap"]).record
        assert figures == existing(alone.macro.subsets).frame


def test_what_finds_no_room_is_read_again(store, sweep, tmp_path, reads):
    out = shutil.copytree(sweep, tmp_path / "out")
    row = 24 * 4 + 16  # the class token, a label and a place
    for room, again in ((16 * row, [10, 10]), (0, [10, 10, 16]), (36 * row, [])):
        cache = BatchCache(room)
        for seed in "01":
            reads.clear()
            evaluate(out / f"seed-{seed}", store, ["swap", "gan"], cache=cache)
        assert sorted(reads) == again


def test_a_test_of_fewer_rows_is_made_again(store, sweep, tmp_path, reads, build_store, rows_of):
    rows = {"pool": rows_of["plain"]("pool", 0, 80), "gan": rows_of["plain"]("gan", 1, 80, views=2)}
    out = shutil.copytree(sweep, tmp_path / "out")
    small = build_store(tmp_path / "s.zarr", rows)
    SweepTests(small, ["gan"])(out / "seed-0")
    reads.clear()
    SweepTests(small, ["gan"])(out / "seed-0")
    assert not reads
    named = [replace(row, sample_id=f"new-{row.sample_id}") for row in rows["gan"]]
    shutil.rmtree(tmp_path / "s.zarr")
    SweepTests(build_store(tmp_path / "s.zarr", rows | {"gan": named}), ["gan"])(out / "seed-0")
    assert sorted(reads) == [10, 10]
    reads.clear()
    more = rows_of["plain"]("gan", 1, 88, views=2)
    shutil.rmtree(tmp_path / "s.zarr")
    SweepTests(build_store(tmp_path / "s.zarr", rows | {"gan": more}), ["gan"])(out / "seed-0")
    assert sorted(reads) == [10, 11]


def test_localisers_are_tested_on_fakes_alone(masked, tmp_path):
    decoder = TrainConfig(DetectorConfig(decoder="linear"), train=("few",), select="iou", epochs=1)
    configs = expand(decoder, {"seed": ["0"]})
    require_tests(masked, ["few", "local"], configs.values())
    tests = SweepTests(masked, ["few", "local"])
    (line,) = run_sweep(configs, {"seed": ["0"]}, masked.path, tmp_path, evaluate=tests)
    report = read_evaluation(tmp_path / "seed-0")
    assert not tests.failures and report.masks is not None
    for column, name in (("test_iou", "iou"), ("test_pixel_f1", "f1"), ("test_pixel_ap", "ap")):
        assert line[column] == report.masks.mean[name].value
    (best,) = leaderboard([line], {"seed": ["0"]})
    assert best["test_pixel_f1"] == line["test_pixel_f1"]
    made = (tmp_path / "seed-0" / METRICS).stat().st_mtime_ns
    assert (
        SweepTests(masked, ["local", "few"])(tmp_path / "seed-0")["iou"].value == line["test_iou"]
    )
    assert (tmp_path / "seed-0" / METRICS).stat().st_mtime_ns == made


def test_a_test_beside_other_reals_is_made_again(sweep, tmp_path, reads, build_store, rows_of):
    rows = {name: rows_of["plain"](name, int(name == "gan"), 80) for name in ("pool", "els", "gan")}
    out = shutil.copytree(sweep, tmp_path / "out")
    store = build_store(tmp_path / "s.zarr", rows)
    evaluate(out / "seed-0", store, ["gan"], reals=["els"])
    reads.clear()
    SweepTests(store, ["gan"])(out / "seed-0")
    assert sorted(reads) == [10, 10]
    report = json.loads((out / "seed-0" / METRICS).read_text())
    assert report["subsets"]["gan"]["beside"] == ["pool"]

"""What a sweep's folder already holds: kept, compared, or refused."""

import csv
import json
import shutil
from dataclasses import replace

import pytest

from clare.bootstrap import Figure
from clare.errors import InputError
from clare.heads.config import DetectorConfig, TrainConfig, create_config
from clare.heads.sweeps.axes import expand
from clare.heads.sweeps.sweep import run_sweep
from clare.heads.training.trainer import Observer

BASE = TrainConfig(
    DetectorConfig("cls", "linear"), lr=0.02, epochs=1, batch=32, train=("gan",), reals=("pool",)
)


def lines(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def seeds(*numbers: int) -> tuple[dict[str, TrainConfig], dict[str, list[str]]]:
    axes = {"seed": [str(number) for number in numbers]}
    return expand(BASE, axes), axes


def evaluate(run):
    return {"auc": Figure(0.75, 0.5, 1.0, 7)}


class Count(Observer):
    def __init__(self):
        self.runs = []

    def finished(self, run, result):
        self.runs.append(run.name)


@pytest.fixture
def other(tmp_path, build_store, rows_of):
    """Makes a store with rows of the same number, but for what is asked for."""

    def make(name, **change):
        pool, gan = rows_of["plain"]("pool", 0, 80), rows_of["plain"]("gan", 1, 80, views=2)
        content = change.get("content", "")
        rows = {
            "pool": [replace(row, content=row.content[::-1]) if content else row for row in pool],
            "gan": gan[: change.get("fakes", len(gan))],
        }
        return build_store(tmp_path / name, rows)

    return make


def test_a_smaller_sweep_keeps_the_lines_of_a_larger_one(store, tmp_path):
    whole = run_sweep(*seeds(0, 1, 2), store.path, tmp_path, evaluate=evaluate)
    count = Count()
    found = run_sweep(*seeds(1), store.path, tmp_path, observer=count)
    assert count.runs == []
    assert sorted(line["run"] for line in found) == ["seed-0", "seed-1", "seed-2"]
    assert sorted(found, key=lambda line: line["run"]) == whole
    assert {line["run"]: line for line in lines(tmp_path / "results.csv")}.keys() == {
        line["run"] for line in whole
    }
    assert lines(tmp_path / "leaderboard.csv")[0]["seeds"] == "3"
    shutil.rmtree(tmp_path / "seed-0")
    assert len(run_sweep(*seeds(1), store.path, tmp_path)) == 2


def test_test_figures_of_some_seeds_alone_have_no_mean(store, tmp_path):
    run_sweep(*seeds(0), store.path, tmp_path, evaluate=evaluate)
    run_sweep(*seeds(1), store.path, tmp_path)
    assert [line["test_auc"] for line in lines(tmp_path / "results.csv")] == ["0.75", ""]
    (board,) = lines(tmp_path / "leaderboard.csv")
    assert board["test_auc"] == "" and float(board["val_auc"]) > 0
    run_sweep(*seeds(1), store.path, tmp_path, evaluate=evaluate)
    assert float(lines(tmp_path / "leaderboard.csv")[0]["test_auc"]) == 0.75


@pytest.mark.parametrize(
    ("base", "axes", "message"),
    [
        (replace(BASE, epochs=2), {"seed": ["1"]}, "seed-0 is a run of another .* another epochs"),
        (BASE, {"lr": ["0.02"], "seed": ["1"]}, r"sweep over seed, this one is over lr, seed"),
        (
            create_config({"classifier_settings": {"normalize": True}}, BASE),
            {"seed": ["1"]},
            "another classifier_settings",
        ),
    ],
)
def test_two_sweeps_do_not_share_a_table(store, tmp_path, base, axes, message):
    run_sweep(*seeds(0), store.path, tmp_path)
    before = (tmp_path / "results.csv").read_bytes()
    with pytest.raises(InputError, match=message):
        run_sweep(expand(base, axes), axes, store.path, tmp_path)
    assert (tmp_path / "results.csv").read_bytes() == before


@pytest.mark.parametrize("change", [{"fakes": 60}, {"content": "other"}])
def test_finished_runs_of_other_rows_are_refused(store, other, tmp_path, change):
    run_sweep(*seeds(0), store.path, tmp_path / "out")
    with pytest.raises(InputError, match="seed-0 was trained on other rows"):
        run_sweep(*seeds(0, 1), other("s.zarr", **change).path, tmp_path / "out")
    assert run_sweep(*seeds(0), other("same.zarr").path, tmp_path / "out")


def test_finished_runs_of_other_features_are_refused(store, tmp_path):
    run_sweep(*seeds(0), store.path, tmp_path)
    path = tmp_path / "seed-0" / "config.json"
    record = json.loads(path.read_text())
    own = record["fingerprints"]["clip"]
    record["fingerprints"]["clip"] = "clip-0123"
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"seed-0 was trained on clip-0123 and not {own}"):
        run_sweep(*seeds(0, 1), store.path, tmp_path)


def test_a_run_without_rows_leaves_the_others_alone(store, tmp_path):
    axes = {"train": ["gan", "none"], "seed": ["0"]}
    configs = expand(replace(BASE, train=()), axes)
    configs["train-none_seed-0"] = replace(
        configs["train-none_seed-0"], train=("none",), protocol="mine"
    )
    found = run_sweep(configs, axes, store.path, tmp_path)
    assert found[0]["val_auc"] and not found[0]["failure"]
    assert "protocol mine trains on none" in found[1]["failure"]
    assert not (tmp_path / "train-none_seed-0").exists()
    del configs["train-gan_seed-0"]
    with pytest.raises(InputError, match="protocol mine trains on none"):
        run_sweep(configs, axes, store.path, tmp_path / "alone")


def test_a_domain_without_rows_leaves_the_others_alone(store, tmp_path):
    axes = {"domains": ["ff", "cdf"], "seed": ["0"]}
    base = replace(BASE, train=("swap",), reals=())
    found = run_sweep(expand(base, axes), axes, store.path, tmp_path)
    assert [bool(line["failure"]) for line in found] == [False, True]
    assert "domain cdf" in found[1]["failure"]


def test_what_is_in_the_way_is_said_in_a_sentence(store, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file is a file"):
        run_sweep(*seeds(0), store.path, tmp_path / "file")
    run_sweep(*seeds(0), store.path, tmp_path / "out")
    (tmp_path / "out" / "seed-0" / "val_metrics.json").write_text("{}")
    with pytest.raises(InputError, match=r"val_metrics.json is damaged"):
        run_sweep(*seeds(0), store.path, tmp_path / "out")
    (tmp_path / "out" / "results.csv").write_text("name,value\na,1\n")
    with pytest.raises(InputError, match=r"results\.csv is not what a sweep writes"):
        run_sweep(*seeds(0), store.path, tmp_path / "out")

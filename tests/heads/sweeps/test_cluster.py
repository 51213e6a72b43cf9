"""A sweep on a cluster comes to what it comes to on one machine."""

from contextlib import ExitStack
from typing import Any

import pytest
import torch

from clare.errors import InputError
from clare.heads.config import DetectorConfig, Machine, TrainConfig
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.runs.lock import hold_runs
from clare.heads.sweeps import cluster
from clare.heads.sweeps import tests as sweep_tests
from clare.heads.sweeps.axes import expand
from clare.heads.sweeps.call import sweep
from clare.heads.sweeps.cluster import ClusterTraining
from clare.heads.sweeps.stacks import Runs, Supply
from clare.heads.sweeps.sweep import run_sweep
from clare.heads.sweeps.tests import SweepTests
from clare.heads.training import trainer
from clare.stopping import StopAskedError
from tests.dask_threads import connecting_to, thread_cluster
from tests.figures import same_tables

BASE = TrainConfig(DetectorConfig("cls", "linear"), lr=0.02, epochs=2, batch=32)
AXES = {"fusion": ["cls", "lare"], "seed": ["0", "1", "2"]}


@pytest.fixture(scope="module")
def dask():
    with thread_cluster(1) as client:  # chance is a process's own: one worker in this one
        yield client


@pytest.fixture
def on_dask(dask, monkeypatch):
    monkeypatch.setattr(cluster, "connect", connecting_to(dask))


@pytest.fixture(scope="module")
def plain(store, tmp_path_factory):
    """The tables of a sweep in this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("sweep") / "plain"
    tests = SweepTests(store, ["gan"], training=True)
    run_sweep(expand(BASE, AXES), AXES, store, out, Machine(), evaluate=tests)
    torch.set_num_threads(threads)
    return out


def test_its_tables_are_those_of_one_machine(on_dask, store, plain, tmp_path, monkeypatch):
    train, tested = ClusterTraining("any", ["gan"]), []

    def count(run, *rest, **how):
        tested.append(run)
        return evaluate(run, *rest, **how)

    monkeypatch.setattr(sweep_tests, "evaluate", count)
    tests = SweepTests(store, ["gan"], training=True)
    configs = expand(BASE, AXES)
    run_sweep(configs, AXES, store, tmp_path / "a", Machine(), evaluate=tests, train=train)
    assert same_tables(tmp_path / "a", plain)
    assert len(tested) == 6 and not tests.failures, "its workers have tested the runs"


def test_one_call_of_python_sweeps_here_or_there(on_dask, store, plain, tmp_path):
    common: Any = {"config": BASE, "evaluate": ["gan"], "device": "cpu"}
    found = sweep(store, tmp_path / "a", vary=AXES, cluster="local:1", **common)
    assert same_tables(tmp_path / "a", plain) and not found.untested
    assert [line["seeds"] for line in found.leaderboard] == [3, 3]
    again = sweep(store, tmp_path / "a", vary={"fusion": ["cls"]}, **common)
    assert len(again.results) == 6, "of the seed 0, which was there, and those of before"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"vary": {}}, "nothing is varied"),
        ({"vary": {"fusion": "cls"}}, "fusion must be a list, not 'cls'"),
        ({"vary": {"seed": 3}}, "seed must be a list, not 3"),
        ({"cluster": "nowhere"}, "is no cluster"),
        ({"cluster": "local:1", "shared_by": 2}, "share the runs already"),
        ({"shared_by": 0}, "at least 1"),
        ({"vary": {"speed": [1]}}, "no setting 'speed'"),
    ],
)
def test_what_can_t_be_swept_is_said_at_once(store, tmp_path, asked, told):
    with pytest.raises(InputError, match=told):
        sweep(store, tmp_path / "a", **{"vary": {"seed": range(2)}, "config": BASE, **asked})


def test_a_worker_that_is_told_to_end_leaves_its_runs_to_another(
    on_dask, store, tmp_path, monkeypatch
):
    given: list[int] = []

    def end_first(configs, store, folders, *rest, **how):
        given.append(len(folders))
        if len(given) == 1:
            raise StopAskedError("its worker")
        return trainer.train_runs(configs, store, folders, *rest, **how)

    monkeypatch.setattr(cluster, "train_runs", end_first)
    train = ClusterTraining("any")
    found = run_sweep(expand(BASE, AXES), AXES, store, tmp_path / "a", Machine(), train=train)
    assert given == [3, 3, 3]
    assert len(found) == 6 and not any(line["failure"] for line in found)


def test_runs_that_another_process_has_are_waited_for(on_dask, store, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "HELD_SECONDS", 0.0)
    axes, told = {"seed": ["0"]}, []
    configs = expand(BASE, axes)
    with ExitStack() as other:
        other.enter_context(hold_runs([tmp_path / "a" / name for name in configs]))

        def notice(said):
            told.append(str(said))
            other.close()

        train = ClusterTraining("any", notice=notice)
        (line,) = run_sweep(configs, axes, store, tmp_path / "a", Machine(), train=train)
    assert not line["failure"] and len(told) == 1
    assert "is being trained by another process" in told[0]


def test_stacks_are_kept_whole_as_long_as_all_workers_have_one(tmp_path):
    configs = expand(BASE, AXES)
    folders = [tmp_path / name for name in configs]
    for lanes, sizes in ((1, [3, 3]), (2, [3, 3]), (4, [2, 1, 2, 1]), (9, [1] * 6)):
        supply = Supply(list(configs.values()), folders)
        handed: list[Runs] = []
        while (runs := supply(lanes)) is not None:
            handed.append(runs)
        assert [len(one.folders) for one in handed] == sizes
        assert sorted(one for some in handed for one in some.folders) == sorted(folders)

"""A sweep that several processes share comes to what one of them alone would have made of it."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import chain
from threading import Barrier, Event
from typing import Any

import pytest

from clare.errors import LostClaimError
from clare.heads.config import DetectorConfig, Machine, TrainConfig
from clare.heads.runs.lock import hold_runs
from clare.heads.runs.record import is_finished
from clare.heads.sweeps import sharing
from clare.heads.sweeps.axes import expand
from clare.heads.sweeps.sharing import CLAIMS, TABLES, Sharing
from clare.heads.sweeps.sweep import run_sweep
from clare.heads.sweeps.table import read_results
from clare.heads.sweeps.tests import SweepTests
from clare.heads.training.trainer import Observer, train_runs
from clare.store.claims.claims import Claims
from tests.figures import same_tables

BASE = TrainConfig(DetectorConfig("cls", "linear"), lr=0.02, epochs=2, batch=32)
AXES = {"fusion": ["cls", "lare"], "seed": ["0", "1"]}
BRISK = 2.0
"""Seconds of a lease: hearts beat every tenth of a second."""


@pytest.fixture
def processes(monkeypatch, tmp_path):
    """Makes the claims of what pretends to be another process, with a heart of its own."""
    made = Processes()
    monkeypatch.setattr(sharing, "claims_of", made.begin)
    yield made
    for claims in made:
        claims.leave()


class Processes(list[Claims]):
    """The claims of each; those that begin from now on take leases of so many seconds, if any."""

    leases: float | None = None

    def begin(self, folder):
        claims = Claims(folder)
        claims.configure(leases=self.leases is not None, expire=self.leases or BRISK)
        self.append(claims)
        return claims


def kill(claims):
    """Nothing is given back, and the heart stands still."""
    claims.beat = lambda: False
    claims.release = lambda name, number=0: None


@pytest.fixture
def trained(monkeypatch):
    """The names of the runs of each call that trained."""
    found = []

    def count(configs, store, folders, *rest):
        found.append([folder.name for folder in folders])
        return train_runs(configs, store, folders, *rest)

    monkeypatch.setattr(sharing, "train_runs", count)
    return found


@pytest.fixture(scope="module")
def plain(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "plain"
    sweep(store, out)
    return out


def sweep(store, out, **how):
    tests = SweepTests(store, ["gan"])
    return run_sweep(expand(BASE, AXES), AXES, store, out, Machine(), evaluate=tests, **how)


def test_each_trains_a_part_and_the_last_to_end_writes_the_whole_tables(
    store, plain, tmp_path, processes, trained
):
    out, ends = tmp_path / "a", list[Any]()
    tests = SweepTests(store, ["gan"])

    def meanwhile(folder):
        if not ends:  # the other begins when this one has trained its first part, and ends before
            ends.append(sweep(store, out, train=Sharing(out, 2, tests)))
        return tests(folder)

    sweep(store, out, train=Sharing(out, 2, meanwhile))
    assert trained[0] == ["cls_seed-0", "cls_seed-1"], "as many as are its part"
    assert sorted(chain(*trained)) == sorted(expand(BASE, AXES)), "each once"
    assert [line["run"] for line in ends[0]] == list(expand(BASE, AXES))
    assert same_tables(out, plain)


def test_tasks_of_an_array_begin_with_different_runs(
    store, tmp_path, processes, trained, monkeypatch
):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    sweep(store, tmp_path / "a", train=Sharing(tmp_path / "a", 2))
    assert trained[0] == ["lare_seed-0", "lare_seed-1"], "the second of two parts"


def test_what_one_that_died_has_trained_is_tested_and_written_by_another(
    store, plain, tmp_path, processes, trained
):
    out = tmp_path / "a"
    processes.leases = 0.4

    def die(folder):
        kill(processes[0])
        raise MemoryError

    with pytest.raises(MemoryError):
        sweep(store, out, train=Sharing(out, 2, die))
    (out / "results.csv").unlink()
    held = processes.begin(out / CLAIMS)
    assert not held.take(f"runs/{trained[0][0]}"), "nobody's only when its heart was long still"
    held.leave()
    sweep(store, out, train=Sharing(out, 2))
    assert same_tables(out, plain) and sorted(chain(*trained)) == sorted(expand(BASE, AXES))


@pytest.mark.parametrize("look", [1, 5], ids=["in the first epoch", "behind the last"])
def test_runs_that_were_taken_over_while_it_slept_are_not_its_own_any_more(
    store, plain, tmp_path, processes, trained, monkeypatch, look
):
    looks: list[str] = []

    def require(self, name, number):
        looks.append(name)
        if len(looks) == look:  # there are two epochs of two runs
            raise LostClaimError("taken over", "go on")

    monkeypatch.setattr(Claims, "require", require)
    out = tmp_path / "a"
    sweep(store, out, train=Sharing(out, 2))
    assert looks[look - 1] == "runs/cls_seed-0" and len(trained) == 3
    assert same_tables(out, plain)


def test_who_finds_the_rest_with_one_who_lives_ends(store, plain, tmp_path, processes):
    out, told = tmp_path / "a", list[Any]()
    (name, *_) = expand(BASE, AXES)
    other = processes.begin(out / CLAIMS)
    assert other.take(f"runs/{name}")
    found = sweep(store, out, train=Sharing(out, 2, notice=told.append))
    assert [line["run"] for line in found] == list(expand(BASE, AXES))[1:]
    assert "1 run of this sweep: other processes train" in str(told[0])
    other.release(f"runs/{name}")
    sweep(store, out, train=Sharing(out, 2))
    assert same_tables(out, plain)


def test_who_waits_takes_what_one_that_died_had(store, tmp_path, processes, trained):
    out = tmp_path / "a"
    runs = list(expand(BASE, AXES))
    other = Claims(out / CLAIMS)
    assert other.take(f"runs/{runs[0]}")
    processes.append(other)
    busy: list[str] = []

    class Watching(Observer):
        def busy(self, what):
            if "have the last runs" in what and not busy:
                busy.append(what)
                other.leave()

    train = partial(sweep, store, out, train=Sharing(out, 4))
    train(observer=Watching())
    assert busy and sorted(chain(*trained)) == sorted(runs)
    assert all(is_finished(out / name) for name in runs)


def test_a_run_that_one_has_who_shares_nothing_keeps_no_other_of_its_stack(
    store, tmp_path, processes, trained
):
    out, finished = tmp_path / "a", list[str]()
    runs = list(expand(BASE, AXES))
    with ExitStack() as held:
        held.enter_context(hold_runs([out / runs[0]]))

        class Watching(Observer):
            def busy(self, what):
                if "have the last runs" in what and not finished:
                    finished.extend(name for name in runs if is_finished(out / name))
                    held.close()

        sweep(store, out, train=Sharing(out, 1), observer=Watching())
    assert finished == runs[1:], "while it is held all the rest is done"
    assert all(is_finished(out / name) for name in runs)


def test_of_two_who_wait_one_takes_what_a_third_left_that_died(store, tmp_path, processes, trained):
    out, processes.leases = tmp_path / "a", BRISK
    runs, met, tests = list(expand(BASE, AXES)), Barrier(2, timeout=60), SweepTests(store, ["gan"])
    third = processes.begin(out / CLAIMS)
    assert third.take(f"runs/{runs[0]}")
    kill(third)
    leaving, over = list[Any](), Event()

    def leave(notice):
        leaving.append(notice)
        if len(leaving) == 2:
            over.set()
        over.wait(60)  # who has decided to leave still lives, until the other is done

    def share():
        first: list[str] = []

        def evaluate(folder):
            if not first:  # each has trained one of the three that are left
                first.append(folder.name)
                met.wait()
            return tests(folder)

        sweep(store, out, train=Sharing(out, 4, evaluate, leave))
        over.set()

    with ThreadPoolExecutor(2) as threads:
        for end in [threads.submit(share) for _ in range(2)]:
            end.result()
    assert len(leaving) < 2, "on a slow machine neither may be certain that the other lives"
    assert sorted(chain(*trained)) == sorted(runs), "each once"
    assert [line["run"] for line in read_results(out)] == runs


@pytest.fixture
def failing(monkeypatch, trained):
    """Lets runs of one name fail, as often as they are trained."""
    name, why = "lare_seed-0", "its loss is no number"
    train = vars(sharing)["train_runs"]

    def fail(configs, store, folders, *rest):
        found = train(configs, store, folders, *rest)
        for folder in folders:
            if folder.name == name:
                (folder / "val_metrics.json").unlink()
        return [
            why if folder.name == name else one for folder, one in zip(folders, found, strict=True)
        ]

    monkeypatch.setattr(sharing, "train_runs", fail)
    return name, why


def test_who_waits_does_not_train_again_what_failed_with_another(
    store, tmp_path, processes, trained, failing
):
    out, ends = tmp_path / "a", list[Any]()
    third = processes.begin(out / CLAIMS)
    assert third.take("runs/cls_seed-0")

    class First(Observer):
        def busy(self, what):
            if "have the last runs" in what:
                third.leave()

    def meanwhile(folder):
        if not ends:  # another trains all the rest while this one has its first run
            ends.append(sweep(store, out, train=Sharing(out, 4), observer=First()))

    found = sweep(store, out, train=Sharing(out, 4, meanwhile))
    assert sorted(chain(*trained)) == sorted(expand(BASE, AXES)), "each once"
    assert {line["run"]: line["failure"] for line in found}[failing[0]] == failing[1]


def test_who_waits_does_not_train_again_what_failed_with_another_in_the_words_of_before(
    store, tmp_path, processes, trained, failing
):
    out, (name, why), ends = tmp_path / "a", failing, list[Any]()
    sweep(store, out, train=Sharing(out, 2))
    before = len(trained)
    third = processes.begin(out / CLAIMS)
    assert third.take(f"runs/{name}")

    class Waiting(Observer):
        def busy(self, what):
            if "have the last runs" in what and not ends:
                third.leave()
                ends.append(sweep(store, out, train=Sharing(out, 2)))

    found = sweep(store, out, train=Sharing(out, 2), observer=Waiting())
    assert trained[before:] == [[name]], "by the one that this one waited for"
    assert {line["run"]: line["failure"] for line in found}[name] == why


def test_an_old_failure_is_not_told_of_a_run_that_another_trains_anew(
    store, tmp_path, processes, failing
):
    out, (name, why) = tmp_path / "a", failing
    found = sweep(store, out, train=Sharing(out, 2))
    assert {line["run"]: line["failure"] for line in found}[name] == why
    other = processes.begin(out / CLAIMS)
    assert other.take(f"runs/{name}")
    assert name not in [line["run"] for line in sweep(store, out, train=Sharing(out, 2))]


def test_finished_runs_are_tested_while_others_may_write_the_tables(store, tmp_path, processes):
    out, tests = tmp_path / "a", SweepTests(store, ["gan"])
    configs = expand(BASE, AXES)
    run_sweep(configs, AXES, store, out, Machine())
    other = processes.begin(out / TABLES)
    assert other.take("runs/cls_seed-1")
    tested = []

    def test(folder):
        if folder not in tested:
            tested.append(folder)
            assert other.take("tables"), "not in the turn of this one"
            other.release("tables")
        return tests(folder)

    run_sweep(configs, AXES, store, out, Machine(), evaluate=test, train=Sharing(out, 2))
    assert [folder.name for folder in tested] == ["cls_seed-0", "lare_seed-0", "lare_seed-1"]

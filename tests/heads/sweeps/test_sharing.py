"""A sweep that several processes share comes to what one of them alone would have made of it."""

from functools import partial
from itertools import chain
from typing import Any

import pytest

from clare.errors import LostClaimError
from clare.heads.config import DetectorConfig, Machine, TrainConfig
from clare.heads.runs.record import is_finished
from clare.heads.sweeps import sharing
from clare.heads.sweeps.axes import expand
from clare.heads.sweeps.sharing import CLAIMS, Sharing
from clare.heads.sweeps.sweep import run_sweep
from clare.heads.sweeps.tests import SweepTests
from clare.heads.training.trainer import Observer, train_runs
from clare.store.claims.claims import Claims

BASE = TrainConfig(DetectorConfig("cls", "linear"), lr=0.02, epochs=2, batch=32)
AXES = {"fusion": ["cls", "lare"], "seed": ["0", "1"]}
BRISK = 2.0
"""Seconds of a lease: hearts beat every tenth of a second."""


@pytest.fixture
def processes(monkeypatch, tmp_path):
    """Makes the claims of what pretends to be another process, with a heart of its own."""
    made = []

    def begin(folder):
        claims = Claims(folder)
        claims.configure(leases=False, expire=BRISK)
        made.append(claims)
        return claims

    monkeypatch.setattr(sharing, "claims_of", begin)
    yield made
    for claims in made:
        claims.leave()


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
    return tables(out)


def sweep(store, out, **how):
    tests = SweepTests(store, ["gan"])
    return run_sweep(expand(BASE, AXES), AXES, store, out, Machine(), evaluate=tests, **how)


def tables(out):
    return {file.name: file.read_bytes() for file in sorted(out.glob("*.csv"))}


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
    assert tables(out) == plain


def test_what_one_that_died_has_trained_is_tested_and_written_by_another(
    store, plain, tmp_path, processes, trained
):
    out = tmp_path / "a"

    def die(folder):
        raise MemoryError

    with pytest.raises(MemoryError):
        sweep(store, out, train=Sharing(out, 2, die))
    (out / "results.csv").unlink()
    sweep(store, out, train=Sharing(out, 2))
    assert tables(out) == plain and sorted(chain(*trained)) == sorted(expand(BASE, AXES))


def test_runs_that_were_taken_over_while_it_slept_are_not_its_own_any_more(
    store, plain, tmp_path, processes, trained, monkeypatch
):
    slept: list[str] = []

    def require(self, name, number):
        if not slept:
            slept.append(name)
            raise LostClaimError("taken over", "go on")

    monkeypatch.setattr(Claims, "require", require)
    out = tmp_path / "a"
    sweep(store, out, train=Sharing(out, 2))
    assert slept[0].startswith("runs/") and len(trained) == 3
    assert tables(out) == plain


def test_who_finds_the_rest_with_one_who_lives_ends(store, plain, tmp_path, processes):
    out, told = tmp_path / "a", list[Any]()
    (name, *_) = expand(BASE, AXES)
    other = Claims(out / CLAIMS)
    other.configure(leases=False, expire=BRISK)
    processes.append(other)
    assert other.take(f"runs/{name}")
    found = sweep(store, out, train=Sharing(out, 2, notice=told.append))
    assert [line["run"] for line in found] == list(expand(BASE, AXES))[1:]
    assert "1 run of this sweep: other processes train" in str(told[0])
    other.release(f"runs/{name}")
    sweep(store, out, train=Sharing(out, 2))
    assert tables(out) == plain


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

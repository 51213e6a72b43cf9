"""Leases over a folder, with clocks and processes that the tests hold in their hands."""

from __future__ import annotations

import dataclasses
import os
import threading
from pathlib import Path

import pytest

from clare.store.claims.folder_register import FolderRegister
from clare.store.claims.heartbeats import Heartbeat, Watch
from clare.store.claims.leases import Leases
from clare.store.claims.owner import Owner, this_process
from clare.store.claims.register import Clock

T = 240.0


class Process:
    """One process of some host, on a clock of its own that runs when it is told to."""

    def __init__(self, root, name: str, **owner) -> None:
        self.time = 1000.0 * len(name)  # nobody's clocks agree
        clock = Clock(lambda: self.time, self.pass_)
        self.register = FolderRegister(root)
        me = Owner(name, **owner)
        self.heart = Heartbeat(self.register, me, clock)
        self.watch = Watch(self.register, clock)
        self.watch.begin(me, T, every=10)
        self.leases = Leases(self.register, self.heart, self.watch)
        self.heart.beat()

    def pass_(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def process(tmp_path):
    return lambda name, **owner: Process(tmp_path, name, **owner)


def test_one_of_many_that_take_a_lease_at_once_gets_it(tmp_path):
    taken, ready = [], threading.Barrier(8)
    several = [Process(tmp_path, f"p{n}") for n in range(8)]

    def race(one: Process) -> None:
        ready.wait()
        for shard in range(20):
            if one.leases.take(f"faces/{shard:06d}"):
                taken.append(shard)

    threads = [threading.Thread(target=race, args=(one,)) for one in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(20))


def test_a_lease_is_refused_while_its_owner_beats_and_taken_over_when_he_does_not(process):
    mine, other = process("a"), process("bb")
    assert mine.leases.take("x") and not other.leases.take("x")
    for _ in range(60):  # an hour of the other's time, in which the owner beats once in a while
        other.pass_(60)
        mine.heart.beat()
        assert not other.leases.take("x")
    other.pass_(T - 1)
    assert not other.leases.take("x"), "not long enough"
    other.pass_(2)
    assert other.leases.take("x") and other.leases.former("x") == "a"
    assert other.leases.holds("x") and not mine.leases.holds("x")


def test_who_was_not_watched_is_not_taken_over(process):
    mine, other = process("a"), process("bb")
    mine.leases.take("x")
    other.pass_(10 * T)
    assert not other.leases.take("x"), "it is seen for the first time"


def test_one_of_many_takes_a_lost_lease_over(process):
    process("a").leases.take("x")
    several = [process("b" * n) for n in range(2, 6)]
    assert not any(one.leases.take("x") for one in several)
    for one in several:
        one.pass_(T + 1)
    assert sum(one.leases.take("x") for one in several) == 1


def test_a_sleeper_releases_nothing_that_is_another_s(process):
    sleeper, other, third = process("a"), process("bb"), process("ccc")
    sleeper.leases.take("x")
    other.leases.take("x")
    other.pass_(T + 1)
    assert other.leases.take("x")
    sleeper.leases.release("x")
    assert other.leases.holds("x") and not third.leases.take("x")
    other.leases.release("x")
    assert third.leases.take("x")


def test_a_sleeper_that_nobody_missed_shows_itself_before_it_goes_on(process):
    sleeper, other = process("a"), process("bb")
    sleeper.leases.take("x")
    other.leases.take("x")
    sleeper.pass_(10 * T)
    assert sleeper.leases.holds("x")
    other.pass_(T + 1)
    assert not other.leases.take("x"), "its heart beat once more"


def test_a_heartbeat_that_somebody_took_away_is_made_anew(process):
    mine, other = process("a"), process("bb")
    mine.leases.take("x")
    other.watch.forget("a")
    mine.heart.beat()
    assert "a" in other.watch.tokens()
    mine.heart.end()
    assert "a" not in other.watch.tokens()


def test_an_ended_process_of_this_host_and_an_ended_start_of_this_job_wait_for_nobody(
    process, tmp_path
):
    me = this_process(tmp_path)
    lives = {"machine": me.machine, "pid": me.pid, "started": me.started, "place": 5}
    started_again = {**lives, "started": me.started - 1}
    ended = {**lives, "pid": 2**22 + 1}
    elsewhere, unknown = {**lives, "place": 6}, {**lives, "place": 0}
    job = {"job": "c/7", "restarts": 1}
    for n, (owner, other, gone) in enumerate(
        (
            (lives, lives, False),
            (started_again, lives, True),
            (ended, lives, True),
            (elsewhere, lives, True),  # it lives, and this store is a copy of the one it works on
            (unknown, lives, False),
            (ended, {**lives, "machine": "another"}, False),
            (job, {"job": "c/7", "restarts": 2}, True),
            (job, job, False),
            (job, {"job": "c/8", "restarts": 2}, False),
            ({}, {}, False),
        )
    ):
        assert process(f"a{n}", **owner).leases.take(f"x/{n}")
        assert process(f"b{n}", **other).leases.take(f"x/{n}") == gone, (owner, other)


def test_who_was_held_up_before_his_link_gets_nothing(tmp_path):
    register = FolderRegister(tmp_path)
    first = tag = register.create("x", b"a")
    for text in (b"b", b"c"):
        assert tag is not None
        tag = register.replace("x", text, tag)
    assert tag is not None
    assert register.create("x", b"d") is None
    assert first is not None and register.replace("x", b"e", first) is None
    assert register.read("x") == (b"c", tag)
    register.remove("x", first)
    assert register.names("") == {"x"}
    register.remove("x", tag)
    assert register.read("x") is None and register.names("") == set()


def test_a_link_that_was_made_though_an_error_came_back_counts(tmp_path, monkeypatch):
    import os

    def lost_answer(existing, path, **how):
        real(existing, path)
        raise FileExistsError

    real = os.link
    monkeypatch.setattr(os, "link", lost_answer)
    register = FolderRegister(tmp_path)
    made = register.create("x", b"a")
    assert made is not None and register.read("x") == (b"a", made)


def test_a_sleeper_releases_nothing_of_who_took_the_lease_after_another_gave_it_back(process):
    sleeper, other, third = process("a"), process("bb"), process("ccc")
    sleeper.leases.take("x")
    other.leases.take("x")
    other.pass_(T + 1)
    assert other.leases.take("x")
    other.leases.release("x")
    assert third.leases.take("x"), "in the state in which the sleeper had it"
    sleeper.leases.release("x")
    assert third.leases.holds("x") and not other.leases.take("x")


def test_who_was_held_up_replaces_nothing_that_began_anew(tmp_path):
    register = FolderRegister(tmp_path)
    seen = register.create("x", b"a")
    assert seen is not None
    register.remove("x", seen)
    anew = register.create("x", b"b")
    assert register.replace("x", b"c", seen) is None
    assert register.read("x") == (b"b", anew)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"owner": {}}', b"\xff" * 9])
def test_an_unreadable_heartbeat_is_one_all_the_same(process, text):
    mine, other = process("a"), process("bb")
    mine.leases.take("x")
    found = mine.register.read("_alive/a")
    mine.register.replace("_alive/a", text, found[1])
    assert not other.leases.take("x")
    other.pass_(T + 1)
    assert other.leases.take("x")


def test_an_owner_tells_his_job(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "one")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    me = this_process(tmp_path)
    assert (me.job, me.restarts) == ("one/12", 3)
    earlier = dataclasses.replace(me, restarts=2)
    assert not earlier.has_ended(me), "this very process runs: its number tells more"
    assert dataclasses.replace(earlier, machine="another").has_ended(me)


@pytest.fixture
def listings(monkeypatch):
    """The folders that were listed."""
    found, real = list[str](), os.scandir

    def noting(folder):
        found.append(Path(folder).name)
        return real(folder)

    monkeypatch.setattr(os, "scandir", noting)
    return found


def test_however_many_leases_are_taken_at_once_their_folder_is_listed_a_few_times(
    process, listings
):
    names = [f"faces/clip/{shard:06d}" for shard in range(60)]
    mine, other = process("a"), process("bb")
    assert all(mine.leases.take_several(names))
    assert not any(other.leases.take_several(names))
    other.pass_(T + 1)
    assert all(other.leases.take_several(names))
    assert listings.count("clip") <= 6
    assert other.leases.holds_several(names) == [True] * 60
    assert mine.leases.holds_several(names) == [False] * 60


def test_of_many_leases_each_owner_s_heartbeat_is_looked_at_once(process, listings):
    names = [f"faces/clip/{shard:06d}" for shard in range(60)]
    gone, other = [process(letter) for letter in "abc"], process("dd")
    for n, one in enumerate(gone):
        assert all(one.leases.take_several(names[n::3]))
    other.leases.take_several(names)
    other.pass_(T + 1)
    listings.clear()
    assert all(other.leases.take_several(names))
    assert listings.count("_alive") <= 3 * len(gone)
    assert {other.leases.former(name) for name in names} == {"a", "b", "c"}

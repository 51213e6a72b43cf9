"""Claims of several hosts on one store: locks where they reach, leases where they don't."""

from __future__ import annotations

import dataclasses
import errno
import os
import threading
import time
from functools import partial
from secrets import token_hex
from typing import Any

import numpy as np
import pytest

from clare.errors import LostClaimError, StoreError
from clare.store.claims.claims import Claims
from clare.store.claims.heartbeats import Heartbeat
from clare.store.claims.locks import lock_file
from clare.store.claims.owner import Beat, this_process
from clare.store.claims.register import Clock
from clare.store.claims.terms import EXPIRE
from clare.store.feature_store import create_store, open_store
from clare.store.layout import Layout
from clare.store.maintenance.verify import verify_store
from tests.store.conftest import (
    ASSETS,
    FIELDS,
    FINGERPRINT,
    MADE_WITH,
    contents,
    extract,
    make_rows,
    shard_values,
)


class Host:
    """A host with a mount of the disk, a clock, and a process that claims."""

    def __init__(self, folder, mount, at_home: bool) -> None:
        self.time, self.asleep = 0.0, lambda: None
        mount.symlink_to(folder)
        self.path = mount / "features.zarr"

        def locks(path):
            return lock_file(path.with_name(f"{path.name}.{mount.name}") if at_home else path)

        self.claims = Claims(self.path / "locks", Clock(lambda: self.time, self.sleep), locks)

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.asleep()

    @property
    def feature(self):
        return open_store(self.path).feature("faces", "clip")


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """Two hosts; whether locks reach from one to the other is for each test to say."""
    made: dict = {}
    monkeypatch.setattr(Layout, "claims", property(lambda self: made[self.root].claims))

    def make(*, at_home: bool = True):
        (tmp_path / "disk").mkdir()
        several = [Host(tmp_path / "disk", tmp_path / name, at_home) for name in "ab"]
        made.update({host.path: host for host in several})
        return several

    yield make
    for host in made.values():
        host.claims.leave()


@pytest.fixture
def shared(hosts):
    """Two hosts that take leases, and a store of 100 rows, nothing of which is extracted."""
    several = hosts()
    for host in several:
        host.claims.configure(leases=True, expire=EXPIRE)
    fill(several[0])
    return several


def fill(host: Host) -> None:
    store = create_store(host.path)
    store.assign_rows("faces", make_rows(100))
    store.declare(FINGERPRINT, FIELDS)
    store.write_assets(FINGERPRINT.key, ASSETS)


def write(feature, shard: int) -> None:
    values = shard_values(feature.shard_rows(shard))
    try:
        feature.write_shard(shard, values, {}, MADE_WITH)
    finally:
        feature.release(shard)


@pytest.fixture
def undisturbed(tmp_path):
    def compare(path):
        assert verify_store(path) == []
        store = create_store(tmp_path / "other" / "features.zarr")
        store.assign_rows("faces", make_rows(100))
        extract(store)
        mine, theirs = contents(path), contents(store.path)
        assert {k: v for k, v in mine.items() if not k.endswith(".partial")} == theirs

    (tmp_path / "other").mkdir()
    real = Layout.__dict__["claims"]

    def checked(path):
        from clare.store.claims.claims import claims_of

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                Layout,
                "claims",
                property(
                    lambda self: (
                        claims_of(self.root / "locks")
                        if "other" in self.root.parts
                        else real.fget(self)
                    )
                ),
            )
            compare(path)

    return checked


def test_locks_that_reach_stay_locks(hosts):
    one, other = hosts(at_home=False)
    assert one.claims.take("x", 1) and not other.claims.take("x", 1)
    assert other.claims.take("x", 2) and not one.claims.take("x", 2)
    one.claims.release("x", 1)
    assert other.claims.take("x", 1)
    assert not one.claims.by_leases and not other.claims.by_leases


@pytest.mark.parametrize("take", [lambda c: c.take("x", 1), lambda c: c.take_several("x", [1])])
def test_the_heart_can_beat_while_one_who_left_waits_to_join_again(hosts, monkeypatch, take):
    one, other = hosts()
    assert one.claims.take("x", 1)
    ready, left, kept_out = other.claims._ready, list[bool](), list[bool]()

    def ready_but_left_at_once():
        if left:
            ready()
        left.append(True)

    def beats():
        one.claims.beat()
        heart = threading.Thread(target=other.claims.beat)
        heart.start()
        heart.join(0.0 if any(kept_out) else 1.0)
        kept_out.append(heart.is_alive())

    other.asleep = beats
    monkeypatch.setattr(other.claims, "_ready", ready_but_left_at_once)
    assert not take(other.claims)
    assert kept_out and not any(kept_out)


def test_locks_that_stay_at_home_are_found_out_and_held_ones_become_leases(hosts):
    one, other = hosts()
    assert one.claims.take("x", 1) and not one.claims.by_leases
    other.asleep = one.claims.beat
    assert not other.claims.take("x", 1), "held by a lock before, and by a lease now"
    assert one.claims.by_leases and other.claims.by_leases
    assert other.claims.take("x", 2) and not one.claims.take("x", 2)
    one.claims.require("x", 1)
    one.claims.release("x", 1)
    assert other.claims.take("x", 1)


def test_who_says_that_it_takes_leases_has_those_of_what_it_holds(hosts, monkeypatch):
    """Else another, who waited for that word alone, would take what is held by a lock."""
    one, other = hosts()
    assert one.claims.take("x", 1)
    asked: list[bool] = []
    real = Heartbeat.beat

    def beat(heart):
        real(heart)
        if heart.leases and heart.owner == one.claims.owner and not asked:
            asked.append(False)
            asked.append(other.claims.take("x", 1))

    monkeypatch.setattr(Heartbeat, "beat", beat)
    other.asleep = one.claims.beat
    assert not other.claims.take("x", 1)
    assert asked == [False, False]
    one.claims.require("x", 1)


@pytest.fixture
def strangers(hosts, monkeypatch):
    """Two hosts that know nothing of each other's processes."""
    several = hosts()
    for host in several:
        machine, name = str(host.path), host.path.parent.name
        me = dataclasses.replace(this_process(host.path.parent), machine=machine, host=name)
        myself = partial(dataclasses.replace, me)
        monkeypatch.setattr(host.claims, "myself", lambda new=myself: new(token=token_hex(8)))
    return several


def test_who_waits_for_long_until_it_is_clear_how_others_claim_has_no_second_owner(strangers):
    one, other = strangers
    assert one.claims.take("x", 1)

    def wait_long():
        other.time += 6
        other.claims.beat()
        if other.time > 30:
            one.claims.beat()

    other.asleep = wait_long
    other.claims.configure(leases=False, expire=2400.0)
    assert not other.claims.take("x", 1), "it left while it waited, and took a lock"
    assert other.claims.by_leases


def test_a_killed_process_of_this_host_is_waited_for_by_nobody(strangers):
    killed, other = strangers
    assert killed.claims.take("x", 1)
    said = dataclasses.replace(killed.claims.owner, host="b")  # of the same host, in a container
    beat = killed.claims.register.read(f"_alive/{said.token}")
    killed.claims.register.replace(
        f"_alive/{said.token}", Beat(said, 1, leases=False).to_bytes(), beat[1]
    )
    began = other.time
    assert other.claims.take("x", 1) and other.time == began


def test_whom_it_waits_for_is_told(strangers, caplog):
    killed, other = strangers
    assert killed.claims.take("x", 1)
    assert other.claims.take("x", 1)
    (told,) = caplog.messages
    me = killed.claims.owner
    assert f"waiting for process {me.pid} of a " in told and "for 25 seconds" in told


def test_who_waits_for_a_lease_is_told_whose_it_is(shared, caplog):
    one, other = shared
    assert one.claims.take("faces/rows")
    other.asleep = lambda: other.time > 5 and one.claims.release("faces/rows")
    with other.claims.exclusive("faces/rows"):
        pass
    (told,) = caplog.messages
    assert "the index of faces" in told and "for 240 seconds" in told


@pytest.mark.parametrize(
    ("name", "number", "what"),
    [
        ("faces/clip-ab", 3, "shard 3 of faces/clip-ab"),
        ("faces/rows", 0, "the index of faces"),
        ("faces/thumbnails", 2, "the pictures of shard 2 of faces"),
        ("extractors", 0, "the list of extractors"),
    ],
)
def test_what_was_lost_is_told_in_words(shared, name, number, what):
    sleeper, other = shared
    assert sleeper.claims.take(name, number) and not other.claims.take(name, number)
    other.time += EXPIRE + 1
    assert other.claims.take(name, number)
    with pytest.raises(LostClaimError, match=f"{what} in .*run the same again"):
        sleeper.claims.require(name, number)


def test_a_turn_that_came_late_is_not_lost(hosts):
    """Whoever waits in the kernel for long shows a heartbeat all the while."""
    one, other = hosts(at_home=False)
    order: list[str] = []
    with one.claims.exclusive("rows"):
        thread = threading.Thread(target=lambda: enter(other, order))
        thread.start()
        until = time.monotonic() + 5
        while not other.claims._asking and time.monotonic() < until:
            time.sleep(0.01)
        other.time += 60
        assert other.claims.beat(), "it is still there"
    thread.join(10)
    assert order == ["second"]


def no_links(*args, **options):
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_a_disk_without_hard_links_serves_by_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    store = create_store(tmp_path / "features.zarr")
    store.assign_rows("faces", make_rows(100))
    extract(store)
    assert verify_store(store.path) == []
    claims = store.layout.claims
    assert not claims.by_leases and claims.beat()
    assert len(list((store.path / "locks" / "_alive").iterdir())) == 1


def test_leases_are_refused_on_a_disk_without_hard_links(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    claims = Claims(tmp_path / "locks")
    claims.configure(leases=True, expire=EXPIRE)
    with pytest.raises(StoreError, match="has no hard links"):
        claims.take("x")
    left = [path.name for path in (tmp_path / "locks").iterdir()]
    assert left == ["_alive.lock"]


def test_leases_are_for_good_and_for_everybody(hosts):
    one, other = hosts(at_home=False)
    one.claims.configure(leases=True, expire=60.0)
    assert one.claims.take("x") and one.claims.by_leases
    assert not other.claims.take("x") and other.claims.by_leases
    assert other.claims.expire == 60.0, "the store says how long"


def test_a_sleeper_with_a_lock_finds_out_before_he_writes(hosts):
    sleeper, other = hosts()
    assert sleeper.claims.take("x", 1)
    other.claims.configure(leases=True, expire=EXPIRE)
    assert other.claims.take("x", 1), "it waited until the sleeper was gone for long"
    sleeper.time += 2 * EXPIRE
    with pytest.raises(LostClaimError, match="taken over"):
        sleeper.claims.require("x", 1)


def test_a_process_that_waits_remembers_what_it_saw_and_an_idle_one_shows_no_heartbeat(hosts):
    one, other = hosts()
    for host in (one, other):
        host.claims.configure(leases=True, expire=EXPIRE)
    assert one.claims.take("x")
    alive = one.path / "locks" / "_alive"
    for _ in range(3):
        assert not other.claims.take("x")
        assert len(list(alive.iterdir())) == 2
        other.time += EXPIRE / 3 + 1
        assert not other.claims.beat(), "it holds nothing, and asked for nothing for long"
        assert len(list(alive.iterdir())) == 1
    assert other.claims.take("x")


def test_one_waits_for_the_other_s_exclusive_claim(hosts):
    one, other = hosts()
    for host in (one, other):
        host.claims.configure(leases=True, expire=EXPIRE)
    order: list[str] = []
    with one.claims.exclusive("rows"):
        thread = threading.Thread(target=lambda: enter(other, order))
        thread.start()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def enter(host, order):
    with host.claims.exclusive("rows"):
        order.append("second")


def take_over(host: Host, shard: int):
    """What a second host does that saw no heartbeat for long: its feature, with the claim."""
    feature = host.feature
    assert not feature.claim(shard)
    host.time += EXPIRE + 1
    assert feature.claim(shard)
    return feature


def test_who_was_taken_over_writes_nothing(shared, undisturbed):
    sleeper, other = shared
    mine = sleeper.feature
    assert mine.claim(0)
    theirs = take_over(other, 0)
    with pytest.raises(LostClaimError):
        write(mine, 0)
    assert theirs.pending() == [0, 1]
    write(theirs, 0)
    assert mine.claim(1)
    write(mine, 1)
    undisturbed(other.path)


@pytest.mark.parametrize("record_too", [False, True])
def test_a_file_that_a_sleeper_puts_in_the_place_of_another_s_is_found(
    shared, undisturbed, monkeypatch, record_too
):
    sleeper, other = shared
    mine = sleeper.feature
    assert mine.claim(0)
    wrong = {k: np.full_like(v, 9) for k, v in shard_values(mine.shard_rows(0)).items()}

    # He falls asleep when his lease was just looked at, and the file is still to be linked.
    theirs: list[Any] = []
    real = os.link

    def sleep(existing, path, **how):
        if "/c/0/" in str(path) and not theirs:
            data = existing.read_bytes()
            theirs.append(take_over(other, 0))
            if record_too:
                write(theirs[0], 0)
                path.unlink()
                existing.write_bytes(data)  # of all orders, the one in which his link succeeds
        return real(existing, path, **how)

    monkeypatch.setattr(os, "link", sleep)
    with pytest.raises(LostClaimError):
        mine.write_shard(0, wrong, {}, MADE_WITH)
    mine.release(0)
    theirs[0].refresh()
    assert theirs[0].pending() == [0, 1], "what he mixed up is done again"
    if record_too:
        assert theirs[0].claim(0)
    write(theirs[0], 0)
    assert theirs[0].claim(1)
    write(theirs[0], 1)
    undisturbed(other.path)


def test_what_a_sleeper_puts_there_before_the_record_is_written_over(
    shared, undisturbed, monkeypatch
):
    """The new owner has written all fields when the old one's file comes, and then the record."""
    sleeper, other = shared
    mine = sleeper.feature
    assert mine.claim(0)
    theirs, real = take_over(other, 0), os.link
    done: list[Any] = []

    def disturb(existing, path, **how):
        if path.name == "000000.json" and not done:
            done.append(path)
            field = mine.array_path("pixels") / "c/0/0/0/0"
            damaged = bytearray(field.read_bytes())
            damaged[8:16] = bytes(8)
            damaged[12:16] = bytes(4)
            field.write_bytes(damaged)
        return real(existing, path, **how)

    monkeypatch.setattr(os, "link", disturb)
    write(theirs, 0)
    assert done
    assert theirs.claim(1)
    write(theirs, 1)
    undisturbed(other.path)


def test_what_a_killed_owner_left_is_cleared_by_who_takes_over_and_by_nobody_before(shared):
    killed, other = shared
    mine = killed.feature
    assert mine.claim(0)
    shard = mine.array_path("clip_cls") / "c" / "0"
    shard.mkdir(parents=True)
    left = killed.claims.fence("faces/x", 0).partial(shard / "0")
    left.write_bytes(b"half")
    assert not other.feature.claim(0) and left.exists()
    theirs = take_over(other, 0)
    assert not left.exists()
    theirs.release(0)


def test_rows_of_two_hosts_get_slots_of_their_own(shared):
    one, other = shared
    open_store(one.path).assign_rows("faces", make_rows(130))
    got = open_store(other.path).assign_rows("faces", make_rows(10, start=500))
    assert got.slots.tolist() == list(range(192, 202))
    assert verify_store(other.path) == []


def test_a_store_that_was_moved_leaves_nothing_at_its_old_place(tmp_path):
    claims = Claims(tmp_path / "store" / "locks")
    for name, number in (("a", 1), ("b", 2)):
        assert claims.take(name, number)
    (tmp_path / "store").rename(tmp_path / "moved")
    claims.release("a", 1)
    claims.beat()
    claims.leave()
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]
    assert Claims(tmp_path / "moved" / "locks").take("b", 2)

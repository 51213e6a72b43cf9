"""Watching hundreds of others: who is gone is known in time, and who may end since others stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from clare.store.claims.claims import Claims
from clare.store.claims.owner import Owner
from clare.store.claims.place import Place
from clare.store.claims.register import Clock
from clare.store.claims.terms import EXPIRE


class Host(Place):
    """A place with a token of one's choice and a clock that all share."""

    time = 0.0

    def __init__(self, folder: Path, token: str) -> None:
        super().__init__(folder)
        self.token = token * 16

    def myself(self) -> Owner:
        return Owner(self.token, host=self.token, machine=self.token)

    def sleep(self, seconds: float) -> None:
        Host.time += seconds


@pytest.fixture
def several(tmp_path):
    """Processes by the letter of their tokens, all of which take leases."""
    Host.time, made = 0.0, []

    def begin(token: str) -> Claims:
        host = Host(tmp_path / "locks", token)
        claims = Claims(host.folder, Clock(lambda: Host.time, host.sleep), place=host)
        claims.configure(leases=True, expire=EXPIRE)
        made.append(claims)
        return claims

    yield lambda tokens: [begin(token) for token in tokens]
    for claims in made:
        claims.leave()


def live(*claims: Claims, seconds: float) -> None:
    """Let time pass in which these hearts beat."""
    for _ in range(int(seconds / 10)):
        Host.time += 10
        for one in claims:
            one.beat()


def test_what_one_that_died_long_ago_had_is_free_at_once_for_whom_never_met_it(several):
    killed, other = several("ab")
    assert killed.take("faces/clip", 1) and other.take("faces/clip", 2)
    live(killed, other, seconds=60)
    live(other, seconds=EXPIRE - 20)
    assert not other.take("faces/clip", 1), "it may live"
    live(other, seconds=60)
    assert other.take("faces/clip", 1)


def test_who_beat_before_it_was_met_is_no_ghost(several):
    early, late = several("ab")
    assert late.take("faces/clip", 2)
    live(late, seconds=EXPIRE)
    assert early.take("faces/clip", 1)
    live(early, late, seconds=2 * EXPIRE)
    assert not late.take("faces/clip", 1)


def test_those_stay_that_claim_something_or_come_first(several):
    first, second, third, busy = several("abcd")
    assert all(one.take(f"faces/{at}") for at, one in enumerate((first, second, third, busy)))
    assert not third.others_stay(2), "nobody was seen to beat yet"
    for one in (first, second, third):
        one.release(f"faces/{[first, second, third].index(one)}")
        one.take("faces/3")  # it is asked for, and another has it
    for _ in range(6):
        live(busy, seconds=10)
        for one in (first, second, third):
            one.take("faces/3")
            one.beat()
            one.others_stay(1)
    found = {one.owner.host[0]: one.others_stay(2) for one in (first, second, third, busy)}
    assert found == {"a": False, "b": True, "c": True, "d": True}
    assert first.others_stay(1), "for there is one that claims something"
    busy.release("faces/3")
    busy.beat()
    busy.leave()
    assert not first.others_stay(1), "the first of those that wait stays in any case"


def test_who_died_is_not_counted_on(several):
    first, second, waiting = several("abc")
    for at, one in enumerate((first, second)):
        assert one.take(f"faces/{at}")
    for _ in range(4):
        live(first, second, seconds=10)
        waiting.take("faces/0")
        waiting.others_stay(2)
    assert waiting.others_stay(2)
    Host.time += 100
    assert not waiting.others_stay(2)


def test_who_slept_while_others_beat_and_died_does_not_take_them_for_alive(several):
    first, second, sleeper = several("abc")
    for at, one in enumerate((first, second)):
        assert one.take(f"faces/{at}")
    sleeper.take("faces/0")
    sleeper.others_stay(2)
    live(first, second, seconds=60)
    Host.time += 60
    sleeper.take("faces/0")
    assert not sleeper.others_stay(2), "their last beat was seen now, and may be old"

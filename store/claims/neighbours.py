"""How the other processes of a store claim: whether locks keep them out, or leases have to.

Each process holds the lock of a byte drawn for it. Whoever is granted the byte of a process that
lives knows that locks keep nobody out here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from clare.store.claims.heartbeats import Watch
from clare.store.claims.locks import LockFile
from clare.store.claims.owner import Beat, Owner, same_host
from clare.store.claims.terms import SURE_BEATS

_present: set[str] = set()
"""The tokens under which this process claims something, in whatever store."""


@dataclass(frozen=True)
class View:
    """What was seen of the others.

    Args:
        unclear: one of whom it is not clear yet whether it lives, and how it claims; None if none.
        locks_fail: whether a lock was granted that a living process holds.
    """

    unclear: Owner | None = None
    locks_fail: bool = False


class Neighbours:
    """The others, as one process sees them from its first claim to its last.

    Args:
        owner: the process.
        watch: over the heartbeats of the others.
        beat_seconds: from one heartbeat to the next.
        here: whether the store is on a disk of this host, whose kernel sees every lock.
    """

    def __init__(self, owner: Owner, watch: Watch, beat_seconds: float, *, here: bool) -> None:
        self._owner, self._watch = owner, watch
        self._beat_seconds, self._here = beat_seconds, here
        self._alive: LockFile | None = None
        self._known: set[str] = set()  # whom locks keep out
        self._granted: dict[str, int] = {}  # whose byte was to be had: what their beat was
        _present.add(owner.token)

    def show(self, alive: LockFile) -> None:
        """Hold the byte by which others see whether locks keep them out."""
        alive.acquire(_byte(self._owner.token), wait=True)
        self._alive = alive

    def leave(self) -> None:
        """The process claims nothing any more."""
        _present.discard(self._owner.token)
        if self._alive is not None:
            self._alive.release(_byte(self._owner.token))

    def try_locks(self) -> View:
        """See whether locks keep the others out."""
        unclear = None
        for token in self._watch.tokens() - self._known:
            seen = self._watch.look(token, fresh=True)
            if seen is None:
                continue
            if seen.owner.has_ended(self._owner) or self._has_left(seen.owner):
                self._watch.forget(token)
                continue
            if self._is_kept_out(token):
                self._known.add(token)
                continue
            if self._lives(seen):
                return View(locks_fail=True)
            silent = self._watch.unchanged(token) > SURE_BEATS * self._beat_seconds
            # Here the kernel sees every lock: who let his go has ended, also in a container.
            if silent or (self._here and same_host(seen.owner, self._owner)):
                self._watch.forget(token)
            else:
                unclear = seen.owner
        return View(unclear)

    def await_leases(self) -> View:
        """See whether all others have found out that leases are taken."""
        for token in self._watch.tokens():
            seen = self._watch.look(token, fresh=True)
            if seen is None or seen.leases:
                continue
            if not self._watch.is_gone(token):
                return View(seen.owner)
            self._watch.forget(token)
        return View()

    def _is_kept_out(self, token: str) -> bool:
        """Whether the lock of another's byte is refused."""
        assert self._alive is not None
        granted = self._alive.acquire(_byte(token))
        if granted:
            self._alive.release(_byte(token))
        return not granted

    def _has_left(self, owner: Owner) -> bool:
        """Whether it is this process that left, and could not say so: the store had been moved."""
        mine = self._owner.machine, self._owner.pid, self._owner.started
        return (owner.machine, owner.pid, owner.started) == mine and owner.token not in _present

    def _lives(self, beat: Beat) -> bool:
        """Whether a process lives for certain whose byte is to be had: it has beaten since."""
        me, token = self._owner, beat.owner.token
        before = self._granted.setdefault(token, beat.count)
        if me.machine and me.machine == beat.owner.machine:
            # Who ends takes his heartbeat away first, and a killed one is seen to have ended.
            return not beat.owner.has_ended(me) and self._watch.look(token, fresh=True) is not None
        return beat.count != before


def _byte(token: str) -> int:
    return int(token, 16) >> 2  # a place in a file has 63 bits


os.register_at_fork(after_in_child=_present.clear)

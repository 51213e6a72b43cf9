"""Claims that hold where no lock does: entries in a register, good while their owner's heart beats.

A lease names its owner's heartbeat, so that however many a process has, it shows one sign of life.
A lease whose owner is gone is taken over by replacing it, which one of several manages. Its former
owner may only have slept: it looks at its lease directly before each file that it publishes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from clare.store.claims.heartbeats import Heartbeat, Watch
from clare.store.claims.owner import Owner
from clare.store.claims.register import Register, Tag

LEASES = "_leases"
"""The folder of leases."""

_REQUESTS = 16
"""At a time."""


class Leases:
    """The leases of one process.

    Args:
        register: keeps them.
        heartbeat: of this process; it beats already.
        watch: over the others.
    """

    def __init__(self, register: Register, heartbeat: Heartbeat, watch: Watch) -> None:
        self.me = heartbeat.owner
        self._register = register
        self._heartbeat = heartbeat
        self._watch = watch
        self._held: dict[str, Tag] = {}
        self._former: dict[str, str] = {}
        self._one = threading.Lock()

    def take(self, name: str) -> bool:
        """Take a lease; False where somebody else holds it, who is not known to be gone."""
        with self._one:
            return self._take(name)

    def take_several(self, names: Sequence[str]) -> list[bool]:
        """`take` of each, several requests at a time; all have other names."""
        with self._one, ThreadPoolExecutor(_REQUESTS) as pool:
            return list(pool.map(self._take, names))

    def claimed(self, name: str, numbers: Sequence[int]) -> set[int]:
        """Those whose leases somebody holds, whether he lives or not, by one list."""
        there = self._register.names(f"{LEASES}/{name}")
        return {number for number in numbers if f"{number:06d}" in there}

    def _take(self, name: str) -> bool:
        if name in self._held:
            return False
        entry, data = f"{LEASES}/{name}", self.me.token.encode()
        found = self._register.read(entry)
        if found is None:
            tag = self._register.create(entry, data)
        elif found[0] != data and not self._watch.is_gone(_token(found[0])):
            return False
        else:
            tag = self._register.replace(entry, data, found[1])
        if tag is None:
            return False
        self._held[name] = tag
        if found is not None:
            self._former[name] = _token(found[0])
        return True

    def release(self, name: str) -> None:
        """Give a lease back."""
        with self._one:
            self._release(name)

    def release_several(self, names: Sequence[str]) -> None:
        """`release` of each, several requests at a time."""
        with self._one, ThreadPoolExecutor(_REQUESTS) as pool:
            list(pool.map(self._release, names))

    def _release(self, name: str) -> None:
        tag = self._held.pop(name, None)
        self._former.pop(name, None)
        if tag is not None:
            self._register.remove(f"{LEASES}/{name}", tag)

    def holds(self, name: str) -> bool:
        """Whether a lease is still this process's own: it asks, since others may have taken it.

        A process that slept shows itself first, so that nobody takes its lease from now on.
        """
        tag = self._held.get(name)
        if tag is None:
            return False
        if self._watch.since(self._heartbeat.last) > self._watch.expire / 2:
            self._heartbeat.beat()
        return self._register.read(f"{LEASES}/{name}") == (self.me.token.encode(), tag)

    def former(self, name: str) -> str:
        """The token of a process that is gone, whose lease this one took over; empty if none."""
        return self._former.get(name, "")

    def holder(self, name: str) -> Owner | None:
        """Who holds a lease, as far as he says who he is; None where nobody does."""
        found = self._register.read(f"{LEASES}/{name}")
        if found is None:
            return None
        beat = self._watch.look(_token(found[0]))
        return Owner(_token(found[0])) if beat is None else beat.owner


def _token(data: bytes) -> str:
    return data.decode("ascii", errors="replace")

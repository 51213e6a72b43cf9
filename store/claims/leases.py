"""Claims that hold where no lock does: entries in a register, good while their owner's heart beats.

A lease names its owner's heartbeat, so that however many a process has, it shows one sign of life.
A lease whose owner is gone is taken over by replacing it, which one of several manages. Its former
owner may only have slept: it looks at its lease directly before each file that it publishes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from clare.store.claims.heartbeats import Heartbeat, Watch
from clare.store.claims.owner import Owner
from clare.store.claims.register import Register, Tag, each_of

LEASES = "_leases"
"""The folder of leases."""


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
        return self.take_several([name])[0]

    def take_several(self, names: Sequence[str]) -> list[bool]:
        """`take` of each, several requests at a time; all have other names."""
        with self._one:
            entries = [_entry(name) for name in names if name not in self._held]
            each = self._register.read_several(entries)
            found = dict(zip(entries, each, strict=True))
            owners = {_token(one) for one in each if one is not None}
            gone = {token for token in owners if self._is_gone(token)}  # each is looked at once
            free = {
                entry: None if one is None else one[1]
                for entry, one in found.items()
                if one is None or _token(one) in gone
            }
            taken = self._register.write_several(self.me.token.encode(), free)
            for name in names:
                if (tag := taken.get(_entry(name))) is not None:
                    self._held[name] = tag
                    if (before := found[_entry(name)]) is not None:
                        self._former[name] = _token(before)
            return [_entry(name) in taken for name in names]

    def claimed(self, name: str, numbers: Sequence[int]) -> set[int]:
        """Those whose leases somebody holds, whether he lives or not, by one list."""
        there = self._register.names(f"{LEASES}/{name}")
        return {number for number in numbers if f"{number:06d}" in there}

    def _is_gone(self, token: str) -> bool:
        """Whether nobody else holds the leases of this token."""
        return token == self.me.token or self._watch.is_gone(token)

    def release(self, name: str) -> None:
        """Give a lease back."""
        with self._one:
            self._release(name)

    def release_several(self, names: Sequence[str]) -> None:
        """`release` of each, several requests at a time."""
        with self._one:
            each_of(self._release, names)

    def _release(self, name: str) -> None:
        tag = self._held.pop(name, None)
        self._former.pop(name, None)
        if tag is not None:
            self._register.remove(_entry(name), tag)

    def holds(self, name: str) -> bool:
        """Whether a lease is still this process's own: it asks, since others may have taken it.

        A process that slept shows itself first, so that nobody takes its lease from now on.
        """
        return self.holds_several([name])[0]

    def holds_several(self, names: Sequence[str]) -> list[bool]:
        """`holds` of each, several requests at a time."""
        held = [name for name in names if name in self._held]
        if held and self._watch.since(self._heartbeat.last) > self._watch.expire / 2:
            self._heartbeat.beat()
        each = self._register.read_several([_entry(name) for name in held])
        found = dict(zip(held, each, strict=True))
        mine = self.me.token.encode()
        return [name in found and found[name] == (mine, self._held[name]) for name in names]

    def former(self, name: str) -> str:
        """The token of a process that is gone, whose lease this one took over; empty if none."""
        return self._former.get(name, "")

    def holder(self, name: str) -> Owner | None:
        """Who holds a lease, as far as he says who he is; None where nobody does."""
        found = self._register.read(_entry(name))
        if found is None:
            return None
        beat = self._watch.look(_token(found))
        return Owner(_token(found)) if beat is None else beat.owner


def _entry(name: str) -> str:
    return f"{LEASES}/{name}"


def _token(found: tuple[bytes, Tag]) -> str:
    return found[0].decode("ascii", errors="replace")

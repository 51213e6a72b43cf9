"""What a process holds in a store, by locks or by leases; one thread at a time may ask."""

from __future__ import annotations

from collections.abc import Sequence

from clare.store.claims.leases import Leases
from clare.store.claims.locks import LockFile
from clare.store.claims.owner import Owner
from clare.store.claims.place import Place
from clare.store.claims.subjects import entry_of


class Holdings:
    """Claims by name and number.

    Args:
        place: where they are kept.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._held: set[tuple[str, int]] = set()
        # Kept open: where the store was moved, a look at its place would make another file there.
        self._locked: dict[tuple[str, int], LockFile] = {}
        self._leases: Leases | None = None

    def __bool__(self) -> bool:
        return bool(self._held)

    @property
    def by_leases(self) -> bool:
        """Whether claims are leases."""
        return self._leases is not None

    def change_to(self, leases: Leases) -> None:
        """Hold by leases from now on what is held by locks too."""
        for name, number in self._held:
            leases.take(entry_of(name, number))  # who is refused finds it lost
        self._leases = leases

    def forget_leases(self) -> None:
        """There is nothing to give back any more, or nothing is held."""
        self._leases = None

    def take(self, name: str, number: int) -> bool:
        """Claim something; False where somebody else has it, another thread among them."""
        if (name, number) in self._held:
            return False
        if self._leases is not None:
            taken = self._leases.take(entry_of(name, number))
        elif taken := (lock := self._place.lock(name)).acquire(number):
            self._locked[name, number] = lock
        if taken:
            self._held.add((name, number))
        return taken

    def take_several(self, name: str, numbers: Sequence[int]) -> list[int]:
        """Claim several; those that nobody else has. Leases are taken many at a time."""
        if self._leases is None:
            return [number for number in numbers if self.take(name, number)]
        free = [number for number in numbers if (name, number) not in self._held]
        each = self._leases.take_several([entry_of(name, number) for number in free])
        taken = [number for number, ours in zip(free, each, strict=True) if ours]
        self._held |= {(name, number) for number in taken}
        return taken

    def claimed(self, name: str, numbers: Sequence[int]) -> set[int]:
        """Those that somebody has."""
        if self._leases is not None:
            return self._leases.claimed(name, numbers)
        lock = self._place.lock(name)
        return {number for number in numbers if not lock.is_free(number)}

    def keep(self, name: str, number: int, lock: LockFile) -> None:
        """Hold what was waited for in the kernel."""
        self._held.add((name, number))
        self._locked[name, number] = lock

    def release(self, name: str, number: int) -> None:
        """Give a claim back, if it is held."""
        if (name, number) not in self._held:
            return
        self._held.discard((name, number))
        if self._leases is not None:
            self._leases.release(entry_of(name, number))
        if lock := self._locked.pop((name, number), None):
            lock.release(number)

    def release_several(self, name: str, numbers: Sequence[int]) -> None:
        """Give several claims back, those that are held."""
        if self._leases is not None:
            held = [number for number in numbers if (name, number) in self._held]
            self._leases.release_several([entry_of(name, number) for number in held])
        for number in numbers:
            self.release(name, number)

    def release_all(self) -> None:
        """Give everything back."""
        for name, number in list(self._held):
            self.release(name, number)

    def lost(self, name: str, numbers: Sequence[int]) -> list[int]:
        """Of several claims those that are leases and not this process's own any more."""
        if self._leases is None:
            return []
        each = self._leases.holds_several([entry_of(name, number) for number in numbers])
        return [number for number, ours in zip(numbers, each, strict=True) if not ours]

    def former(self, name: str, number: int) -> str:
        """The token of who held a lease before and is gone; empty if nobody did."""
        return self._leases.former(entry_of(name, number)) if self._leases is not None else ""

    def holder(self, name: str, number: int) -> Owner | None:
        """Who holds a lease; None where nobody does, or it is a lock."""
        return None if self._leases is None else self._leases.holder(entry_of(name, number))

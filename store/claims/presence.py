"""A process among those that claim something in one store, from its first claim to its last."""

from __future__ import annotations

from contextlib import suppress

from clare.errors import ClareError
from clare.store.claims.heartbeats import Heartbeat, Watch
from clare.store.claims.holdings import Holdings
from clare.store.claims.leases import Leases
from clare.store.claims.neighbours import Neighbours
from clare.store.claims.owner import Owner
from clare.store.claims.place import Place
from clare.store.claims.register import Clock
from clare.store.claims.terms import BEATS_A_LIFE, EXPIRE, read_mode, say_leases


class Presence:
    """Shows a heartbeat, and finds out with the others whether locks serve or leases have to.

    Its caller lets one thread in at a time.

    Args:
        place: of the store's claims.
        holdings: of the process, which become leases where locks keep nobody out.
        clock: this process's time.
    """

    def __init__(self, place: Place, holdings: Holdings, clock: Clock) -> None:
        self.owner: Owner
        self.expire = EXPIRE
        self.joined = self._settled = False
        self.watch = Watch(place.register, clock)
        self._place, self._holdings, self._clock = place, holdings, clock
        self._heartbeat: Heartbeat
        self._neighbours: Neighbours

    @property
    def beat_seconds(self) -> float:
        """Seconds from one heartbeat to the next."""
        return self.expire / BEATS_A_LIFE

    @property
    def slept(self) -> bool:
        """Whether this process was held up for so long that others may think it is gone."""
        return self.watch.since(self._heartbeat.last) > self.expire / 2

    def join(self, owner: Owner, *, leases: bool) -> None:
        """Be there from now on.

        Args:
            owner: the process, under a new token: an old one means nothing to anybody.
            leases: take leases, whatever locks would do.
        """
        place = self._place
        self.owner = owner
        leases = self._read_mode() or leases or not place.locks_may_serve()
        here = place.is_of_this_host()
        self._neighbours = Neighbours(owner, self.watch, self.beat_seconds, here=here)
        self._heartbeat = Heartbeat(place.register, owner, self._clock)
        # What was seen before it left is still good.
        self.watch.begin(owner, self.expire, self.beat_seconds)
        self._settled = False
        # In this order: who sees the heartbeat, and that of a process that uses locks, tries it.
        if lock := place.lock_of_life():
            self._neighbours.show(lock)
        if leases:
            self.change_to_leases()
        else:
            self._heartbeat.beat()
        self.joined = True

    def leave(self) -> None:
        """Show no heartbeat any more; nothing is held."""
        if self.joined:
            self.joined = False
            self._holdings.forget_leases()
            with suppress(OSError, ClareError):
                self._heartbeat.end()
            with suppress(OSError, ClareError):
                self._neighbours.leave()

    def beat(self) -> None:
        """Show a heartbeat, and look at those of others where locks are to keep them out."""
        self._heartbeat.busy = bool(self._holdings)
        self._heartbeat.beat()
        if self._holdings.by_leases:
            self.watch.keep_watch()
        else:
            self._try_locks()

    def change_to_leases(self) -> None:
        """Take leases, for good; the store says so to everybody.

        Raises:
            StoreError: none would be safe here.
        """
        self._place.require_leases_hold()
        if not self._read_mode():
            say_leases(self._place.register, self.expire)
        self.watch.expire = self.expire
        # In this order: whoever reads that this process takes leases finds those that it has.
        self._holdings.change_to(Leases(self._place.register, self._heartbeat, self.watch))
        self._heartbeat.leases = True
        self._heartbeat.beat()
        self._settled = False

    def unclear(self) -> Owner | None:
        """One of those of whom it is not clear yet how they claim; None where all is clear."""
        if not self.joined or self._settled:
            return None
        unclear = None if self._holdings.by_leases else self._try_locks()
        if self._holdings.by_leases:
            # Those that use locks must have seen that others do not.
            unclear = self._neighbours.await_leases().unclear
        self._settled = unclear is None
        return unclear

    def _try_locks(self) -> Owner | None:
        """See whether locks keep the others out, and change to leases if not.

        Returns:
            Of whom it is still unclear, since it may have ended.
        """
        if not self._read_mode():
            seen = self._neighbours.try_locks()
            if not seen.locks_fail:
                return seen.unclear
        self.change_to_leases()
        return None

    def _read_mode(self) -> bool:
        """Whether the store says that leases are taken; how long they last it says too."""
        leases, expire = read_mode(self._place.register)
        self.expire = expire or self.expire
        return leases

"""The claims of this process in one store: kernel locks where they keep everybody out, else leases.

Each process that claims anything shows a heartbeat, and sees how the others claim
(`clare.store.claims.neighbours`). Whoever finds out that locks keep nobody out says so in the store
(`clare.store.claims.terms`): from then on everybody takes leases, those too that hold locks.
"""

from __future__ import annotations

import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from clare.errors import ClareError, LostClaimError
from clare.files import Fence
from clare.store.claims.fence import ClaimFence
from clare.store.claims.holdings import Holdings
from clare.store.claims.locks import LockFile, lock_file
from clare.store.claims.owner import Owner
from clare.store.claims.place import Place
from clare.store.claims.presence import Presence
from clare.store.claims.pulse import PULSE
from clare.store.claims.register import Clock
from clare.store.claims.subjects import described
from clare.store.claims.terms import SURE_BEATS, next_look
from clare.store.claims.waiting import Awaited, Waiting

_POLL = 0.2
_IDLE = 5.0
"""Seconds after which a process that claims nothing shows no heartbeat any more."""


class Claims:
    """What this process claims in one store; made by `claims_of`.

    Args:
        folder: of the store's claims.
        clock: this process's time.
        locks: opens a file of locks.
        place: where claims are kept; the folder if left out.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock | None = None,
        locks: Callable[[Path], LockFile] = lock_file,
        place: Place | None = None,
    ) -> None:
        self.folder = folder
        self._place = place or Place(folder, locks)
        self.register = self._place.register
        self._force = False
        self._clock = clock or Clock(time.monotonic, time.sleep)
        self._one = threading.RLock()
        self._used = -math.inf  # when something was last asked for
        self._asking = 0  # threads that wait for a claim
        self._holdings = Holdings(self._place)
        self._presence = Presence(self._place, self._holdings, self._clock)

    @property
    def owner(self) -> Owner:
        """This process, under the token of its present claims."""
        return self._presence.owner

    @property
    def expire(self) -> float:
        """Seconds without a heartbeat after which leases are lost."""
        return self._presence.expire

    @property
    def by_leases(self) -> bool:
        """Whether claims are leases: then a claim may be lost to others, and files may be stale."""
        return self._holdings.by_leases

    @property
    def beat_seconds(self) -> float:
        """Seconds from one heartbeat to the next."""
        return self._presence.beat_seconds

    def configure(self, *, leases: bool, expire: float) -> None:
        """Say how to claim; what the store says already stays as it is.

        Args:
            leases: take leases, whatever locks would do; for good, and for everybody.
            expire: seconds without a heartbeat after which a process has lost its leases.
        """
        with self._one:
            self._force = leases
            if not self._presence.joined:
                self._presence.expire = expire
            elif leases and not self.by_leases:
                self._presence.change_to_leases()

    def take(self, name: str, number: int = 0) -> bool:
        """Claim something, without waiting; False where somebody else has it."""
        with self._joined():
            return self._holdings.take(name, number)

    def take_several(self, name: str, numbers: Sequence[int]) -> list[int]:
        """Claim several, without waiting; those that nobody else has."""
        with self._joined():
            return self._holdings.take_several(name, numbers)

    def claimed(self, name: str, numbers: Sequence[int]) -> set[int]:
        """Those that somebody claims, which costs less than to try each; one who died may be it."""
        with self._joined():
            return self._holdings.claimed(name, numbers)

    def release(self, name: str, number: int = 0) -> None:
        """Give a claim back."""
        with self._one:
            self._holdings.release(name, number)

    def release_several(self, name: str, numbers: Sequence[int]) -> None:
        """Give several claims back."""
        with self._one:
            self._holdings.release_several(name, numbers)

    @contextmanager
    def exclusive(self, name: str, number: int = 0) -> Iterator[Fence]:
        """Hold a claim, among processes and threads; waits for its turn.

        Yields:
            Through which the files are written that the claim is about.
        """
        with self._staying():
            self._ready()
            waiting = self._waiting(partial(self._holder, name, number))
            while not self._wait_for(name, number):
                waiting.sleep(random.uniform(0.2, 1) * _POLL)
        try:
            yield self.fence(name, number)
        finally:
            self.release(name, number)

    def fence(self, name: str, number: int = 0) -> Fence:
        """How files are written that a claim of this process is about."""
        return ClaimFence(self, name, number)

    def first_of(self, count: int) -> int:
        """Where among so many to begin: at 0, or where others claim here, anywhere."""
        with self._one:
            presence = self._presence
            if not presence.joined or count < 2 or not presence.watch.tokens():
                return 0
            return random.randrange(count)

    def next_look(self, waited: float, first: float) -> float:
        """Seconds until it is worth while to look again whether others ended what they claim.

        Args:
            waited: what this returned before; 0 if it was not asked before.
            first: the answer of locks, which may be given back at any time.
        """
        return next_look(waited, self.beat_seconds) if self.by_leases else first

    def others_stay(self, least: int) -> bool:
        """Whether this process may end, for so many others stay until all is done.

        That takes a while to be seen: ask again and again while waiting for what they claim.
        """
        with self._one:
            return self._presence.joined and self._presence.watch.others_stay(least)

    def wait(self, seconds: float) -> None:
        """Let time pass until one looks again at what others claim; the heart beats meanwhile."""
        with self._staying():
            self._clock.sleep(seconds)

    def former(self, name: str, number: int) -> str:
        """The token of a process that is gone, whose claim this one took over; empty if none."""
        with self._one:
            return self._holdings.former(name, number)

    def require(self, name: str, number: int = 0) -> None:
        """See that a claim is still this process's own.

        Raises:
            LostClaimError: it was taken over.
        """
        self.require_several(name, [number])

    def require_several(self, name: str, numbers: Sequence[int]) -> None:
        """`require` of each, several requests at a time; no heart beats meanwhile.

        Raises:
            LostClaimError: one was taken over.
        """
        with self._one:
            if not self.by_leases and self._presence.slept and self._is_there():
                self._presence.beat()  # see first what others have found meanwhile
            lost = self._holdings.lost(name, numbers)
        if lost:
            raise LostClaimError(
                f"{described(name, lost[0])} in {self.folder.parent} was taken over by another "
                f"process, because this one was held up for more than {self.expire:.0f} seconds",
                "run the same again: it goes on with what is left",
            )

    def beat(self) -> bool:
        """What is done every few seconds; False where nothing is claimed any more."""
        with self._one:
            if not self._presence.joined:
                return False
            idle = not self._holdings and not self._asking
            if idle and self._clock.now() - self._used > _IDLE:
                self.leave()
                return False
            with suppress(OSError, ClareError):  # a server that is away for a while
                if self._is_there():
                    self._presence.beat()
                self._presence.watch.sweep()
            return self._presence.joined

    def leave(self) -> None:
        """Give everything back, and show no heartbeat any more."""
        with self._one:
            self._holdings.release_all()
            self._presence.leave()

    def myself(self) -> Owner:
        """This process, under a new token."""
        return self._place.myself()

    @contextmanager
    def _staying(self) -> Iterator[None]:
        """While something is asked for the heart beats, however long that takes."""
        with self._one:
            self._asking += 1
        try:
            yield
        finally:
            with self._one:
                self._asking -= 1
                self._used = self._clock.now()

    @contextmanager
    def _joined(self) -> Iterator[None]:
        """One thread among those that claim; it waits for that without keeping others out."""
        with self._staying():
            while True:
                self._ready()
                with self._one:
                    if self._presence.joined:  # else it left once more
                        yield
                        return

    def _ready(self) -> None:
        """Begin to claim, once; waits until it is clear how others do."""
        unclear: Owner | None = None

        def whom() -> Awaited | None:
            seconds = self.expire if self.by_leases else SURE_BEATS * self.beat_seconds
            return ("how it claims", unclear, seconds) if unclear is not None else None

        waiting = self._waiting(whom)
        while True:
            with self._one:
                if not self._presence.joined:
                    self._place.begin()
                    self._presence.join(self.myself(), leases=self._force)
                    PULSE.add(self)
                if (unclear := self._presence.unclear()) is None:
                    return
            waiting.sleep(_POLL)

    def _is_there(self) -> bool:
        """Whether there still is such a store; if not, there is nothing to give back."""
        if not self._place.is_there():
            self._holdings.forget_leases()
            self.leave()
        return self._presence.joined

    def _wait_for(self, name: str, number: int) -> bool:
        """Take a claim; waits in the kernel where it is a lock. False: try again."""
        if self.by_leases:
            return self.take(name, number)
        lock = self._place.lock(name)
        lock.acquire(number, wait=True)
        with self._one:
            if not self.by_leases and self._presence.joined:
                self._holdings.keep(name, number, lock)
                return True
        lock.release(number)
        self._ready()
        return False

    def _waiting(self, whom: Callable[[], Awaited | None]) -> Waiting:
        return Waiting(self.folder.parent, self._clock, whom)

    def _holder(self, name: str, number: int) -> Awaited | None:
        """Who holds a lease that is waited for."""
        with self._one:
            holder = self._holdings.holder(name, number)
            return None if holder is None else (described(name, number), holder, self.expire)


_known: dict[Path, Claims] = {}
_opening = threading.Lock()


def claims_of(folder: Path) -> Claims:
    """The claims of this process in a store, by the folder of its claims."""
    with _opening:
        if folder not in _known:
            _known[folder] = Claims(folder)
        return _known[folder]


def _forget_claims_of_parent() -> None:
    global _known, _opening
    _known, _opening = {}, threading.Lock()


os.register_at_fork(after_in_child=_forget_claims_of_parent)

"""The claims of this process in one store: kernel locks where they keep everybody out, else leases.

Each process that claims anything shows a heartbeat and holds the lock of a byte drawn for it.
Whoever is granted the byte of a process that lives knows that locks keep nobody out here. He says
so in the store (`_mode`): from then on everybody takes leases, those too that hold locks.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clare.errors import ClareError, LostClaimError
from clare.files import PARTIAL, Fence, make_folder
from clare.foreign import parse_json
from clare.store.claims.folder_register import FolderRegister, link, require_links
from clare.store.claims.heartbeats import Heartbeat, Watch
from clare.store.claims.leases import Leases
from clare.store.claims.locks import LockFile, lock_file
from clare.store.claims.mounts import is_of_this_host, locks_may_reach
from clare.store.claims.owner import Beat, Owner, same_host, this_process
from clare.store.claims.pulse import PULSE
from clare.store.claims.register import Clock, ListedRegister, Register

EXPIRE = 240.0
"""Seconds without a heartbeat after which a process has lost its claims: longer than any pause of a
server, of what a network disk's client remembers, or of a model that lets no thread run."""

LEAST_EXPIRE = 2.0
"""Fewer seconds would make every hiccup of a disk a loss."""

BEATS_A_LIFE = 24
"""Heartbeats in that time: several may be late or lost."""

SURE_BEATS = 2.5
"""Of a process that lives, a beat is seen in the time of so many."""

SILENCE = 2.0
"""Seconds that are waited for another without a word."""

_log = logging.getLogger("clare")
_MODE = "_mode"
_POLL = 0.2
_IDLE = 5.0
"""Seconds after which a process that claims nothing shows no heartbeat any more."""


class Claims:
    """What this process claims in one store; made by `claims_of`.

    Args:
        folder: of the store's claims.
        clock: this process's time.
        locks: opens a file of locks.
        register: keeps heartbeats and leases; in the folder if left out.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock | None = None,
        locks: Callable[[Path], LockFile] = lock_file,
        register: ListedRegister | None = None,
    ) -> None:
        self._open_locks = locks
        self.folder = folder
        self.owner: Owner
        self.expire = EXPIRE
        self._force = False
        self._clock = clock or Clock(time.monotonic, time.sleep)
        self.register: ListedRegister = register or FolderRegister(folder)
        self._one = threading.RLock()
        self._joined = self._settled = False
        self._used = -math.inf  # when something was last asked for
        self._asking = 0  # threads that wait for a claim
        self._held: set[tuple[str, int]] = set()
        # Kept open: where the store was moved, a look at its place would make another file there.
        self._locked: dict[tuple[str, int], LockFile] = {}
        self._alive: LockFile
        self._here = False  # whether the folder is on a disk of this host
        self._leases: Leases | None = None
        self._known: set[str] = set()  # others, whom locks keep out
        self._granted: dict[str, int] = {}  # others, whose byte was to be had: what their beat was
        self._heartbeat: Heartbeat
        self._watch = Watch(self.register, self._clock)

    @property
    def by_leases(self) -> bool:
        """Whether claims are leases: then a claim may be lost to others, and files may be stale."""
        return self._leases is not None

    @property
    def beat_seconds(self) -> float:
        """Seconds from one heartbeat to the next."""
        return self.expire / BEATS_A_LIFE

    def configure(self, *, leases: bool, expire: float) -> None:
        """Say how to claim; what the store says already stays as it is.

        Args:
            leases: take leases, whatever locks would do; for good, and for everybody.
            expire: seconds without a heartbeat after which a process has lost its leases.
        """
        with self._one:
            self._force = leases
            if self._joined:
                if leases and self._leases is None:
                    self._change_to_leases()
            else:
                self.expire = expire

    def take(self, name: str, number: int = 0) -> bool:
        """Claim something, without waiting; False where somebody else has it."""
        with self._staying():
            self._ready()
            with self._one:
                if not self._joined:  # it left once more
                    return self.take(name, number)
                if (name, number) in self._held:
                    return False
                if self._leases is not None:
                    taken = self._leases.take(_entry(name, number))
                elif taken := (lock := self._lock(name)).acquire(number):
                    self._locked[name, number] = lock
                if taken:
                    self._held.add((name, number))
                return taken

    def release(self, name: str, number: int = 0) -> None:
        """Give a claim back."""
        with self._one:
            if (name, number) not in self._held:
                return
            self._held.discard((name, number))
            if self._leases is not None:
                self._leases.release(_entry(name, number))
            if lock := self._locked.pop((name, number), None):
                lock.release(number)

    @contextmanager
    def exclusive(self, name: str, number: int = 0) -> Iterator[Fence]:
        """Hold a claim, among processes and threads; waits for its turn.

        Yields:
            Through which the files are written that the claim is about.
        """
        with self._staying():
            self._ready()
            began: float | None = self._clock.now()
            while not self._wait_for(name, number):
                if began is not None and self._clock.now() - began > SILENCE:
                    self._tell_holder(name, number)
                    began = None
                self._clock.sleep(random.uniform(0.2, 1) * _POLL)
        try:
            yield self.fence(name, number)
        finally:
            self.release(name, number)

    def fence(self, name: str, number: int = 0) -> Fence:
        """How files are written that a claim of this process is about."""
        return _ClaimFence(self, name, number)

    def first_of(self, count: int) -> int:
        """Where among so many to begin: at 0, or where others claim here, anywhere."""
        with self._one:
            if not self._joined or count < 2 or not self._watch.tokens():
                return 0
            return random.randrange(count)

    def next_look(self, waited: float, first: float) -> float:
        """Seconds until it is worth while to look again whether others ended what they claim.

        Args:
            waited: what this returned before; 0 if it was not asked before.
            first: the answer of locks, which may be given back at any time.
        """
        return next_look(waited, self.beat_seconds) if self.by_leases else first

    def former(self, name: str, number: int) -> str:
        """The token of a process that is gone, whose claim this one took over; empty if none."""
        with self._one:
            return self._leases.former(_entry(name, number)) if self._leases is not None else ""

    def require(self, name: str, number: int) -> None:
        """See that a claim is still this process's own.

        Raises:
            LostClaimError: it was taken over.
        """
        with self._one:
            if self._leases is None and self._watch.since(self._heartbeat.last) > self.expire / 2:
                self._beat()  # it slept: see first what others have found meanwhile
            lost = self._leases is not None and not self._leases.holds(_entry(name, number))
        if lost:
            raise LostClaimError(
                f"{described(name, number)} in {self.folder.parent} was taken over by another "
                f"process, because this one was held up for more than {self.expire:.0f} seconds",
                "run the same again: it goes on with what is left",
            )

    def beat(self) -> bool:
        """What is done every few seconds; False where nothing is claimed any more."""
        with self._one:
            if not self._joined:
                return False
            idle = not self._held and not self._asking
            if idle and self._clock.now() - self._used > _IDLE:
                self.leave()
                return False
            with suppress(OSError, ClareError):  # a server that is away for a while
                self._beat()
                self._watch.sweep()
            return self._joined

    def leave(self) -> None:
        """Give everything back, and show no heartbeat any more."""
        with self._one:
            for name, number in list(self._held):
                self.release(name, number)
            if self._joined:
                self._joined, self._leases = False, None
                _joined.discard(self.owner.token)
                with suppress(OSError, ClareError):
                    self._heartbeat.end()
                with suppress(OSError, ClareError):
                    self._free_byte()

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

    def _ready(self) -> None:
        """Begin to claim, once; waits until it is clear how others do."""
        began: float | None = self._clock.now()
        while True:
            with self._one:
                if not self._joined:
                    self._join()
                if (unclear := self._unclear()) is None:
                    return
                if began is not None and self._clock.now() - began > SILENCE:
                    seconds = self.expire if self.by_leases else SURE_BEATS * self.beat_seconds
                    self._tell_wait("how it claims", unclear, seconds)
                    began = None
            self._clock.sleep(_POLL)

    def _tell_holder(self, name: str, number: int) -> None:
        with self._one:
            leases = self._leases
            holder = None if leases is None else leases.holder(_entry(name, number))
            if holder is not None:
                self._tell_wait(described(name, number), holder, self.expire)

    def _tell_wait(self, what: str, owner: Owner, seconds: float) -> None:
        who = f"process {owner.pid} of {owner.host}" if owner.host else "an unknown process"
        _log.warning(
            "%s: waiting for %s (%s), until it says so or shows no sign of life for %.0f seconds",
            *(self.folder.parent, who, what, seconds),
        )

    def _join(self) -> None:
        make_folder(self.folder)
        self.owner = self.myself()  # under a new token: an old one means nothing to anybody
        self._known, self._granted = set(), {}
        self._here = self._is_of_this_host()
        leases = self._read_mode() or self._force or not self._locks_may_serve()
        self._heartbeat = Heartbeat(self.register, self.owner, self._clock)
        # What was seen before it left is still good.
        self._watch.begin(self.owner, self.expire, self.beat_seconds)
        self._settled = False
        # In this order: who sees the heartbeat, and that of a process that uses locks, tries it.
        self._hold_byte()
        if leases:
            self._change_to_leases()
        else:
            self._heartbeat.beat()
        self._joined = True
        _joined.add(self.owner.token)
        PULSE.add(self)

    def _beat(self) -> None:
        if not self._is_there():
            self._leases = None  # there is nothing to give back
            self.leave()
            return
        self._heartbeat.beat()
        if self._leases is None:
            self._look_around()

    def _is_there(self) -> bool:
        """Whether there still is such a store."""
        return self.folder.is_dir()

    def myself(self) -> Owner:
        """This process, under a new token."""
        return this_process(self.folder)

    def _is_of_this_host(self) -> bool:
        return is_of_this_host(self.folder)

    def _locks_may_serve(self) -> bool:
        return locks_may_reach(self.folder)

    def _require_leases_hold(self) -> None:
        require_links(self.folder)

    def _hold_byte(self) -> None:
        self._alive = self._open_locks(self.folder / "_alive.lock")
        self._alive.acquire(_byte(self.owner.token), wait=True)

    def _free_byte(self) -> None:
        self._alive.release(_byte(self.owner.token))

    def _read_mode(self) -> bool:
        """Whether the store says that leases are taken; how long they last it says too."""
        leases, expire = read_mode(self.register)
        self.expire = expire or self.expire
        return leases

    def _change_to_leases(self) -> None:
        self._require_leases_hold()
        data = json.dumps({"expire": self.expire, "leases": True}).encode()
        if not self._read_mode():
            self.register.create(_MODE, data)
        self._watch.expire = self.expire
        self._heartbeat.leases = True
        self._heartbeat.beat()
        leases = Leases(self.register, self._heartbeat, self._watch)
        for name, number in self._held:
            leases.take(_entry(name, number))  # who is refused finds it lost
        self._leases, self._settled = leases, False

    def _unclear(self) -> Owner | None:
        """One of those of whom it is not clear yet how they claim; None where all is clear."""
        with self._one:
            if not self._joined or self._settled:
                return None
            if self._leases is None:
                unclear = self._look_around()
                if self._leases is None:
                    self._settled = unclear is None
                    return unclear
            # Those that use locks must have seen that others do not.
            for token in self._watch.tokens():
                seen = self._watch.look(token, fresh=True)
                if seen is None or seen.leases:
                    continue
                if not self._watch.is_gone(token):
                    return seen.owner
                self._watch.forget(token)
            self._settled = True
            return None

    def _look_around(self) -> Owner | None:
        """See whether locks keep the others out, and change to leases if not.

        Returns:
            Of whom it is still unclear, since it may have ended.
        """
        if self._read_mode():
            self._change_to_leases()
            return None
        unclear = None
        for token in self._watch.tokens() - self._known:
            seen = self._watch.look(token, fresh=True)
            if seen is None:
                continue
            if seen.owner.has_ended(self.owner) or self._has_left(seen.owner):
                self._watch.forget(token)
                continue
            if not self._alive.acquire(_byte(token)):
                self._known.add(token)
                continue
            self._alive.release(_byte(token))
            if self._lives(seen):
                self._change_to_leases()
                return None
            silent = self._watch.unchanged(token) > SURE_BEATS * self.beat_seconds
            # Here the kernel sees every lock: who let his go has ended, also in a container.
            if silent or (self._here and same_host(seen.owner, self.owner)):
                self._watch.forget(token)
            else:
                unclear = seen.owner
        return unclear

    def _has_left(self, owner: Owner) -> bool:
        """Whether it is this process that left, and could not say so: the store had been moved."""
        mine = self.owner.machine, self.owner.pid, self.owner.started
        return (owner.machine, owner.pid, owner.started) == mine and owner.token not in _joined

    def _lives(self, beat: Beat) -> bool:
        """Whether a process lives for certain whose byte is to be had: it has beaten since."""
        me, token = self.owner, beat.owner.token
        before = self._granted.setdefault(token, beat.count)
        if me.machine and me.machine == beat.owner.machine:
            # Who ends takes his heartbeat away first, and a killed one is seen to have ended.
            return not beat.owner.has_ended(me) and self._watch.look(token, fresh=True) is not None
        return beat.count != before

    def _wait_for(self, name: str, number: int) -> bool:
        """Take a claim; waits in the kernel where it is a lock. False: try again."""
        if self._leases is not None:
            return self.take(name, number)
        lock = self._lock(name)
        lock.acquire(number, wait=True)
        with self._one:
            if self._leases is None and self._joined:
                self._held.add((name, number))
                self._locked[name, number] = lock
                return True
        lock.release(number)
        self._ready()
        return False

    def _lock(self, name: str) -> LockFile:
        return self._open_locks(self.folder / f"{name}.lock")


class _ClaimFence(Fence):
    """Files of a claim that is a lock are renamed, as ever; see `Fence`.

    With leases each process has a partial file of its own name. It looks at its lease directly
    before a file gets its name, and once more behind that: who was held up in between has put his
    file in the place of another's, and knows it.
    """

    def __init__(self, claims: Claims, name: str, number: int) -> None:
        self._claims = claims
        self._of = name, number

    def partial(self, path: Path) -> Path:
        if not self._claims.by_leases:
            return super().partial(path)
        return path.with_name(f"{path.name}.{self._claims.owner.token}{PARTIAL}")

    def require(self) -> None:
        self._claims.require(*self._of)

    def publish(self, temporary: Path, path: Path) -> None:
        self.require()
        if not self._claims.by_leases:
            super().publish(temporary, path)
            return
        try:
            if os.path.lexists(path):
                temporary.replace(path)
            elif link(temporary, path):
                temporary.unlink()
            else:
                self.require()
                temporary.replace(path)  # what was there is of one who is gone
        except FileNotFoundError as error:
            self.require()
            raise error
        self.require()


_known: dict[Path, Claims] = {}
_joined: set[str] = set()
"""The tokens under which this process claims something, in whatever store."""

_opening = threading.Lock()


def claims_of(folder: Path) -> Claims:
    """The claims of this process in a store, by the folder of its claims."""
    with _opening:
        if folder not in _known:
            _known[folder] = Claims(folder)
        return _known[folder]


def next_look(waited: float, beat: float) -> float:
    """See `Claims.next_look`: leases are lost after many beats, and hundreds may wait for them."""
    return min(max(2 * waited, beat / 2), 4 * beat)


def read_mode(register: Register) -> tuple[bool, float]:
    """Whether a store says that leases are taken, and how long they last; 0 if it does not say."""
    if _MODE not in register.names(""):
        return False, 0.0
    found = register.read(_MODE)
    expire = 0.0
    with suppress(ValueError, TypeError, KeyError):
        expire = float(parse_json(found[0])["expire"]) if found else 0.0
    return True, expire if expire >= LEAST_EXPIRE else 0.0


def described(name: str, number: int) -> str:
    """What a claim is about, for people."""
    subset, _, last = name.rpartition("/")
    if not subset:
        return {"store": "the file of commands or the marker"}.get(name, f"the list of {name}")
    if last == "rows":
        return f"the index of {subset}"
    what = f"shard {number} of {subset}"
    return f"the pictures of {what}" if last == "thumbnails" else f"{what}/{last}"


def _entry(name: str, number: int) -> str:
    return f"{name}/{number:06d}"


def _byte(token: str) -> int:
    return int(token, 16) >> 2  # a place in a file has 63 bits


def _forget_claims_of_parent() -> None:
    global _known, _opening
    _known, _opening = {}, threading.Lock()
    _joined.clear()


os.register_at_fork(after_in_child=_forget_claims_of_parent)

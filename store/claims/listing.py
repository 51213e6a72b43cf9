"""Who claims what in a store, whether he lives, and freeing what a process that ended left."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from clare.errors import InputError
from clare.foreign import read_bytes
from clare.store.claims.claims import Claims
from clare.store.claims.heartbeats import BEATS, Watch
from clare.store.claims.leases import LEASES
from clare.store.claims.owner import Owner
from clare.store.claims.register import Clock, ListedRegister
from clare.store.claims.terms import BEATS_A_LIFE, EXPIRE, SURE_BEATS, read_mode

_LOCKS = Path("/proc/locks")
_MOST_BYTES = 1 << 26
_HELD = re.compile(r"POSIX +ADVISORY +WRITE +(\d+) +\S+?:\S+?:(\d+) +(\d+) +(\d+)")
_POLL = 0.2

State = Literal["works", "ended", "silent"]


@dataclass
class Claimant:
    """A process that claims something in a store, or did.

    Args:
        owner: as it says of itself; of one without a heartbeat only the token is known.
        state: ``works``; ``ended``, which is certain; or ``silent``: no sign of life was seen.
        watched: seconds for which it was silent, as far as was looked.
        claims: numbers by name: shards by ``<subset>/<extractor>-<digest>``, 0 of all others.
    """

    owner: Owner
    state: State
    watched: float = 0.0
    claims: dict[str, list[int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def list_claims(claims: Claims, seconds: float | None = None) -> list[Claimant]:
    """Who claims what, oldest first.

    The heart of a process of another host must be watched for a while: no clock of a file server or
    of another host is believed.

    Args:
        claims: of the store.
        seconds: to watch, where need be; by default as long as a few beats take.
    """
    folder, register = claims.folder, claims.register
    if not folder.is_dir():
        return []
    leases, expire = read_mode(register)
    expire = expire or EXPIRE
    watch = Watch(register, Clock(time.monotonic, time.sleep))
    watch.begin(claims.myself(), expire, 0.0)
    held = dict(_leases(register)) if leases else {}
    beats = {token: watch.look(token) for token in {*watch.tokens(), *held}}
    found: dict[str, Claimant] = {}
    for token, beat in beats.items():
        owner = Owner(token) if beat is None else beat.owner
        ended = owner.has_ended(watch.me)
        here = bool(owner.machine) and owner.machine == watch.me.machine
        state: State = "ended" if ended else "works" if here else "silent"
        found[token] = Claimant(owner, state, claims=held.get(token, {}))
    until = time.monotonic() + (SURE_BEATS * expire / BEATS_A_LIFE if seconds is None else seconds)
    open_ = [one for one in found.values() if one.state == "silent"]
    while open_ and time.monotonic() < until:
        time.sleep(_POLL)
        for one in open_:
            before, beat = beats[one.owner.token], watch.look(one.owner.token)
            if beat is not None and (before is None or beat.count != before.count):
                one.state = "works"
            one.watched = watch.unchanged(one.owner.token)
        open_ = [one for one in open_ if one.state == "silent"]
    if not leases:
        _add_locks(folder, list(found.values()))
    return sorted(found.values(), key=lambda one: (one.owner.since, one.owner.token))


def free_claims(claims: Claims, claimants: list[Claimant], token: str) -> Claimant:
    """Give up what a process that does not work any more claims.

    One that only slept finds out, and writes no more; nothing is damaged.

    Args:
        claims: of the store.
        claimants: from `list_claims`.
        token: of the process, or the beginning of it.

    Raises:
        InputError: there is no such process, or several, or it works.
    """
    fitting = [one for one in claimants if one.owner.token.startswith(token)]
    if len(fitting) != 1 or not token:
        if not claimants:
            raise InputError("nobody works on the store, so there is nothing to free")
        known = ", ".join(one.owner.token[:8] for one in claimants)
        count = "several processes" if fitting and token else "no process"
        raise InputError(f"{count} {token!r} can be found; there are: {known}", "name one of them")
    (one,) = fitting
    if one.state == "works":
        where = f"process {one.owner.pid} of {one.owner.host}"
        raise InputError(f"{where} works; what it claims can't be freed", "stop it first")
    register = claims.register
    for name, numbers in one.claims.items():
        for number in numbers:
            entry = f"{LEASES}/{name}/{number:06d}"
            found = register.read(entry)
            if found is not None and found[0] == one.owner.token.encode():
                register.remove(entry, found[1])
    beat = register.read(f"{BEATS}/{one.owner.token}")
    if beat is not None:
        register.remove(f"{BEATS}/{one.owner.token}", beat[1])
    return one


def _leases(register: ListedRegister) -> Iterator[tuple[str, dict[str, list[int]]]]:
    """What each token claims by leases."""
    found: dict[str, dict[str, list[int]]] = {}
    for entry_name in register.all_names(LEASES):
        name, _, last = entry_name.removeprefix(f"{LEASES}/").rpartition("/")
        entry = register.read(entry_name)
        if entry is not None and last.isdigit():
            token = entry[0].decode("ascii", errors="replace")
            found.setdefault(token, {}).setdefault(name, []).append(int(last))
    yield from found.items()


def _add_locks(folder: Path, claimants: list[Claimant]) -> None:
    """What the processes of this host claim by locks, as its kernel says."""
    here = {one.owner.pid: one for one in claimants if one.state == "works"}
    text = ""
    with suppress(OSError):
        text = read_bytes(_LOCKS, _MOST_BYTES).decode(errors="replace")
    held = [[int(part) for part in parts] for parts in _HELD.findall(text)]
    for path in sorted(folder.rglob("*.lock")):
        name, inode = path.relative_to(folder).as_posix().removesuffix(".lock"), path.stat().st_ino
        for pid, of, first, last in held:
            if of == inode and pid in here and not name.startswith("_"):
                numbers = here[pid].claims.setdefault(name, [])
                numbers += range(first, last + 1)
                numbers.sort()

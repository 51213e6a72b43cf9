"""Which process it is that claims something, and whether it is known to have ended."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

from clare.foreign import parse_json, read_bytes
from clare.store.claims.mounts import folder_number

_KERNEL_FILE = 1 << 16
_STARTED = 19  # of the numbers behind the name of the program in /proc/PID/stat


@dataclass(frozen=True)
class Owner:
    """A process, as it says of itself.

    Args:
        token: drawn by the process; names it in claims and in the names of its files.
        host: its name, for people.
        machine: tells hosts, their starts, and groups of processes on one host apart; may be empty.
        pid: its number there.
        started: when it was started, in ticks of its machine.
        job: id of its SLURM job, of the array's task where it is one; may be empty.
        restarts: how often SLURM had started that job again.
        since: seconds since the epoch by its own clock, for people.
        place: number of the folder in which it claims: a copy of a store has another. 0 where
            it is not known.
    """

    token: str
    host: str = ""
    machine: str = ""
    pid: int = 0
    started: int = 0
    job: str = ""
    restarts: int = 0
    since: float = 0.0
    place: int = 0

    def has_ended(self, me: Owner) -> bool:
        """Whether this process is certain to claim nothing any more, as another may know at once.

        False says nothing: it may have ended all the same.
        """
        if self.machine and self.machine == me.machine:
            if self.place and me.place and self.place != me.place:
                return True  # it may live, and claims nothing here: this is a copy of its store
            started = _started(self.pid)
            return not _exists(self.pid) if started is None else started != self.started
        return bool(self.job) and self.job == me.job and self.restarts < me.restarts


def this_process(folder: Path) -> Owner:
    """This process, under a new token.

    Args:
        folder: that is there, in which it claims.
    """
    environment = os.environ
    cluster = environment.get("SLURM_CLUSTER_NAME", "")
    job = environment.get("SLURM_JOB_ID", "")
    restarts = environment.get("SLURM_RESTART_COUNT", "")
    return Owner(
        token=secrets.token_hex(8),
        host=socket.gethostname(),
        machine=_machine(),
        pid=os.getpid(),
        started=_started(os.getpid()) or 0,
        job=f"{cluster}/{job}" if job else "",
        restarts=int(restarts) if restarts.isdigit() else 0,
        since=time.time(),
        place=folder_number(folder),
    )


def same_host(one: Owner, other: Owner) -> bool:
    """Whether two processes are, or were, of one host, in whatever container or start of it."""
    boots = [owner.machine.partition(" ")[0] for owner in (one, other)]
    return (boots[0] == boots[1] != "") or (one.host == other.host != "")


@dataclass(frozen=True)
class Beat:
    """What a heartbeat says: whose it is, how often it beat, and how its owner claims.

    Args:
        owner: the process.
        count: grows with each beat.
        leases: whether it takes leases; kernel locks otherwise.
        busy: whether it claims something; it may also wait for what others claim.
    """

    owner: Owner
    count: int
    leases: bool
    busy: bool = True

    def to_bytes(self) -> bytes:
        """As the register keeps it."""
        return json.dumps(asdict(self), sort_keys=True).encode()


def read_beat(token: str, data: bytes) -> Beat:
    """What `Beat.to_bytes` wrote; of what is unreadable, only the token is known."""
    with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        found = parse_json(data)
        known = {field.name: type(field.default) for field in fields(Owner)}
        said = {name: found["owner"][name] for name in known if name != "token"}
        if all(type(value) is known[name] for name, value in said.items()):
            owner, count = Owner(token=token, **said), int(found["count"])
            return Beat(owner, count, bool(found["leases"]), bool(found.get("busy", True)))
    return Beat(Owner(token), -1, leases=False)


@cache
def _machine() -> str:
    """The start of this host's kernel, and the group of process numbers; empty where unknown."""
    try:
        boot = read_bytes(Path("/proc/sys/kernel/random/boot_id"), _KERNEL_FILE).decode().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except (OSError, ValueError):
        return ""


def _started(pid: int) -> int | None:
    """When a process of this machine was started, in ticks; -1 of one that has ended.

    None where that can't be read: there is no such process, or it is another user's.
    """
    try:
        text = read_bytes(Path(f"/proc/{pid}/stat"), _KERNEL_FILE).decode(errors="replace")
        words = text.rpartition(")")[2].split()
        return -1 if words[0] in "ZX" else int(words[_STARTED])
    except (OSError, ValueError, IndexError):
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True

"""For how long a process that shows no sign of life keeps its claims, and what a store says."""

from __future__ import annotations

import json
from contextlib import suppress

from clare.foreign import parse_json
from clare.store.claims.register import Register

EXPIRE = 240.0
"""Seconds without a heartbeat after which a process has lost its claims: longer than any pause of a
server, of what a network disk's client remembers, or of a model that lets no thread run."""

LEAST_EXPIRE = 2.0
"""Fewer seconds would make every hiccup of a disk a loss."""

BEATS_A_LIFE = 24
"""Heartbeats in that time: several may be late or lost."""

SURE_BEATS = 2.5
"""Of a process that lives, a beat is seen in the time of so many."""

_MODE = "_mode"


def read_mode(register: Register) -> tuple[bool, float]:
    """Whether a store says that leases are taken, and how long they last; 0 if it does not say."""
    if _MODE not in register.names(""):
        return False, 0.0
    found = register.read(_MODE)
    expire = 0.0
    with suppress(ValueError, TypeError, KeyError):
        expire = float(parse_json(found[0])["expire"]) if found else 0.0
    return True, expire if expire >= LEAST_EXPIRE else 0.0


def say_leases(register: Register, expire: float) -> None:
    """Let a store say, for good, that leases are taken, and how long they last."""
    register.create(_MODE, json.dumps({"expire": expire, "leases": True}).encode())


def next_look(waited: float, beat: float) -> float:
    """Seconds until it is worth while to look again at leases: they are lost after many beats, and
    hundreds may wait for them.

    Args:
        waited: what this returned before; 0 if it was not asked before.
        beat: seconds from one heartbeat to the next.
    """
    return min(max(2 * waited, beat / 2), 4 * beat)

"""Waiting for other processes: after a moment it is said for whom."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from clare.store.claims.owner import Owner
from clare.store.claims.register import Clock

SILENCE = 2.0
"""Seconds that are waited for another without a word."""

_log = logging.getLogger("clare")

Awaited = tuple[str, Owner, float]
"""What is waited for, whose it is, and after how many seconds without a sign of life that ends."""


class Waiting:
    """One time that something is waited for.

    Args:
        store: in which.
        clock: of this process.
        whom: who is waited for now; None where that is not known.
    """

    def __init__(self, store: Path, clock: Clock, whom: Callable[[], Awaited | None]) -> None:
        self._store, self._clock, self._whom = store, clock, whom
        self._began: float | None = clock.now()

    def sleep(self, seconds: float) -> None:
        """Let some time pass; who is waited for is said once."""
        if self._began is not None and self._clock.now() - self._began > SILENCE:
            self._began = None
            if (found := self._whom()) is not None:
                what, owner, most = found
                who = f"process {owner.pid} of {owner.host}" if owner.host else "an unknown process"
                _log.warning(
                    "%s: waiting for %s (%s), until it says so or shows no sign of life for "
                    "%.0f seconds",
                    *(self._store, who, what, most),
                )
        self._clock.sleep(seconds)

"""The thread of this process that lets its heartbeats beat, one for all stores."""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import Protocol


class Beating(Protocol):
    """What beats."""

    @property
    def beat_seconds(self) -> float:
        """Seconds from one heartbeat to the next."""
        ...

    def beat(self) -> bool:
        """Beat; False if that was the last time."""
        ...

    def leave(self) -> None:
        """The process ends."""
        ...


class Pulse:
    """Calls `Beating.beat` in time."""

    def __init__(self) -> None:
        self._due: dict[Beating, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, beating: Beating) -> None:
        """Let something beat from now on."""
        with self._changed:
            self._due[beating] = time.monotonic() + beating.beat_seconds
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="clare-pulse", daemon=True)
                self._thread.start()
            self._changed.notify()

    def end(self) -> None:
        """Let everything that beats leave."""
        with self._changed:
            last, self._due = list(self._due), {}
        for beating in last:
            beating.leave()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due:
                    self._changed.wait()
                beating, due = min(self._due.items(), key=lambda one: one[1])
                wait = due - time.monotonic()
                if wait > 0:
                    self._changed.wait(wait)
                    continue
                self._due[beating] = due = time.monotonic() + beating.beat_seconds
            if not beating.beat():
                with self._changed:
                    if self._due.get(beating) == due:  # else it began anew meanwhile
                        del self._due[beating]


PULSE = Pulse()
"""Of this process."""

atexit.register(PULSE.end)


def _forget_pulse_of_parent() -> None:
    PULSE.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_forget_pulse_of_parent)

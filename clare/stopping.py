"""Being told to stop: what Ctrl-C, SIGTERM and SIGUSR1 ask of work that can go on another time.

A scheduler warns with SIGUSR1 where it is asked to, and takes a job away with SIGTERM and, half a
minute later, SIGKILL. So SIGUSR1 lets what is in hand be finished, however long it takes; SIGTERM
gives it `GRACE` seconds, then drops it, and after `LIMIT` seconds the process ends in any case:
nothing that is half written counts.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

EXIT_STOPPED = 75
"""The exit code of work that was told to stop and can go on: EX_TEMPFAIL of ``sysexits.h``."""

GRACE = 5.0
"""Seconds after SIGTERM in which what is in hand may be finished."""

LIMIT = 9.0
"""Seconds after SIGTERM when the process ends, also inside of a library that does not return."""

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

_END = 0
"""What ends the watch, in the pipe that holds the numbers of signals."""


class StopAskedError(BaseException):
    """A scheduler asked for the end, and work remains; as KeyboardInterrupt, no `Exception`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Asked:
    """What this process was told: the first signal's name, and when its patience ends."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.until: float | None = None
        self.patient = 0

    def tell(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal: at once where nothing is to be finished, or where its time is up."""
        is_first, self.name = self.name is None, self.name or signal.Signals(number).name
        if number == signal.SIGTERM and self.until is None:
            self.until = time.monotonic() + GRACE
        # What a job's shell passes on comes twice: what ends already is not to be torn up.
        if (is_first and not self.patient) or self.is_late:
            raise StopAskedError(self.name)

    @property
    def is_late(self) -> bool:
        return self.until is not None and time.monotonic() >= self.until


_asked = _Asked()
_pipe: tuple[int, int] | None = None
_forking = threading.local()


class Patience:
    """What work looks at that is not to be torn off at any line; see `patience`."""

    def __init__(self, ending: threading.Event | None) -> None:
        self.pressed = threading.Event()
        self._ending = ending

    @property
    def asked(self) -> bool:
        """Whether nothing new is to be begun."""
        return _asked.name is not None or (self._ending is not None and self._ending.is_set())

    def end(self) -> None:
        """End here if that was asked for.

        Raises:
            StopAskedError: it was.
        """
        if self.asked:
            raise StopAskedError(_asked.name or "who gave the work")

    def check(self) -> None:
        """End here if what is in hand is not to be finished either.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
            StopAskedError: the time after SIGTERM is up.
        """
        if self.pressed.is_set():
            raise KeyboardInterrupt
        if _asked.is_late:
            self.end()


@contextmanager
def patience(ending: threading.Event | None = None) -> Iterator[Patience]:
    """Let signals of a scheduler wait until the work looks at them.

    Ctrl-C is remembered too: Python drops the exception where it strikes a library's callback.

    Args:
        ending: asks for the end as a warning does, where this process is a worker of another.
    """
    found = Patience(ending)
    previous = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    is_ours = is_main and callable(previous)

    def remember(number: int, frame: FrameType | None) -> None:
        found.pressed.set()
        if callable(previous):
            previous(number, frame)

    if is_ours:
        signal.signal(signal.SIGINT, remember)
    _asked.patient += 1
    try:
        yield found
    finally:
        _asked.patient -= 1
        if is_ours:
            signal.signal(signal.SIGINT, previous)


@contextmanager
def heed_signals() -> Iterator[None]:
    """Take SIGTERM and SIGUSR1 as a wish to stop, where nobody else takes them; see `patience`.

    A thread watches the time, because Python hears of a signal only between two lines of its own.
    """
    global _pipe
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or set(before.values()) != {signal.SIG_DFL}:
        yield
        return
    heard, told = _pipe = os.pipe()
    os.set_blocking(told, False)
    previous = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    for number in _SIGNALS:
        signal.signal(number, _asked.tell)
    watch = threading.Thread(
        target=_watch, args=(heard, os.getpid()), name="clare-stop", daemon=True
    )
    watch.start()
    try:
        yield
    finally:
        if _pipe is not None:  # else this is a child of a fork, where nothing is left to undo
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(previous)
            os.write(told, bytes([_END]))
            watch.join()
            _pipe = None
            os.close(told)
            os.close(heard)
        _asked.name, _asked.until = None, None


def _watch(heard: int, owner: int) -> None:
    """Wait for SIGTERM, then see to it that the process ends in time."""
    while (number := os.read(heard, 1)[0]) != _END:
        if number != signal.SIGTERM:
            continue
        if not _ends_within(heard, GRACE):
            os.kill(owner, signal.SIGTERM)  # once more, now to be heeded at once
            if not _ends_within(heard, LIMIT - GRACE):
                os._exit(EXIT_STOPPED)
        return


def _ends_within(heard: int, seconds: float) -> bool:
    """Whether the work ends before the time is up."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([heard], [], [], left)[0] and os.read(heard, 1)[0] == _END:
            return True
    return False


def _hold_signals() -> None:
    """Before a fork: what strikes the child waits until it is a process of its own."""
    _forking.mask = None if _pipe is None else signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _let_signals() -> None:
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _leave_to_parent() -> None:
    """In the child of a fork: end at a signal, and write nothing into the pipe of the parent."""
    global _pipe
    if _pipe is not None:
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for descriptor in _pipe:
            with suppress(OSError):  # it was about to be closed
                os.close(descriptor)
        _pipe, _asked.name, _asked.until = None, None, None
    _let_signals()


os.register_at_fork(
    before=_hold_signals, after_in_parent=_let_signals, after_in_child=_leave_to_parent
)

"""Kernel locks on single bytes of lock files: free when their process dies, however it dies.

POSIX record locks belong to a process and vanish when *any* descriptor of the file is closed, so
each process opens a lock file once and keeps it. They say nothing between the threads and store
objects of one process; a set of held bytes does that here. Nor does the kernel know of threads when
it looks for deadlocks: of two processes, each with a thread that waits for what another thread of
the other holds, it refuses one, although all go on in the end. That one asks again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from pathlib import Path

from clare.files import make_folder, storage_errors

_ASK_AGAIN = 0.01
"""Seconds after which one who was refused as in a deadlock asks again."""


class LockFile:
    """One lock file of this process; each of its bytes is a lock of its own."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._held: set[int] = set()
        self._changed = threading.Condition()

    def acquire(self, byte: int, *, wait: bool = False) -> bool:
        """Take the lock of one byte; without ``wait``, False where somebody else holds it."""
        with self._changed:
            while byte in self._held:
                if not wait:
                    return False
                self._changed.wait()
            self._held.add(byte)
        try:
            self._lock(byte, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except (BlockingIOError, PermissionError):  # which of them depends on the system
            self._forget(byte)
            return False
        except BaseException:
            self._forget(byte)
            raise
        return True

    def is_free(self, byte: int) -> bool:
        """Whether nobody holds the lock of one byte; taken for a moment, which tells."""
        if free := self.acquire(byte):
            self.release(byte)
        return free

    def release(self, byte: int) -> None:
        """Give the lock of one byte back."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, byte)
        self._forget(byte)

    def _lock(self, byte: int, how: int) -> None:
        while True:
            try:
                fcntl.lockf(self.descriptor, how, 1, byte)
                return
            except OSError as error:
                if error.errno != errno.EDEADLK:
                    raise
            time.sleep(_ASK_AGAIN)

    def _forget(self, byte: int) -> None:
        with self._changed:
            self._held.discard(byte)
            self._changed.notify_all()


_files: dict[tuple[int, int], LockFile] = {}
_opening = threading.Lock()


def lock_file(path: Path) -> LockFile:
    """This process's handle on a lock file; the same file gives the same object."""
    make_folder(path.parent)
    with _opening, storage_errors(path):
        # Look before opening: closing a second descriptor would drop the locks of the first.
        try:
            found = path.stat()
        except FileNotFoundError:
            pass
        else:
            known = _files.get((found.st_dev, found.st_ino))
            if known is not None:
                return known
        opened = LockFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666))
        status = os.fstat(opened.descriptor)
        return _files.setdefault((status.st_dev, status.st_ino), opened)


def _forget_locks_of_parent() -> None:
    global _files, _opening
    for inherited in _files.values():
        os.close(inherited.descriptor)  # drops no lock of the parent: locks belong to a process
    _files, _opening = {}, threading.Lock()


os.register_at_fork(after_in_child=_forget_locks_of_parent)

"""How much room the copies of stores in buckets may take: shards that were not used for long go.

Files are deleted only in folders that are marked as copies: other stores may lie beside them. None
is while a process fetches it or reads it, by locks that the kernel frees with the process. What is
counted is a guess that other processes, and killed ones, may have made wrong: each process begins
by counting the files, and counts them again before it deletes any.
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from clare.errors import InputError
from clare.files import PARTIAL
from clare.foreign import read_bytes
from clare.store.claims.locks import LockFile, lock_file

STORE = "store"
"""The folder in a copy that is the store."""

_MARK = "copy-of.txt"
"""The file in a copy that says of which store it is one."""

_FETCHES = 1 << 20  # bytes of the file of locks: who fetches what
_LEAVE = 0.9  # of the limit, so that the files are not counted at every fetch
_NOTED = 10.0  # seconds for which a use of a file is not noted again
_WRITING = 3600.0  # seconds for which a partial file may still be written, or put into the bucket


def mark_copy(copy: Path, url: str) -> None:
    """Mark a folder as the copy of a store in a bucket, whose shards may be deleted."""
    mark = copy / _MARK
    if not mark.exists():
        with suppress(OSError):  # nothing can be deleted there either
            mark.write_text(f"{url}\n", "utf-8")


def fetch_lock(copy: Path, key: str) -> tuple[LockFile, int]:
    """The lock that is held while a file of a copy is fetched, or deleted.

    Args:
        copy: its folder.
        key: the file, seen from the store.
    """
    return lock_file(copy / "fetching.lock"), crc32(key.encode()) % _FETCHES


class Uses:
    """Which files of a copy this process reads, and when it last did."""

    def __init__(self) -> None:
        self._noted: dict[Path, float] = {}

    def reads(self, path: Path, descriptor: int) -> None:
        """Keep a file from being deleted until the descriptor is closed, and note its use."""
        with suppress(OSError):  # a disk without such locks: nobody deletes there either
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        now = time.monotonic()
        if now - self._noted.get(path, -_NOTED) >= _NOTED:
            self._noted[path] = now
            with suppress(OSError):
                times = time.time_ns(), os.fstat(descriptor).st_mtime_ns
                os.utime(descriptor, ns=times)


class Room:
    """The room that the copies in a folder may take.

    Args:
        folder: of all copies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._total = folder / "room.txt"
        self._counted = False

    def fetched(self, size: int, limit: int) -> None:
        """Count a file that was fetched, and delete others if there are too many bytes.

        Args:
            size: its bytes.
            limit: bytes of the copies' shards; what is being fetched may come on top.
        """
        lock = lock_file(self._folder / "room.lock")
        lock.acquire(0, wait=True)
        try:
            total = self._known() + size if self._counted else limit + 1
            if total > limit:
                total = self._delete(limit)
            self._counted = True
            with suppress(OSError):  # a guess: what was fetched is there all the same
                self._total.write_text(str(total), "utf-8")
        finally:
            lock.release(0)

    def _known(self) -> float:
        """What was counted last; endless where that can't be read, so that it is counted anew."""
        with suppress(InputError, OSError, ValueError):
            return int(read_bytes(self._total, 64))
        return math.inf

    def _delete(self, limit: int) -> int:
        """Delete what was used least recently, if need be; the bytes that are left."""
        found = sorted(self._files())
        total = sum(size for _, size, _ in found)
        least = total if total <= limit else _LEAVE * limit
        for _, size, path in found:
            if total <= least:
                break
            if self._let_go(path):
                total -= size
        return total

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """The files of shards that may go, each with when it was used and its size."""
        now = time.time()
        marks = self._folder.glob(f"*/{_MARK}")
        for chunks in (c for mark in marks for c in mark.parent.glob(f"{STORE}/arrays/*/*/*/c")):
            for folder, _, names in os.walk(chunks):
                for name in names:
                    path = Path(folder, name)
                    with suppress(FileNotFoundError):
                        status = path.lstat()
                        if not name.endswith(PARTIAL) or now - status.st_mtime > _WRITING:
                            yield status.st_atime_ns, status.st_size, path

    def _let_go(self, path: Path) -> bool:
        """Delete a file that nobody uses; False where somebody does, or where it is no copy's.

        Its folders stay: somebody may be about to write into them.
        """
        copy = self._folder / path.relative_to(self._folder).parts[0]
        if not (copy / _MARK).is_file():
            return False
        key = path.relative_to(copy / STORE).as_posix()
        if key.endswith(PARTIAL):  # what a killed process left
            key = key.removesuffix(PARTIAL).rpartition(".")[0]
        lock, byte = fetch_lock(copy, key)
        if not lock.acquire(byte):
            return False
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return True
        except OSError:
            return not path.exists()
        finally:
            lock.release(byte)
        return True

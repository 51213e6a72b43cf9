"""Files of a bucket, read many at a time before they are wanted, in bounded memory.

A server answers a request after many milliseconds, however small the file is, so the requests of
the next shards are under way while an image is decoded. Files are taken in the order that they
were asked for in, and begun in it too: so whoever waits for one waits for none that comes after.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from clare.errors import StoreError
from clare.store.bucket.files import abandon

WIDTH = 32
"""Requests under way at once."""

MOST = 256 << 20
"""Bytes that are under way, or wait to be taken; a larger file comes alone."""


@dataclass(eq=False)
class _Asked:
    path: Path
    size: int
    found: Future[bytes] = field(default_factory=Future)


class ReadAhead:
    """Reads files in threads, which begin with the first file.

    Args:
        read: gives the bytes of a file.
        width: files that are read at once.
        most: bytes that are read, or wait to be taken.
    """

    def __init__(
        self, read: Callable[[Path], bytes], *, width: int = WIDTH, most: int = MOST
    ) -> None:
        self._read, self._most = read, most
        self._pool = ThreadPoolExecutor(width, "clare-read")
        self._lock = threading.Lock()
        self._waiting: deque[_Asked] = deque()
        self._held = self._wanted = 0
        self._away: StoreError | None = None

    def ask(self, files: list[tuple[Path, int]]) -> Reads:
        """Begin to read the files of one image, each with about its size in bytes."""
        asked = [_Asked(path, size) for path, size in files]
        with self._lock:
            self._waiting.extend(asked)
            self._wanted += len(asked)
        self._begin()
        return Reads(asked, self._release)

    def close(self) -> None:
        """Stop, even if a server is away; whoever waits for a file is told so by an error.

        Where all was taken or dropped nothing is given up: others may read the same bucket.
        """
        with self._lock:
            dropped, self._waiting = self._waiting, deque()
            self._away = self._away or StoreError("it was not read: the work was stopped")
            is_stopped = self._wanted > 0
        for asked in dropped:
            asked.found.set_exception(self._away)
        if is_stopped:
            abandon()
        self._pool.shutdown()

    def _begin(self) -> None:
        with self._lock:
            while self._waiting:
                size = self._waiting[0].size
                if self._held and self._held + size > self._most:
                    return
                self._held += size
                self._pool.submit(self._fill, self._waiting.popleft())

    def _fill(self, asked: _Asked) -> None:
        try:
            if self._away is not None:  # whoever comes later need not wait as long once more
                raise self._away
            asked.found.set_result(self._read(asked.path))
        except BaseException as error:
            if isinstance(error, StoreError):
                self._away = error
            asked.found.set_exception(error)

    def _release(self, asked: _Asked) -> None:
        with self._lock:
            self._held -= asked.size
            self._wanted -= 1
        self._begin()


class Reads:
    """The files of one image, under way; a context, at whose end what was not taken is dropped."""

    def __init__(self, asked: list[_Asked], release: Callable[[_Asked], None]) -> None:
        self._asked = {one.path: one for one in asked}
        self._all, self._release = asked, release

    def __enter__(self) -> Reads:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._all:
            self._release(one)

    def get(self, path: Path) -> bytes:
        """Wait for a file; raises what reading it raised."""
        return self._asked[path].found.result()

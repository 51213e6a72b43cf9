"""Files of a bucket, read many at a time before they are wanted, in bounded memory.

A server answers a request after many milliseconds, however small the file is, so the requests of
the next shards are under way while an image is decoded. Images are taken in the order that they
were asked for in, and begun in it too, each with all its files: so whoever waits for one waits for
none that comes after.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from clare.errors import StoreError
from clare.store.bucket.files import abandon

WIDTH = 32
"""Requests under way at once."""

MOST = 256 << 20
"""Bytes that are under way, or wait to be taken; an image whose files have more comes alone."""


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
        self._waiting: deque[Reads] = deque()
        self._held = self._wanted = 0
        self._away: StoreError | None = None

    def ask(self, files: list[tuple[Path, int]]) -> Reads:
        """Begin to read the files of one image, each with about its size in bytes."""
        reads = Reads(files, self._release)
        with self._lock:
            self._waiting.append(reads)
            self._wanted += 1
        self._begin()
        return reads

    def close(self) -> None:
        """Stop, even if a server is away; whoever waits for a file is told so by an error.

        Where all was taken or dropped nothing is given up: others may read the same bucket.
        """
        with self._lock:
            dropped, self._waiting = self._waiting, deque()
            self._away = self._away or StoreError("it was not read: the work was stopped")
            is_stopped = self._wanted > 0
        for reads in dropped:
            for found in reads.found.values():
                found.set_exception(self._away)
        if is_stopped:
            abandon()
        self._pool.shutdown()

    def _begin(self) -> None:
        # All files of an image or none: they are taken together, so one would wait for the others.
        with self._lock:
            while self._waiting:
                size = self._waiting[0].size
                if self._held and self._held + size > self._most:
                    return
                self._held += size
                for path, found in self._waiting.popleft().found.items():
                    self._pool.submit(self._fill, path, found)

    def _fill(self, path: Path, found: Future[bytes]) -> None:
        try:
            if self._away is not None:  # whoever comes later need not wait as long once more
                raise self._away
            found.set_result(self._read(path))
        except BaseException as error:
            if isinstance(error, StoreError):
                self._away = error
            found.set_exception(error)

    def _release(self, reads: Reads) -> None:
        with self._lock:
            self._held -= reads.size
            self._wanted -= 1
        self._begin()


class Reads:
    """The files of one image, under way; a context, at whose end what was not taken is dropped.

    Attributes:
        found: the bytes of each.
        size: of all, as far as it is known.
    """

    def __init__(self, files: list[tuple[Path, int]], release: Callable[[Reads], None]) -> None:
        self.found: dict[Path, Future[bytes]] = {path: Future() for path, _ in files}
        self.size = sum(size for _, size in files)
        self._release = release

    def __enter__(self) -> Reads:
        return self

    def __exit__(self, *_: object) -> None:
        self._release(self)

    def get(self, path: Path) -> bytes:
        """Wait for a file; raises what reading it raised."""
        return self.found[path].result()

"""An object as a file of which only the parts that are read are fetched."""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clare.store.bucket.objects import Objects


class ObjectReader(io.RawIOBase):
    """The bytes of one state of an object, that which it is in when it is opened.

    Args:
        objects: that it is one of.
        key: its name.
        first: bytes that are fetched at once.
        step: bytes that are fetched at least after that.

    Raises:
        FileNotFoundError: there is none.
        OSError: it came into another state, here as wherever it is read.
    """

    def __init__(self, objects: Objects, key: str, first: int, step: int) -> None:
        self._objects, self._key, self._step = objects, key, step
        self._part, self._whole = objects.get_part(key, 0, max(first, 1))
        self._start = self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; nothing is asked for."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._whole.size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "a place before the file")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read bytes that are there, or fetch some."""
        view = memoryview(buffer).cast("B")
        here = self._at - self._start
        if not 0 <= here < len(self._part):
            if self._at >= self._whole.size or not len(view):
                return 0
            self._fetch(min(self._at + max(len(view), self._step), self._whole.size))
            here = 0
        some = self._part[here : here + len(view)]
        view[: len(some)] = some
        self._at += len(some)
        return len(some)

    def readall(self) -> bytes:
        """The rest, in one request."""
        here = self._at - self._start
        begun = self._part[here:] if 0 <= here <= len(self._part) else b""
        self._at += len(begun)
        if self._at < self._whole.size:
            self._fetch(self._whole.size)
            begun += self._part
        self._at = max(self._at, self._whole.size)
        return begun

    def _fetch(self, end: int) -> None:
        self._part, _ = self._objects.get_part(self._key, self._at, end, self._whole.tag)
        self._start = self._at

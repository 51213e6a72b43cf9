"""An object as a file of which only the parts that are read are fetched."""

from __future__ import annotations

import io

from clare.store.bucket.objects import Found, Objects

_BLOCK = 1 << 18  # bytes of a request


class RangedFile(io.RawIOBase):
    """See `buffered`; each read is one request, refused if the object changed meanwhile."""

    def __init__(self, objects: Objects, found: Found) -> None:
        self._objects = objects
        self._found = found
        self._at = 0

    @classmethod
    def buffered(cls, objects: Objects, found: Found) -> io.BufferedReader:
        """The file; what lies close together is one request.

        Args:
            objects: that it is one of.
            found: as a list told of it.
        """
        return io.BufferedReader(cls(objects, found), _BLOCK)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is asked for."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._found.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fetch as many bytes as there is room for; fewer where the object ends.

        Raises:
            ChangedObjectError: it is in another state than when it was found.
        """
        end = min(self._at + len(buffer), self._found.size)
        if end <= self._at:
            return 0
        data = self._objects.get_range(self._found.key, self._at, end, self._found.tag)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

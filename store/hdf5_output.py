"""Writing an HDF5 file to a disk that may refuse.

HDF5's library does not survive a write that fails: it can neither write nor drop what its caches
still hold, and ends the process by a signal. So it writes to an object of ours and is told of no
failure. What the system refused is raised between two calls of the library, which then lets go of
the file in peace.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

Check = Callable[[], None]


def write_hdf5(path: Path, fill: Callable[[Any, Check], None]) -> None:
    """Write an HDF5 file and make its bytes durable.

    Args:
        path: a file that is there and empty.
        fill: is given the open `h5py.File`, and what it should call after each thing written: that
            raises if a write was refused, or Ctrl-C was pressed.

    Raises:
        OSError: the system refused a write; what the file then holds is worth nothing.
    """
    output = _Output(path)
    # Ctrl-C reaches the main thread alone; raised inside a call of the library it would be a
    # failed write.
    with output, ThreadPoolExecutor(1) as pool:
        try:
            work = pool.submit(_write, output, fill)
            while not work.done():
                try:
                    wait([work])
                except BaseException as error:  # however often it is pressed
                    output.refused = output.refused or error
            work.result()
            output.check()
        except BaseException as error:  # the pool waits for the work, which now ends soon
            output.refused = output.refused or error
            raise
        os.fsync(output.fileno())


def _write(output: _Output, fill: Callable[[Any, Check], None]) -> None:
    import h5py

    try:
        with h5py.File(output, "w", libver=("v110", "v110")) as file:
            fill(file, output.check)
    finally:
        output.check()


class _Output(io.FileIO):
    """A file whose writes never fail: what the system refuses is kept, and read back from here."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "r+")
        self.refused: BaseException | None = None
        self._kept: list[tuple[int, bytes]] = []

    def check(self) -> None:
        """Raise what the system refused."""
        if self.refused is not None:
            raise self.refused

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        if self.closed:  # by a Ctrl-C that did not wait
            return size
        while left and self.refused is None:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.refused = error
        if left:
            self._kept.append((self.tell(), bytes(left)))
            self.seek(len(left), io.SEEK_CUR)
        return size

    def readinto(self, buffer: Any) -> int:
        # The library reads what it wrote, and takes what it asked for to be there.
        view = memoryview(buffer).cast("B")
        if self.closed:
            view[:] = bytes(len(view))
            return len(view)
        start = self.tell()
        read = super().readinto(view) or 0
        view[read:] = bytes(len(view) - read)
        for place, data in self._kept:
            first, last = max(place, start), min(place + len(data), start + len(view))
            if first < last:
                view[first - start : last - start] = data[first - place : last - place]
        self.seek(start + len(view))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.refused = self.refused or error
            return size or 0

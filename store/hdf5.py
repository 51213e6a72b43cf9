"""Reading an HDF5 file that anybody may have written, in a process of its own.

A damaged file can make the HDF5 library run for ever inside one call, where no signal of Python
arrives, and ask for any amount of memory; only another such library could check it beforehand. So a
child process opens it. It is killed when it gives no answer for a while, or when this process is
interrupted, and answers with plain bytes alone. Only what lies in the file itself is read: links to
other files, and data kept in others, are refused.
"""

from __future__ import annotations

import json
import math
import os
import resource
import selectors
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from clare.errors import CorruptStoreError

PATIENCE = 120.0
"""Seconds without an answer after which a file is held to be damaged."""

_MOST_WORK = 20
"""Seconds of a processor for one answer: a slow disk takes none, an honest file less than one."""

_LENGTH = struct.Struct("<Q")
_MOST_ANSWER = 1 << 34
_MOST_MEMORY = 1 << 34
_BLOCK_BYTES = 1 << 24
_BLOCK_ROWS = 1024
_CHILD = """import json, sys
sys.path[:] = json.loads(sys.argv[1])
from clare.store.hdf5 import serve
serve()
"""


class ForeignHdf5:
    """An HDF5 file, read through a child process; use it in a ``with`` statement.

    Args:
        path: the file.
        patience: seconds that it may take for one answer, which is at most 16 MiB or 1024 rows.
    """

    def __init__(self, path: Path, patience: float = PATIENCE) -> None:
        self.path = path
        self._patience = patience
        self._child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, json.dumps(sys.path), str(path.absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process, which ends the other
        )

    def __enter__(self) -> ForeignHdf5:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def text(self, place: str) -> str | None:
        """The attribute ``clare`` of a place in the file; None where it has none.

        Raises:
            CorruptStoreError: the file is damaged, or has something else there.
        """
        answer = self._ask({"text": place})
        return None if answer is None else answer.decode(errors="surrogateescape")

    def texts(self, place: str, rows: int) -> list[bytes]:
        """A dataset of ``rows`` texts.

        Raises:
            CorruptStoreError: the file is damaged, or has something else there.
        """
        found: list[bytes] = []
        for start in range(0, rows, _BLOCK_ROWS):
            asked = {"texts": place, "rows": rows, "start": start}
            packed, place_in = self._ask(asked) or b"", 0
            while place_in < len(packed):
                (length,) = _LENGTH.unpack_from(packed, place_in)
                place_in += _LENGTH.size
                found.append(packed[place_in : place_in + length])
                place_in += length
        return found

    def array(
        self, place: str, shape: Sequence[int] | None, dtype: Any, rows: Sequence[int] | None = None
    ) -> np.ndarray:
        """A dataset, or rows of it.

        Args:
            place: its path in the file.
            shape: that it must have; any one-dimensional if None.
            dtype: that it must have.
            rows: the rows to read, in rising order; all if None.

        Raises:
            CorruptStoreError: the file is damaged, or has something else there.
        """
        dtype = np.dtype(dtype)
        if shape is None:
            (length,) = _LENGTH.unpack(self._ask({"length": place}) or b"\0" * _LENGTH.size)
            shape = (length,)
        wanted = range(shape[0]) if rows is None else list(rows)
        row_bytes = math.prod(shape[1:]) * dtype.itemsize
        step = max(1, _BLOCK_BYTES // max(row_bytes, 1))
        parts = []
        for start in range(0, len(wanted), step):
            block = wanted[start : start + step]
            asked: dict[str, Any] = {"array": place, "shape": list(shape), "dtype": dtype.str}
            if rows is None:
                asked |= {"rows": [block[0], block[-1] + 1], "whole": True}
            else:
                asked |= {"rows": list(block)}
            data = self._ask(asked) or b""
            if len(data) != len(block) * row_bytes:
                raise self._damaged(f"{place} has other rows than it says")
            parts.append(np.frombuffer(data, dtype).reshape(len(block), *shape[1:]))
        return np.concatenate(parts) if parts else np.empty((0, *shape[1:]), dtype)

    def require(self, place: str, shape: Sequence[int], dtype: Any, rows: int) -> None:
        """See that a dataset is what it should be, and that so many of its rows lie in the file.

        Raises:
            CorruptStoreError: the file is damaged, or has something else there.
        """
        question = {"array": place, "shape": list(shape), "dtype": np.dtype(dtype).str}
        self._ask({**question, "stored": rows})

    def _ask(self, question: dict[str, Any]) -> bytes | None:
        child = self._child
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(json.dumps(question).encode() + b"\n")
            child.stdin.flush()
            kind = self._receive(child.stdout, 1)
            (length,) = _LENGTH.unpack(self._receive(child.stdout, _LENGTH.size))
            if length > _MOST_ANSWER:
                raise self._damaged("it is too large")
            answer = self._receive(child.stdout, length)
        except BrokenPipeError:
            raise self._damaged("reading it ended abruptly") from None
        if kind == b"e":
            raise self._damaged(answer.decode(errors="replace")[:300])
        return None if kind == b"n" else answer

    def _receive(self, pipe: Any, count: int) -> bytes:
        parts = []
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while count:
                if not selector.select(self._patience):
                    raise self._damaged(f"it gave nothing for {self._patience:g} seconds")
                part = os.read(pipe.fileno(), min(count, 1 << 20))
                if not part:
                    raise self._damaged("reading it ended abruptly")
                parts.append(part)
                count -= len(part)
        return b"".join(parts)

    def _damaged(self, why: str) -> CorruptStoreError:
        return CorruptStoreError(f"{self.path} is damaged ({why}); export it once more")


def serve() -> None:
    """The child: answer questions about the file of the last argument until nobody asks."""
    import h5py

    with suppress(ValueError, OSError):  # not every system allows it
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    out = sys.stdout.buffer
    opened: list[Any] = []
    for line in sys.stdin.buffer:
        _bound_time()
        try:
            if not opened:
                opened.append(h5py.File(sys.argv[2], "r", locking=False))
            answer = _answer(opened[0], json.loads(line))
            _send(out, b"n" if answer is None else b"d", answer or b"")
        except Exception as error:  # whatever it is, the file is the cause
            _send(out, b"e", str(error).encode(errors="replace"))


def _bound_time() -> None:
    """End this process if it goes round in circles over one answer."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + _MOST_WORK)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _send(out: BinaryIO, kind: bytes, data: bytes) -> None:
    out.write(kind + _LENGTH.pack(len(data)))
    out.write(data)
    out.flush()


def _answer(file: Any, question: dict[str, Any]) -> bytes | None:
    if "text" in question:
        attributes = _at(file, question["text"]).attrs
        return str(attributes["clare"]).encode() if "clare" in attributes else None
    if "length" in question:
        found = _dataset(file, question["length"])
        if found.ndim != 1 or found.dtype != np.uint8:
            raise ValueError(f"{question['length']} is no file")
        _require_stored(found, found.nbytes)
        return _LENGTH.pack(len(found))
    if "texts" in question:
        found = _dataset(file, question["texts"])
        if found.shape != (question["rows"],):
            raise ValueError(f"{question['texts']} has other rows than it should")
        _require_stored(found, 16 * len(found))
        lines = found[question["start"] : question["start"] + _BLOCK_ROWS]
        texts = [line if isinstance(line, bytes) else str(line).encode() for line in lines]
        return b"".join(_LENGTH.pack(len(text)) + text for text in texts)
    place, dtype = question["array"], np.dtype(question["dtype"])
    found = _dataset(file, place)
    if found.shape != tuple(question["shape"]) or found.dtype != dtype:
        raise ValueError(f"{place} is {found.shape} {found.dtype}")
    row_bytes = found.nbytes // max(len(found), 1)
    if "stored" in question:
        _require_stored(found, question["stored"] * row_bytes)
        return None
    if question.get("whole"):
        _require_stored(found, found.nbytes)
        first, end = question["rows"]
        values = found[first:end]
    else:
        values = np.stack([found[row] for row in question["rows"]])
    return np.ascontiguousarray(values).tobytes()


def _at(file: Any, place: str) -> Any:
    """What lies at a path of the file, by hard links alone."""
    import h5py

    found = file
    for name in place.split("/") if place else ():
        if not isinstance(found, h5py.Group):
            raise ValueError(f"{place} is not there")
        link = found.get(name, getlink=True)
        if link is None:
            raise ValueError(f"{place} is not there")
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{place} is a link to somewhere else")
        found = found[name]
    return found


def _dataset(file: Any, place: str) -> Any:
    import h5py

    found = _at(file, place)
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise ValueError(f"{place} is no data of the file itself")
    if found.compression is not None or found.scaleoffset is not None:
        raise ValueError(f"{place} is compressed, which no export is")
    return found


def _require_stored(found: Any, needed: int) -> None:
    """See that a dataset's bytes lie in the file before anybody makes room for them."""
    if needed > found.id.get_storage_size():
        raise ValueError(f"{found.name} says that it is larger than what lies there")

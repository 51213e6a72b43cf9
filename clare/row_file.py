"""Tables that grow row by row while hours of work go on, and survive a kill at any moment.

Rows are dataclasses of plain values, written as CSV with a line of names or as JSON Lines, by the
file's ending. A kill may leave half a line at the end: opened again, the file is cut back to its
last whole row and goes on from there.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Generic, Self, TextIO, TypeVar

from clare.advice import Name
from clare.errors import InputError
from clare.files import storage_errors
from clare.foreign import bounded_lines, open_text, parse_json, reading
from clare.own_csv import csv_text, original
from clare.typed_json import from_json, to_json

T = TypeVar("T")

LINES = ".jsonl"
"""Ending of a file with a JSON object a line."""


class RowFile(Generic[T]):
    """A table that is gone on with, by one process at a time; a context.

    Args:
        path: a file ending in ``.csv`` or ``.jsonl``; made if it is not there.
        row: the dataclass of its rows.
        closes: whether what begins with the rows before is complete with this one: a kill between
            rows that belong together takes the first of them too.

    Raises:
        InputError: on entry, another process writes the file, or it holds something else.
    """

    def __init__(
        self, path: Path, row: type[T], closes: Callable[[T], bool] = lambda row: True
    ) -> None:
        self.path, self._row, self._closes = path, row, closes
        self._names = [field.name for field in fields(row)]  # type: ignore[arg-type]
        self._descriptor = -1
        self._end = 0

    def __enter__(self) -> Self:
        with storage_errors(self.path):
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise InputError(
                f"{self.path} is being written by another process",
                "wait until that ends",
                Name("another place", "out"),
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if not os.fstat(self._descriptor).st_size:  # made for nothing
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def rows(self) -> Iterator[T]:
        """The whole rows that are there, one after the other; `add` goes on behind the last.

        Raises:
            InputError: a line that is not the last is no such row.
        """
        self._end, waiting = 0, []
        if os.pread(self._descriptor, len(BOM_UTF8), 0) == BOM_UTF8:
            raise InputError(
                f"{self.path} was saved anew by another program, and can't be gone on with",
                Name("another place", "out"),
            )
        with reading(self.path, "a table of rows"), open_text(self.path) as file:
            for end, row in self._read(file):
                if row is not None:
                    waiting.append(row)
                    if not self._closes(row):
                        continue
                yield from waiting
                self._end, waiting = end, []

    def add(self, rows: Sequence[T]) -> None:
        """Write rows that belong together behind those that `rows` gave, or that were added.

        Raises:
            DiskSpaceError: the disk is full; what was written before is kept.
        """
        text = "" if self._end or self.path.suffix == LINES else csv_text([self._names])
        text += "".join(map(self._line, rows))
        data = text.encode()
        with storage_errors(self.path):
            os.ftruncate(self._descriptor, self._end)
            done = 0
            while done < len(data):
                done += os.pwrite(self._descriptor, data[done:], self._end + done)
        self._end += len(data)

    def _line(self, row: T) -> str:
        values = to_json(row)
        if self.path.suffix == LINES:
            return f"{json.dumps(values, allow_nan=False)}\n"
        return csv_text([[_cell(values[name]) for name in self._names]])

    def _read(self, file: TextIO) -> Iterator[tuple[int, T | None]]:
        """Whole lines with the byte that each ends before; of a CSV's first line no row."""
        end, whole, ended = 0, False, False

        def lines() -> Iterator[str]:
            nonlocal end, whole, ended
            try:
                for line in bounded_lines(self.path, file):
                    end += len(line.encode())
                    whole = line.endswith("\n")
                    yield line
            except UnicodeDecodeError as error:
                if error.reason != "unexpected end of data":  # half a character, of half a line
                    raise
            ended = True

        if self.path.suffix == LINES:
            for number, line in enumerate(lines(), start=1):
                if whole:
                    yield end, from_json(self._row, parse_json(line), f"{self.path}, line {number}")
            return
        cells = csv.reader(lines(), strict=True)
        head = next(cells, self._names)
        if head != self._names and (whole or not ",".join(self._names).startswith(",".join(head))):
            raise InputError(
                f"{self.path} holds another table: its first line is not {','.join(self._names)}",
                Name("another place", "out"),
            )
        if not whole:
            return
        yield end, None
        while True:
            try:
                row = next(cells, None)
            except csv.Error:
                if not ended:  # more than a quoted cell that the end of the file cut off
                    raise
                return
            if row is None or not whole:
                return
            where = f"{self.path}, line {cells.line_num}"
            if len(row) != len(self._names):
                raise InputError(
                    f"{where} is damaged: it has {len(row)} cells, not {len(self._names)}"
                )
            yield end, self._parse(row, where)

    def _parse(self, cells: Sequence[str], where: str) -> T:
        values = {
            name: original(cell) for name, cell in zip(self._names, cells, strict=True) if cell
        }
        return from_json(self._row, values, where, texts=True)


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value

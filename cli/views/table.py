"""Tables that never break a word or a number, however narrow the terminal is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from clare.wording import printable

GAP = 3
"""Columns between two cells."""

MOST_LINES = 6
"""A table whose names would be folded into more lines turns: a block a row."""


def table(
    title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, left: int = 1
) -> FittedTable:
    """A table; the first ``left`` columns hold names, the others numbers.

    A heading is folded between words, a name between words and after a slash, a number nowhere.
    """
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    return FittedTable(title, list(columns), cells, left)


class FittedTable:
    """A table that fits the terminal: whole, in parts that repeat the names, or a block a row.

    Args:
        title: above it.
        columns: the headings.
        rows: of cells, which may have several lines.
        left: how many of the first columns hold names.
    """

    def __init__(
        self, title: str | None, columns: list[str], rows: list[list[str]], left: int
    ) -> None:
        self._title, self._columns, self._rows, self._left = title, columns, rows, left

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What is printed."""
        if self._title:
            yield Text(self._title, style="italic")
        every = list(range(len(self._columns)))
        parts = [every] if self._fits(every, options.max_width) else self._parts(options.max_width)
        if parts is None:
            yield from self._blocks(options.max_width)
            return
        for number, part in enumerate(parts):
            if number:
                yield ""
            yield self._drawn(part, options.max_width)

    def _fits(self, columns: Sequence[int], width: int) -> bool:
        if sum(map(self._least, columns)) + GAP * (len(columns) - 1) > width:
            return False
        widths = self._widths(columns, width)
        return all(
            len(fold(line, widths[column])) <= MOST_LINES
            for column in columns
            for line in self._texts(column)
        )

    def _parts(self, width: int) -> list[list[int]] | None:
        """The columns of tables one below the other, each with the names; None if none fits."""
        names, numbers = list(range(self._left)), list(range(self._left, len(self._columns)))
        parts: list[list[int]] = []
        for number in numbers:
            if parts and self._fits([*parts[-1], number], width):
                parts[-1].append(number)
            else:
                parts.append([*names, number])
        cuts = [len(numbers) * cut // max(len(parts), 1) for cut in range(len(parts) + 1)]
        even = [names + numbers[begin:end] for begin, end in pairwise(cuts)]
        for several in (even, parts):  # as many columns in each, where that needs no more tables
            if several and all(self._fits(part, width) for part in several):
                return several
        return None

    def _texts(self, column: int) -> Iterator[str]:
        for row in self._rows:
            yield from row[column].split("\n")

    def _least(self, column: int) -> int:
        """The narrowest that a column can be."""
        is_name = column < self._left
        heading = [word for line in self._columns[column].split("\n") for word in line.split()]
        pieces = [
            piece
            for text in self._texts(column)
            for piece in (_pieces(text) if is_name else [text])
        ]
        return max((cell_len(piece.rstrip()) for piece in (*heading, *pieces)), default=0)

    def _most(self, column: int) -> int:
        texts = (*self._columns[column].split("\n"), *self._texts(column))
        return max(map(cell_len, texts), default=0)

    def _widths(self, columns: Sequence[int], width: int) -> dict[int, int]:
        """Widths that together fit: what is left over the least goes where it is wanted."""
        widths = {column: self._least(column) for column in columns}
        free = width - sum(widths.values()) - GAP * (len(columns) - 1)
        wanting = sorted(columns, key=lambda column: self._most(column) - widths[column])
        for number, column in enumerate(wanting):
            more = min(self._most(column) - widths[column], free // (len(wanting) - number))
            widths[column] += max(more, 0)
            free -= max(more, 0)
        return widths

    def _drawn(self, columns: Sequence[int], width: int) -> Table:
        widths = self._widths(columns, width)
        made = Table(show_edge=False, pad_edge=False)
        for column in columns:
            heading = "\n".join(_folded(self._columns[column], widths[column]))
            justify: Any = "left" if column < self._left else "right"
            made.add_column(Text(heading), justify=justify, width=widths[column])
        for row in self._rows:
            made.add_row(*(Text("\n".join(_folded(row[c], widths[c]))) for c in columns))
        return made

    def _blocks(self, width: int) -> Iterator[Text]:
        labels = [" ".join(heading.split()) for heading in self._columns]
        indent = min(4 + max(map(cell_len, labels[1:]), default=0), width // 2)
        for row in self._rows:
            head = "  ".join(row[0].split("\n"))
            if head:
                yield _whole(fold(head, width), "bold")
            for label, cell in zip(labels[1:], row[1:], strict=True):
                if not cell:
                    continue
                one = "  ".join(cell.split("\n"))
                room = width - indent
                values = [one] if cell_len(one) <= room else _folded(cell, room)
                lines = [f"  {line}" for line in fold(label, width - 2)]
                if cell_len(lines[-1]) + 2 <= indent:
                    lines[-1] += " " * (indent - cell_len(lines[-1])) + values.pop(0)
                yield _whole([*lines, *(" " * indent + value for value in values)])


def fold(text: str, width: int) -> list[str]:
    """A text as lines of at most a width, broken between words or after a slash alone.

    A word that is wider stands on a line of its own.
    """
    lines, line = [], ""
    for piece in _pieces(text):
        if line and cell_len(line + piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += piece
    return [*lines, line.rstrip()]


def _pieces(text: str) -> list[str]:
    return re.split(r"(?<=[ /])(?=[^ /])", text)


def _folded(text: str, width: int) -> list[str]:
    return [line for one in text.split("\n") for line in fold(one, width)]


def _whole(lines: Sequence[str], style: str = "") -> Text:
    return Text("\n".join(lines), style=style, no_wrap=True, overflow="ignore")

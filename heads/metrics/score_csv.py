"""The columns of anybody's CSV of scores, read a row at a time: a million rows fit easily."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clare.errors import InputError
from clare.foreign import csv_rows, open_text, reading
from clare.labels import Labels


@dataclass(frozen=True)
class Columns:
    """What was read of N rows.

    Args:
        score: name of the column of scores.
        labels: N of 0 and 1.
        scores: N numbers.
        texts: N texts by column, for the columns that the file has.
    """

    score: str
    labels: array[int]
    scores: array[float]
    texts: dict[str, list[str]]


def read_columns(
    path: Path, label: str, score: str | None, texts: Iterable[str], words: Labels
) -> Columns:
    """Read some columns; cells that a row lacks are empty.

    Args:
        path: the file.
        label: column of labels.
        score: column of scores; ``margin`` where the file has one, else ``score``, if None.
        texts: columns that the file may have.
        words: how labels are read.

    Raises:
        InputError: the file, the column of labels or scores, or a cell in them is not usable.
    """
    with reading(path, "a CSV file"), open_text(path) as file:
        reader = csv_rows(path, file)
        header: list[str] = next(reader, [])
        ranked = score or ("margin" if "margin" in header else "score")
        for option, name in (("--label", label), ("--score", ranked)):
            if name not in header:
                listed = ", ".join(header) or "none"
                raise InputError(f"{path} has no column {name!r}; name one with {option}: {listed}")
        found = {name: list[str]() for name in texts if name in header}
        labels, scores = array("b"), array("d")
        marked, scored = header.index(label), header.index(ranked)
        others = [(header.index(name), column) for name, column in found.items()]
        known: dict[str, str] = {}  # names of subsets and videos stand in many rows
        for cells in _padded(reader, len(header)):
            where = f"{path}, line {reader.line_num}"
            labels.append(words.require(cells[marked], where))
            scores.append(_number(where, ranked, cells[scored]))
            for place, column in others:
                column.append(known.setdefault(cells[place], cells[place]))
    return Columns(ranked, labels, scores, found)


def _padded(rows: Iterable[Sequence[str]], width: int) -> Iterator[list[str]]:
    """Rows that are not empty, as wide as the header."""
    for cells in rows:
        if cells:
            yield [*cells, *[""] * (width - len(cells))]


def _number(where: str, column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{where}: {column} is {text!r}, not a number") from None

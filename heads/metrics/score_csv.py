"""The columns of anybody's CSV of scores, read a row at a time: a million rows fit easily."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TextIO

from clare.advice import Name
from clare.columns import CUSTOMARY
from clare.errors import InputError
from clare.foreign import bounded_lines, csv_rows, open_text, reading
from clare.labels import Labels
from clare.own_csv import original
from clare.wording import counted, listed

MOST_SPELLINGS = 1000
"""Of labels that are looked at together; a column of names has as many as rows."""

NEEDED = ("label", "score")

Scale = Literal["margin", "probability", "number"]
"""What scores are: logits of fake less real, probabilities of fake, or numbers that only rank."""


@dataclass(frozen=True)
class ScoreColumns:
    """Which column of a CSV of scores is which; a customary name is looked for where None.

    Args:
        label: of labels.
        score: of scores, higher for fakes.
        subset: of subsets.
        video: of the video that an image is a frame of.
        sample: of the images' names.
    """

    label: str | None = None
    score: str | None = None
    subset: str | None = None
    video: str | None = None
    sample: str | None = None


@dataclass(frozen=True)
class Columns:
    """What was read of N rows.

    Args:
        names: the columns that were taken, by what they are.
        labels: N of 0 and 1.
        scores: N numbers.
        texts: N texts by what they are, or by name, for the columns that the file has.
        numbers: N numbers by name, nan where a cell is empty.
    """

    names: Mapping[str, str]
    labels: array[int]
    scores: array[float]
    texts: dict[str, list[str]]
    numbers: dict[str, array[float]]


def read_columns(
    path: Path,
    named: ScoreColumns,
    others: Collection[str],
    words: Labels,
    without: Collection[str] = (),
    ours: Collection[str] = (),
    numbers: Sequence[str] = (),
) -> Columns:
    """Read some columns of a CSV whose cells a comma, a semicolon or a tab parts.

    Args:
        path: the file.
        named: its columns.
        others: names of further columns of texts that the file may have.
        words: how labels are read.
        without: what of `CUSTOMARY` is not read, which saves memory.
        ours: columns of a file that `csv_text` wrote; those of others are read as they are.
        numbers: names of further columns of numbers, read where the file has the first of them.

    Raises:
        InputError: the file, a named column, or a cell of labels or numbers is not usable.
    """
    with reading(path, "a CSV file"), open_text(path) as file:
        mark = _separator(path, file)
        file.seek(0)
        reader = csv_rows(path, file, delimiter=mark)
        header = [name.strip() for name in next(reader, [])]
        taken = _choose(path, header, named)
        names = {role: name for role, name in taken.items() if role not in without}
        found = {role: list[str]() for role in names if role not in NEEDED}
        found |= {name: [] for name in others if name in header}
        places = [(header.index(names.get(role, role)), cells) for role, cells in found.items()]
        marked, scored = (header.index(names[role]) for role in NEEDED)
        wanted = [name for name in numbers if {name, numbers[0]} <= {*header}]
        more = {name: array("d") for name in wanted}
        labels, scores = array("b"), array("d")
        spellings: set[str] = set()
        text = original if ours and {*ours} <= {*header} else str
        known: dict[str, str] = {}  # names of subsets and videos stand in many rows
        for cells in _whole(path, reader, len(header)):
            where = f"{path}, line {reader.line_num}"
            labels.append(words.require(cells[marked], where))
            if len(spellings) < MOST_SPELLINGS:
                spellings.add(cells[marked])
            scores.append(_number(where, names["score"], cells[scored], mark))
            for name, column in more.items():
                cell = cells[header.index(name)]
                column.append(_number(where, name, cell, mark) if cell else math.nan)
            for place, texts in places:
                texts.append(known.setdefault(cells[place], text(cells[place])))
    if not labels:
        raise InputError(f"{path} has no rows")
    words.refuse_mixed(spellings, str(path))
    return Columns(names, labels, scores, found, more)


def _separator(path: Path, file: TextIO) -> str:
    """What parts the cells of the first line: most lines of names hold one kind alone."""
    first = next(bounded_lines(path, file), "")
    if not first.strip():
        raise InputError(f"{path} is empty: its first line names the columns")
    return max(",;\t", key=first.count)


def _choose(path: Path, header: Sequence[str], named: ScoreColumns) -> dict[str, str]:
    """The column of each role; those that nobody named and that are not there are left out."""
    plain = {name.casefold(): name for name in reversed(header)}
    there = listed(filter(None, header))
    found: dict[str, str] = {}
    for one in fields(named):
        role, name = one.name, getattr(named, one.name)
        if name is not None:
            if name not in header:
                raise InputError(f"{path} has no column {name!r}; it has {there}", _ask(role))
            found[role] = name
        elif usual := [plain[word] for word in CUSTOMARY[role] if word in plain]:
            found[role] = usual[0]
        elif role in NEEDED and any(map(_is_number, header)):
            raise InputError(
                f"{path} has no line of names that has a {role}: its first line is "
                f"{', '.join(header)!r}",
                _ask(role),
                "write the columns' names, as label and score, above the rows",
            )
        elif role in NEEDED:
            raise InputError(f"{path} has no column {role!r}; it has {there}", _ask(role))
    return found


def _ask(role: str) -> Name:
    return Name("the column", role)


def _whole(path: Path, rows: Any, width: int) -> Iterator[Sequence[str]]:
    """Rows that are not empty, each with a cell for every column."""
    for cells in rows:
        if not cells:
            continue
        if len(cells) < width or any(cells[width:]):
            raise InputError(
                f"{path}, line {rows.line_num}: it has {counted(len(cells), 'cell')} and the first "
                f"line {width}"
            )
        yield cells


def _number(where: str, column: str, cell: str, separator: str) -> float:
    # Where semicolons part the cells, commas part whole numbers from their fractions.
    text = cell.replace(",", ".") if separator == ";" else cell
    if not _is_number(text):
        said = f"{column} is {text!r}, not a number" if text.strip() else f"{column} is empty"
        raise InputError(f"{where}: {said}")
    return float(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

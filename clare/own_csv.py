"""CSV files that people open in a spreadsheet, which takes some texts for formulas and runs them.

A path, a subset or a label may come from a stranger. So a text that a spreadsheet would compute
(OWASP, "CSV injection") is written with an apostrophe before it; `original` takes it off again.
Numbers stay.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from numbers import Number
from types import SimpleNamespace
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_WRITTEN = re.compile(r"'+[=+\-@\t\r\n]")


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows as CSV with commas, a line each.

    Args:
        rows: cells: numbers, None for an empty one, or what is written as text. Of a name that is
            not UTF-8, the odd bytes are shown as escapes.
    """
    lines: list[str] = []
    # As a writer that ends lines with both does, a cell with either of them is quoted.
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n")
    writer.writerows([_cell(value) for value in row] for row in rows)
    text = "".join(f"{line[:-2]}\n" for line in lines)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def original(cell: str) -> str:
    """The text that a cell of `csv_text` stands for."""
    return cell[1:] if cell[:1] == "'" and _WRITTEN.match(cell) else cell


def originals(cells: Sequence[str]) -> Sequence[str]:
    """`original` of each cell of a line; of most lines, no cell begins with an apostrophe."""
    return list(map(original, cells)) if "'" in "".join(cells) else cells


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, Number):
        return value
    text = str(value)
    return f"'{text}" if _FORMULA.match(text) else text

"""A table of figures, one of two ways round, in colours that are said below it."""

from __future__ import annotations

from collections.abc import Sequence

from clare.heads.report.blocks import Cell, Table

COLUMNS = 8
"""Columns of figures that stand side by side on a page."""

COLOURS_SAID = "Blue is above chance, red below; the paler, the nearer to 0.5."
IOU_COLOURS_SAID = "The deeper the blue, the higher the IoU."


def matrix(
    caption: str, rows: Sequence[Cell], columns: Sequence[Cell], cells: Sequence[Sequence[Cell]]
) -> Table:
    """A line a row, or a line a column where there are too many of these.

    Args:
        caption: what it shows.
        rows: what its lines are called.
        columns: what its columns are called.
        cells: (rows, columns).
    """
    if len(columns) > max(COLUMNS, len(rows)):
        rows, columns = columns, rows
        cells = list(zip(*cells, strict=True))
    lines = [[name, *line] for name, line in zip(rows, cells, strict=True)]
    return Table(caption, ["", *columns], lines)

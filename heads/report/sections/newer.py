"""Figures on images that are newer than what the towers behind them can have seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clare.heads.evaluation.newer import Newer, reasons_said
from clare.heads.report.blocks import Block, Cell, Items, Section, Table, Text
from clare.heads.report.formatting import auc_heat, figure_cell

MEANS = (
    "Towers are trained on images of the web, up to a day. Where a test image was among them, a "
    "figure may tell what a tower remembers. Images that say when they were made (column created), "
    "and were made later, can't have been among them: these figures are of them alone, n is how "
    "many they are."
)


def newer_section(newer: Mapping[str, Newer], tests: Sequence[str]) -> Section:
    """The figures, or why there are none.

    Args:
        newer: by name of what is judged.
        tests: names of all test sets.
    """
    figures = {name: one for name, one in newer.items() if one.mean is not None}
    blocks: list[Block] = []
    if figures:
        rows = [_line(name, one, tests) for name, one in figures.items()]
        title = "AUC on images newer than all that the towers can have seen"
        blocks.append(Table(title, ["", "newer than", *tests, "mean"], rows, names=2))
    blocks.append(Text(MEANS, "note"))
    towers = dict.fromkeys(tower for one in newer.values() for tower in one.towers)
    return Section(
        "newer",
        "Images newer than the towers",
        [*blocks, Items([*reasons_said(newer), *towers])],
    )


def _line(name: str, one: Newer, tests: Sequence[str]) -> list[Cell]:
    cells = []
    for test in tests:
        figure = one.tests.get(test)
        if figure is None:
            cells.append(Cell("–", f"n {one.dated.get(test, 0)}"))
            continue
        cell = figure_cell(figure, auc_heat)
        cells.append(Cell(cell.text, f"{cell.under}\nn {figure.n}", cell.value, cell.heat))
    mean = Cell("–") if one.mean is None else figure_cell(one.mean, auc_heat)
    return [Cell(name), Cell(one.until), *cells, mean]

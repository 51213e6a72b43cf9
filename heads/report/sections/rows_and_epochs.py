"""A sweep by set of rows, of frames and of videos, and over its epochs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from operator import itemgetter

from clare.bootstrap import Figure
from clare.heads.report.blocks import Block, Cell, Plot, Plots, Section, Table, Text
from clare.heads.report.formatting import CHANCE, NAMES, figure_cell
from clare.heads.report.run_results import Finding
from clare.heads.report.svg import curve_plot, epoch_plot
from clare.heads.report.sweep_results import Sweep, plain
from clare.heads.sweeps.figures import FIGURES, SHOWN, VALIDATION, figure_lines
from clare.heads.sweeps.table import Result

_SAID = (
    "Mean over seeds; the interval is the 95 % interval of that mean (Student's t), of a single "
    "seed that of its rows."
)


def by_rows(sweep: Sweep) -> list[Section]:
    """AUC and balanced accuracy on training, test and other rows; nothing where none was tested."""
    lines = figure_lines(sweep.path, sweep.lines, sweep.axes)
    if not lines:
        return []
    rows = [
        [
            Cell(sweep.label(line)),
            Cell(_rows_of(line), f"{line['n']:,} {line['level']}s"),
            Cell(str(line["seeds"])),
            *(figure_cell(_figure(line, name)) for name in SHOWN),
        ]
        for line in lines
    ]
    heads = ["configuration", "rows", "seeds", *(NAMES[name] for name in SHOWN)]
    blocks: list[Block] = [
        Table(f"{FIGURES}: by rows, of frames and of videos", heads, rows, names=2),
        Text(
            f"{_SAID} Training rows are those that a run has learnt from, without augmentation; "
            "validation chose epoch and threshold. The threshold is the run's own everywhere.",
            "note",
        ),
    ]
    for option in sweep.swept:
        if plots := _against(sweep, option, lines):
            blocks.append(Plots(plots))
    return [Section("rows", "Training, test and other rows", blocks)]


def over_epochs(sweep: Sweep, findings: Sequence[Finding]) -> list[Section]:
    """Loss and validation's figures over the epochs, a curve a configuration."""
    labels = {str(line["run"]): sweep.label(line) for line in sweep.finished}
    found: dict[str, dict[str, dict[float, list[float]]]] = {
        name: {sweep.label(line): defaultdict(list) for line in sweep.board}
        for name in ("train_loss", "val_loss", sweep.ranked, "val_balanced_accuracy")
    }
    for one in findings:
        for epoch in one.history:
            for name, curves in found.items():
                value = epoch.get(name)
                if isinstance(value, int | float):
                    curves[labels[one.path.name]][float(epoch["epoch"])].append(float(value))
    plots = []
    for name, curves in found.items():
        drawn = {
            label: sorted((place, statistics.fmean(values)) for place, values in points.items())
            for label, points in curves.items()
            if points
        }
        if drawn:
            split, _, figure = name.partition("_")
            called = (
                f"{'training' if split == 'train' else 'validation'} {NAMES.get(figure, figure)}"
            )
            chance = CHANCE if figure in SHOWN else None
            plots.append(epoch_plot(drawn, called, chance))
    return [Section("epochs", "Over the epochs", [Plots(plots)])] if plots else []


def _against(sweep: Sweep, option: str, lines: Sequence[Result]) -> list[Plot]:
    """Each figure on each set of rows against an option, a curve a configuration of the others."""
    places, plots = sweep.swept[option].places, list[Plot]()
    sets = dict.fromkeys((line["rows"], line["subset"], line["level"]) for line in lines)
    for name in SHOWN:
        for where in (one for one in sets if one[0] != VALIDATION):
            curves: dict[str, list[tuple[float, Figure]]] = defaultdict(list)
            for line in lines:
                value = plain(line[option])
                if (line["rows"], line["subset"], line["level"]) != where or value not in places:
                    continue
                if line[name] is not None:
                    label = sweep.label(line, besides=option)
                    curves[label].append((places[value][0], _figure(line, name)))
            if curves:
                drawn = {
                    label: sorted(points, key=itemgetter(0)) for label, points in curves.items()
                }
                kind, subset, level = where
                what = f"{NAMES[name]} on {f'{subset} {kind}'} rows, {level}s"
                plots.append(curve_plot(drawn, sweep.swept[option], what, _SAID, CHANCE))
    return plots


def _rows_of(line: Result) -> str:
    return " ".join(filter(None, (line["subset"], line["rows"])))


def _figure(line: Result, name: str) -> Figure:
    return Figure(line[name], line[f"{name}_low"], line[f"{name}_high"], line["n"])

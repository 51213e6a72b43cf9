"""A sweep's tables and drawings: leaderboard, spread over seeds, what each option did."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from clare.bootstrap import Figure
from clare.heads.report.blocks import Block, Cell, Plots, Section, Table, Text, row
from clare.heads.report.formatting import NAMES, auc_heat, decimal, figure_cell, iou_heat
from clare.heads.report.run_results import Finding
from clare.heads.report.sections.matrix import COLOURS_SAID, IOU_COLOURS_SAID, matrix
from clare.heads.report.sections.sweep_baselines import beside_baselines
from clare.heads.report.svg import curve_plot, spread_plot
from clare.heads.report.sweep_results import Sweep, plain, spread_of
from clare.heads.sweeps.table import RESULTS, Result

_NAMES = {"iou": "IoU", "pixel_f1": "F1 of pixels", "pixel_ap": "AP of pixels", **NAMES}


def board(sweep: Sweep, findings: Sequence[Finding]) -> Section:
    """Mean and spread over seeds of every configuration, and what their tests must beat."""
    lines = sweep.board
    averaged = [key for key in lines[0] if f"{key}_spread" in lines[0]]
    known = [key for key in averaged if any(line[key] is not None for line in lines)]
    known.sort(key=_order)
    rows = [
        [
            *([Cell(plain(line[name])) for name in sweep.options] or [Cell("all runs")]),
            *row(line["seeds"], line["failed"]),
            *(Cell(decimal(line[k]), spread_of(line, k), line[k]) for k in known),
        ]
        for line in lines
    ]
    columns = [*(sweep.options or ["configuration"]), "seeds", "failed", *map(_heading, known)]
    blocks: list[Block] = [
        Table(
            f"Leaderboard, ranked by {sweep.figure} on validation",
            columns,
            rows,
            names=max(1, len(sweep.options)),
        ),
        Text(
            "Mean over seeds; below it ± the sample standard deviation. Test figures never rank.",
            "note",
        ),
    ]
    return Section("leaderboard", "Leaderboard", blocks + beside_baselines(sweep, findings))


def spread(sweep: Sweep) -> Section:
    """Every run as a dot, by configuration."""
    rows = {sweep.ranked: "validation", sweep.tested: "test rows"}
    found = {f"{sweep.figure} on {what}": sweep.groups(key) for key, what in rows.items()}
    plots = [spread_plot(one, what, sweep.chance) for what, one in found.items() if one]
    return Section("spread", "Spread over seeds", [Plots(plots)])


def options(sweep: Sweep) -> Section:
    """What each value of each option did, everything else being equal."""
    blocks: list[Block] = []
    for name in (name for name in sweep.options if len(sweep.axes[name]) > 1):
        blocks.append(_option(sweep, name))
        if name in sweep.swept:
            blocks.append(_curves(sweep, name))
    if blocks:
        blocks.append(
            Text(
                "A difference pairs runs that agree in all other options and in the seed; below "
                "it the pairs in which the value was better.",
                "note",
            )
        )
    else:
        blocks.append(Text("Nothing but the seed was varied."))
    return Section("options", "What each option did", blocks)


def by_subset(sweep: Sweep, findings: Sequence[Finding]) -> Section:
    """Mean test IoU or AUC over seeds of every configuration, on every tested subset."""
    tests = {one.name: one.test for one in findings if one.test is not None}
    columns = sorted({name for test in tests.values() for name in test.subsets})
    found: dict[str, dict[str, list[float]]] = {sweep.label(line): {} for line in sweep.board}
    masks = sweep.figure == "IoU"
    for line in sweep.finished:
        test = tests.get(line["run"])
        known = {} if test is None else test.ious if masks else test.aucs
        for name, value in known.items():
            if value is not None:
                found[sweep.label(line)].setdefault(name, []).append(value)
    heat = iou_heat if masks else auc_heat
    cells = [
        [_mean_cell(values.get(name, []), heat) for name in columns] for values in found.values()
    ]
    colours = IOU_COLOURS_SAID if masks else COLOURS_SAID
    blocks: list[Block] = [
        matrix(
            f"Mean {sweep.figure} on test rows: configuration, tested on",
            [Cell(label) for label in found],
            [Cell(name) for name in columns],
            cells,
        ),
        Text(f"Mean over seeds, ± the sample standard deviation. {colours}", "note"),
    ]
    return Section("matrix", "Configurations × test subsets", blocks)


def runs(sweep: Sweep) -> Section:
    """Every line of ``results.csv``."""
    blocks: list[Block] = []
    for split, what in (("val", "validation"), ("test", "test rows")):
        figures = {
            name: head
            for name, head in _NAMES.items()
            if any(line.get(f"{split}_{name}") is not None for line in sweep.finished)
        }
        rows = []
        for line in sweep.lines:
            epoch = f"epoch {int(line['epoch'])}" if line.get("epoch") else ""
            cells = (figure_cell(_figure(line, f"{split}_{name}")) for name in figures)
            rows.append([Cell(str(line["run"]), epoch), *cells])
        if figures:
            caption = f"{RESULTS}, a line a run: on {what}"
            blocks.append(Table(caption, ["run", *figures.values()], rows))
    blocks += [
        Text(f"{line['run']} failed: {line['failure']}", "warning")
        for line in sweep.lines
        if line["failure"]
    ]
    return Section("runs", "Every run", blocks, folded=True)


def _curves(sweep: Sweep, option: str) -> Plots:
    """IoU or AUC against an option, on validation and on test rows."""
    said = (
        "Mean over seeds. A bar is the 95 % interval of that mean (Student's t); of a single seed, "
        "that of its rows."
    )
    plots = []
    for figure, rows in ((sweep.ranked, "validation"), (sweep.tested, "test rows")):
        if figure in sweep.board[0] and (curves := sweep.curves(option, figure)):
            what = f"{sweep.figure} on {rows}"
            plots.append(curve_plot(curves, sweep.swept[option], what, said, sweep.chance))
    return Plots(plots)


def _option(sweep: Sweep, name: str) -> Table:
    others = [axis for axis in sweep.axes if axis != name]
    values: dict[str, dict[tuple[Any, ...], float]] = defaultdict(dict)
    for line in sweep.finished:
        key = tuple(line[axis] for axis in others)
        if line[sweep.ranked] is not None:
            values[plain(line[name])][key] = line[sweep.ranked]
    base = sweep.axes[name][0]
    rows = []
    for value in sweep.axes[name]:
        found = list(values[value].values())
        if not found:
            continue
        ends = f"{decimal(min(found))} to {decimal(max(found))}"
        mean = statistics.fmean(found)
        difference = Cell("–")
        if value != base:
            pairs = [v - values[base][k] for k, v in values[value].items() if k in values[base]]
            difference = _difference(pairs)
        rows.append([Cell(value), *row(len(found)), Cell(decimal(mean), ends, mean), difference])
    columns = [name, "runs", f"mean {sweep.figure} on validation", f"against {base}"]
    return Table(f"Option {name}, over all others", columns, rows)


def _mean_cell(values: Sequence[float], heat: Callable[[float], float]) -> Cell:
    if not values:
        return Cell("–")
    mean = statistics.fmean(values)
    under = f"± {decimal(statistics.stdev(values))}" if len(values) > 1 else ""
    return Cell(decimal(mean), under, mean, heat(mean))


def _difference(pairs: Sequence[float]) -> Cell:
    if not pairs:
        return Cell("–")
    mean, better = statistics.fmean(pairs), sum(one > 0 for one in pairs)
    return Cell(f"{mean:+.3f}", f"better in {better} of {len(pairs)}", mean)


def _figure(line: Result, key: str) -> Figure:
    return Figure(line.get(key), line.get(f"{key}_low"), line.get(f"{key}_high"), 0)


def _order(key: str) -> tuple[bool, int]:
    """Validation first, and of each split what says most."""
    split, _, name = key.partition("_")
    return split != "val", [*_NAMES].index(name)


def _heading(key: str) -> str:
    split, _, name = key.partition("_")
    return f"{split} {_NAMES.get(name, name)}"

"""A sweep's page: its leaderboard, the spread over seeds, and what each option did."""

from __future__ import annotations

import csv
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clare.errors import InputError
from clare.heads.page.blocks import Block, Cell, Plots, Section, Table, Text, row
from clare.heads.page.figures import spread_plot
from clare.heads.page.numbers import NAMES, counted, decimal, figure_cell, listed
from clare.heads.sweep import RESULTS, Result, leaderboard

SEEDS = ("seed", "data_seed")
RANKED = "val_auc"


@dataclass(frozen=True)
class Sweep:
    """A sweep's ``results.csv``.

    Args:
        path: its folder.
        axes: the settings that were varied, seeds too, with their values as text.
        lines: a line a run; None where a cell is empty.
    """

    path: Path
    axes: Mapping[str, Sequence[str]]
    lines: Sequence[Result]

    @property
    def options(self) -> list[str]:
        """The axes that are no seeds."""
        return [name for name in self.axes if name not in SEEDS]

    @property
    def finished(self) -> list[Result]:
        """The lines with figures."""
        return [line for line in self.lines if not line["failure"]]

    @property
    def board(self) -> list[Result]:
        """Mean and spread over seeds, the best on validation first."""
        return leaderboard(self.lines, self.axes)

    def label(self, line: Result) -> str:
        """The configuration of a line."""
        return ", ".join(_said(name, line[name]) for name in self.options) or "all runs"

    def groups(self, figure: str) -> dict[str, list[float]]:
        """A figure of every run by configuration, in the leaderboard's order."""
        groups: dict[str, list[float]] = {self.label(line): [] for line in self.board}
        for line in self.finished:
            if line.get(figure) is not None:
                groups[self.label(line)].append(float(line[figure]))
        return {name: values for name, values in groups.items() if values}


def is_sweep(path: Path) -> bool:
    """Whether a folder holds a sweep."""
    return (path / RESULTS).is_file()


def read_sweep(path: Path) -> Sweep:
    """Read a sweep's folder.

    Raises:
        InputError: its results can't be read, or no run has finished.
    """
    try:
        with (path / RESULTS).open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            lines: list[Result] = [
                {name: cell if cell != "" else None for name, cell in line.items()}
                for line in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path / RESULTS} can't be read: {error}") from error
    if "failure" not in columns or columns[0] != "run" or None in (line["run"] for line in lines):
        raise InputError(f"{path / RESULTS} is not what `clare sweep` writes")
    names = columns[1 : columns.index("failure")]
    axes = {name: list(dict.fromkeys(str(line[name]) for line in lines)) for name in names}
    sweep = Sweep(path, axes, lines)
    if not sweep.finished:
        raise InputError(f"no run of {path} has finished: run its `clare sweep` again")
    return sweep


def question_of(sweep: Sweep) -> str:
    """What the sweep asks."""
    varied = [name for name in sweep.options if len(sweep.axes[name]) > 1]
    if not varied:
        return f"How far do {counted(len(sweep.finished), 'run')} of one configuration differ?"
    many = len(sweep.board)
    return f"Which of {many} configurations ({listed(varied)}) tells fakes from reals best?"


def answer_of(sweep: Sweep) -> str:
    """Who leads on validation, whether that is more than the seeds' spread, and on test rows."""
    first, *others = sweep.board
    text = f"On validation {sweep.label(first)} leads: AUC {_mean(first, RANKED)}."
    if others:
        gap = (first[RANKED] or 0) - (others[0][RANKED] or 0)
        noise = max(first.get(f"{RANKED}_spread") or 0, others[0].get(f"{RANKED}_spread") or 0)
        text += f" Next is {sweep.label(others[0])}: {_mean(others[0], RANKED)}"
        if not noise:
            text += "; with one seed each, nothing says whether that is chance."
        elif gap < noise:
            text += "; the gap is smaller than the spread over seeds, so the order is not settled."
        else:
            text += "; the gap is larger than the spread over seeds."
    if first.get("test_auc") is not None:
        return f"{text} On test rows the leader has AUC {_mean(first, 'test_auc')}."
    return f"{text} No run was tested on unseen rows (`clare sweep --evaluate SUBSETS`)."


def facts_of(sweep: Sweep) -> list[tuple[str, str, str]]:
    """The figures that a reader looks for first."""
    first, failed = sweep.board[0], len(sweep.lines) - len(sweep.finished)
    facts = [
        ("runs", str(len(sweep.lines)), f"{failed} failed" if failed else "all finished"),
        ("best validation AUC", decimal(first[RANKED]), sweep.label(first)),
    ]
    if first.get("test_auc") is not None:
        facts.append(("its test AUC", decimal(first["test_auc"]), _spread(first, "test_auc")))
    return facts


def board(sweep: Sweep) -> Section:
    """Mean and spread over seeds of every configuration."""
    lines = sweep.board
    known = [key for key in lines[0] if f"{key}_spread" in lines[0]]
    rows = [
        [
            *(Cell(_plain(line[name])) for name in sweep.options or ["run"] if sweep.options),
            *([] if sweep.options else [Cell("all runs")]),
            *row(line["seeds"], line["failed"]),
            *(Cell(decimal(line[k]), _spread(line, k), line[k]) for k in known),
        ]
        for line in lines
    ]
    columns = [*(sweep.options or ["configuration"]), "seeds", "failed", *map(_heading, known)]
    blocks: list[Block] = [
        Table(
            "Leaderboard, ranked by AUC on validation",
            columns,
            rows,
            names=max(1, len(sweep.options)),
        ),
        Text(
            "Mean over seeds; below it ± the sample standard deviation. Test figures never rank.",
            "note",
        ),
    ]
    return Section("leaderboard", "Leaderboard", blocks)


def spread(sweep: Sweep) -> Section:
    """Every run as a dot, by configuration."""
    plots = [spread_plot(sweep.groups(RANKED), "AUC on validation")]
    tested = sweep.groups("test_auc")
    if tested:
        plots.append(spread_plot(tested, "AUC on test rows"))
    return Section("spread", "Spread over seeds", [Plots(plots)])


def options(sweep: Sweep) -> Section:
    """What each value of each option did, everything else being equal."""
    blocks: list[Block] = [
        _option(sweep, name) for name in sweep.options if len(sweep.axes[name]) > 1
    ]
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


def runs(sweep: Sweep) -> Section:
    """Every line of ``results.csv``."""
    first = sweep.finished[0]
    figures = [
        (f"{split}_{name}", f"{split} {heading}")
        for split in ("val", "test")
        for name, heading in NAMES.items()
        if f"{split}_{name}" in first
    ]
    rows = []
    for line in sweep.lines:
        cells = [figure_cell(_figure(line, key)) for key, _ in figures]
        epoch = int(line["epoch"]) if line.get("epoch") else None
        rows.append([Cell(str(line["run"])), *row(epoch), *cells])
    blocks: list[Block] = [
        Table(f"{RESULTS}, a line a run", ["run", "epoch", *(h for _, h in figures)], rows)
    ]
    blocks += [
        Text(f"{line['run']} failed: {line['failure']}", "warning")
        for line in sweep.lines
        if line["failure"]
    ]
    return Section("runs", "Every run", blocks)


def _option(sweep: Sweep, name: str) -> Table:
    others = [axis for axis in sweep.axes if axis != name]
    values: dict[str, dict[tuple[Any, ...], float]] = defaultdict(dict)
    for line in sweep.finished:
        key = tuple(line[axis] for axis in others)
        values[str(line[name])][key] = float(line[RANKED])
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
    columns = [name, "runs", "mean AUC on validation", f"against {base}"]
    return Table(f"{name.capitalize()}, over all other options", columns, rows)


def _difference(pairs: Sequence[float]) -> Cell:
    if not pairs:
        return Cell("–")
    mean, better = statistics.fmean(pairs), sum(one > 0 for one in pairs)
    return Cell(f"{mean:+.3f}", f"better in {better} of {len(pairs)}", mean)


def _figure(line: Result, key: str) -> dict[str, float | None]:
    parts = {"value": key, "low": f"{key}_low", "high": f"{key}_high"}
    found = {part: line.get(column) for part, column in parts.items()}
    return {part: None if text is None else float(text) for part, text in found.items()}


def _heading(key: str) -> str:
    split, _, name = key.partition("_")
    return f"{split} {NAMES.get(name, name)}"


def _mean(line: Result, key: str) -> str:
    return f"{decimal(line[key])}{f' {_spread(line, key)}' if _spread(line, key) else ''}"


def _spread(line: Result, key: str) -> str:
    found = line.get(f"{key}_spread")
    return "" if found is None else f"± {decimal(found)}"


def _said(name: str, value: Any) -> str:
    return _plain(value) if name in ("fusion", "classifier") else f"{name} {_plain(value)}"


def _plain(value: Any) -> str:
    return "–" if value is None else str(value)

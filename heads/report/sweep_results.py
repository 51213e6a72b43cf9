"""A sweep as its folder records it, the question it asks and what it answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from clare.bootstrap import Figure
from clare.errors import InputError
from clare.heads.config import PARTS
from clare.heads.report.formatting import CHANCE, decimal
from clare.heads.report.sweep_axes import Axis, axis_of, number_of
from clare.heads.sweeps.table import (
    RESULTS,
    Result,
    axes_of,
    leaderboard,
    options_of,
    ranked_by,
    read_results,
)
from clare.wording import counted, listed

_ALL = "all runs"
"""The configuration of a sweep in which nothing was varied."""


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
        return options_of(self.axes)

    @property
    def finished(self) -> list[Result]:
        """The lines with figures."""
        return [line for line in self.lines if not line["failure"]]

    @property
    def board(self) -> list[Result]:
        """Mean and spread over seeds, the best on validation first."""
        return leaderboard(self.lines, self.axes)

    @property
    def ranked(self) -> str:
        """The figure on validation that ranks the configurations, a column of the tables."""
        return ranked_by(self.lines)

    @property
    def figure(self) -> str:
        """The name of that figure."""
        return "IoU" if self.ranked == "val_iou" else "AUC"

    @property
    def chance(self) -> float | None:
        """The figure of guessing; an IoU has none."""
        return None if self.figure == "IoU" else CHANCE

    @property
    def tested(self) -> str:
        """The same figure on test rows, a column of the tables where runs were tested."""
        return self.ranked.replace("val_", "test_")

    def label(self, line: Result, besides: str = "") -> str:
        """The configuration of a line, but for one option."""
        varied = [n for n in self.options if len(self.axes[n]) > 1 and n != besides]
        said = [_said(name, line[name]) for name in varied]
        return ", ".join(filter(None, said)) or _ALL

    @property
    def swept(self) -> dict[str, Axis]:
        """The options that a curve can be drawn over."""
        found = {name: axis_of(name, self.axes[name]) for name in self.options}
        return {name: axis for name, axis in found.items() if axis is not None}

    def curves(self, option: str, figure: str) -> dict[str, list[tuple[float, Figure]]]:
        """A figure against the places of an option, a curve a configuration of the others.

        Args:
            option: one of `swept`.
            figure: a column of the leaderboard.

        Returns:
            By configuration, the best first, the option's places in their order, each with the
            mean over seeds and the interval of that mean; with one seed, that of its own rows.
        """
        single = {self.label(line): line for line in self.finished}
        curves: dict[str, list[tuple[float, Figure]]] = defaultdict(list)
        places = self.swept[option].places
        for line in self.board:
            if line[figure] is None or (value := plain(line[option])) not in places:
                continue
            of = line if line["seeds"] > 1 else single[self.label(line)]
            point = Figure(
                line[figure], of.get(f"{figure}_low"), of.get(f"{figure}_high"), line["seeds"]
            )
            place, rest = places[value]
            curves[self._curve(line, option, rest)].append((place, point))
        return {name: sorted(points, key=itemgetter(0)) for name, points in curves.items()}

    def _curve(self, line: Result, option: str, rest: str) -> str:
        """What the curve of a line is called: its other options, and what else the value says."""
        others = self.label(line, besides=option)
        if not rest:
            return others
        return f"with {rest}" if others == _ALL else f"{others}, with {rest}"

    def groups(self, figure: str) -> dict[str, list[float]]:
        """A figure of every run by configuration, in the leaderboard's order."""
        groups: dict[str, list[float]] = {self.label(line): [] for line in self.board}
        for line in self.finished:
            if line.get(figure) is not None:
                groups[self.label(line)].append(line[figure])
        return {name: values for name, values in groups.items() if values}


def is_sweep(path: Path) -> bool:
    """Whether a folder holds a sweep."""
    return (path / RESULTS).is_file()


def read_sweep(path: Path) -> Sweep:
    """Read a sweep's folder.

    Raises:
        InputError: its results can't be read, or no run has finished.
    """
    found = read_results(path)
    finished = [line for line in found if not line["failure"]]
    if not finished:
        raise InputError(f"no run of {path} has finished", "run the sweep again")
    if not {"val_iou", "val_auc"} & set(finished[0]):
        raise InputError(f"{path / RESULTS} is not what a sweep writes")
    names = axes_of(finished[0])
    lines = [_typed(path, line, names) for line in found]
    axes = {name: list(dict.fromkeys(plain(line[name]) for line in lines)) for name in names}
    return Sweep(path, axes, lines)


def _typed(path: Path, line: Mapping[str, str], axes: Sequence[str]) -> Result:
    """A line whose figures are numbers; None where a cell is empty."""
    typed: Result = {name: cell or None for name, cell in line.items()}
    for name in set(line) - {"run", "failure", *axes}:
        typed[name] = number_of(line[name])
        if line[name] and typed[name] is None:
            raise InputError(
                f"{path / RESULTS}: {name} of {line['run']} is {line[name]!r}, not a number"
            )
    return typed


def question_of(sweep: Sweep) -> str:
    """What the sweep asks."""
    varied = [name for name in sweep.options if len(sweep.axes[name]) > 1]
    if not varied:
        return f"How far do {counted(len(sweep.finished), 'run')} of one configuration differ?"
    many = len(sweep.board)
    asked = "finds fake pixels" if sweep.figure == "IoU" else "tells fakes from reals"
    return f"Which of {many} configurations ({listed(varied)}) {asked} best?"


def answer_of(sweep: Sweep) -> str:
    """Who leads on validation, whether that is more than the seeds' spread, and on test rows."""
    first, *others = sweep.board
    ranked, figure = sweep.ranked, sweep.figure
    text = f"On validation {sweep.label(first)} leads: mean {figure} {mean_of(first, ranked)} over "
    text += f"{counted(first['seeds'], 'seed')}."
    if others:
        gap = (first[ranked] or 0) - (others[0][ranked] or 0)
        noise = max(first.get(f"{ranked}_spread") or 0, others[0].get(f"{ranked}_spread") or 0)
        text += f" Next is {sweep.label(others[0])}: {mean_of(others[0], ranked)}"
        lone = [line for line in (first, others[0]) if line["seeds"] < 2]
        if lone:
            whose = "each" if len(lone) > 1 else f"of {sweep.label(lone[0])}"
            text += f"; with one seed {whose}, nothing says whether that is chance."
        elif not gap:
            text += ": the two are equal."
        elif gap < noise:
            text += "; the gap is smaller than the spread over seeds, so the order is not settled."
        else:
            text += "; the gap is larger than the spread over seeds."
    if first.get(sweep.tested) is not None:
        return f"{text} On test rows the leader has {figure} {mean_of(first, sweep.tested)}."
    return f"{text} No run was tested on unseen rows."


def facts_of(sweep: Sweep) -> list[tuple[str, str, str]]:
    """The figures that a reader looks for first."""
    first, failed = sweep.board[0], len(sweep.lines) - len(sweep.finished)
    facts = [
        ("runs", str(len(sweep.lines)), f"{failed} failed" if failed else "all finished"),
        (f"best validation {sweep.figure}", decimal(first[sweep.ranked]), sweep.label(first)),
    ]
    test = sweep.tested
    if first.get(test) is not None:
        facts.append((f"its test {sweep.figure}", decimal(first[test]), spread_of(first, test)))
    return facts


def mean_of(line: Result, key: str) -> str:
    """A figure of the leaderboard with its spread, in a sentence."""
    return f"{decimal(line[key])}{f' {spread_of(line, key)}' if spread_of(line, key) else ''}"


def spread_of(line: Result, key: str) -> str:
    """The spread over seeds of a figure of the leaderboard; empty where there is none."""
    found = line.get(f"{key}_spread")
    return "" if found is None else f"± {decimal(found)}"


def _said(name: str, value: Any) -> str:
    if name in (*PARTS, "preset", "tokens"):
        return "" if value is None else plain(value)
    return f"{name} {plain(value)}"


def plain(value: Any) -> str:
    """A value of an axis as text."""
    return "–" if value is None else str(value)

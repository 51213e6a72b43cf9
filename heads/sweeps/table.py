"""The tables of a sweep: a line a run, and means over seeds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from clare.advice import Name
from clare.bootstrap import Figures
from clare.errors import InputError
from clare.files import write_durably
from clare.foreign import read_table
from clare.heads.config import TrainConfig
from clare.heads.runs.record import read_validation
from clare.heads.tokens import tokens_of
from clare.own_csv import csv_text
from clare.plugins import part_name

RESULTS = "results.csv"
LEADERBOARD = "leaderboard.csv"

_RANKED = ("val_iou", "val_auc")
_AVERAGED = ("auc", "ap", "balanced_accuracy", "eer", "iou", "pixel_f1")
"""Ends of the names of figures that a leaderboard has."""

_SEEDS = ("seed", "data_seed")

Axes = Mapping[str, Sequence[Any]]
"""Values by the name of a configuration's setting."""

Result = dict[str, Any]
"""A line of ``results.csv``."""


def result_line(
    folder: Path, config: TrainConfig, axes: Axes, failure: str | None, test: Figures
) -> Result:
    """The line of a run."""
    line: Result = {"run": folder.name}
    line |= {name: value_of(config, name) for name in axes}
    line["failure"] = failure or ""
    if failure:
        return line
    found = read_validation(folder)
    line |= {"epoch": found.epoch, "threshold": found.threshold}
    return line | _columns("val", found.metrics) | _columns("test", test)


def ranked_by(lines: Iterable[Mapping[str, Any]]) -> str:
    """The figure that ranks a leaderboard: the IoU on validation where runs have it, or the AUC.

    Args:
        lines: of ``results.csv`` or of the leaderboard.
    """
    known = list(lines)
    found = (name for name in _RANKED if any(line.get(name) is not None for line in known))
    return next(found, _RANKED[-1])


def value_of(config: TrainConfig, axis: str) -> Any:
    """Where a run stands on an axis, as a cell and a folder have it: of a file, its short name."""
    found = {"tokens": tokens_of, "tune": lambda detector: detector.way}
    value = found[axis](config.detector) if axis in found else config.settings[axis]
    if isinstance(value, str):
        return part_name(value)
    return "+".join(value) if isinstance(value, list | tuple) else value


def read_results(out: Path) -> list[dict[str, str]]:
    """The lines of a sweep's ``results.csv``, cells as they stand there; none without the file.

    Raises:
        InputError: the file can't be read.
    """
    path = out / RESULTS
    if not path.is_file():
        return []
    lines = read_table(path)
    # A line with too many or too few cells has None among its names or its cells.
    if not all(
        {"run", "failure"} <= set(line) and None not in (*line, *line.values()) for line in lines
    ):
        raise InputError(f"{path} is not what a sweep writes", Name("another folder", "out"))
    return lines


def failures_of(out: Path) -> dict[str, str]:
    """Why runs failed, by name, as a sweep's ``results.csv`` tells."""
    return {line["run"]: line["failure"] for line in read_results(out) if line["failure"]}


def axes_of(line: Mapping[str, str]) -> list[str]:
    """The axes that a line of ``results.csv`` has."""
    columns = list(line)
    return columns[1 : columns.index("failure")]


def options_of(axes: Iterable[str]) -> list[str]:
    """The axes that tell a leaderboard's lines apart: all but the seeds."""
    return [name for name in axes if name not in _SEEDS]


def write_tables(out: Path, lines: Sequence[Result], axes: Axes) -> list[Result]:
    """Write ``results.csv`` and ``leaderboard.csv``; the lines come back with all columns."""
    columns = list(dict.fromkeys(column for line in lines for column in line))
    lines = [{column: line.get(column) for column in columns} for line in lines]
    if lines:
        write_durably(out / RESULTS, _table(lines))
        write_durably(out / LEADERBOARD, _table(leaderboard(lines, axes)))
    return lines


def leaderboard(results: Sequence[Result], axes: Axes) -> list[Result]:
    """Mean and spread over seeds, the best on validation first.

    Args:
        results: of `run_sweep`; runs that failed count among ``failed`` alone.
        axes: of the sweep.

    Returns:
        The axes' values, ``seeds`` (runs with figures), ``failed``, and of every figure the mean;
        as ``_spread`` the sample standard deviation, as ``_low`` and ``_high`` the 95 % interval of
        the mean, None with fewer than two. A figure that some of the runs lack has no mean.
    """
    names = options_of(axes)
    groups: dict[tuple[Any, ...], list[Result]] = defaultdict(list)
    for result in results:
        groups[tuple(result[name] for name in names)].append(result)
    lines = []
    for values, members in groups.items():
        good = [member for member in members if not member["failure"]]
        line = dict(zip(names, values, strict=True))
        line |= {"seeds": len(good), "failed": len(members) - len(good)}
        for name in (key for key in results[0] if key.endswith(_AVERAGED)):
            found = [float(member[name]) for member in good if member.get(name) is not None]
            if len(found) < len(good):
                found = []
            line[name] = statistics.fmean(found) if found else None
            line[f"{name}_spread"] = statistics.stdev(found) if len(found) > 1 else None
            line[f"{name}_low"], line[f"{name}_high"] = mean_interval(found)
        lines.append(line)
    ranked = ranked_by(lines)
    return sorted(lines, key=lambda line: -(line.get(ranked) or 0.0))


def mean_interval(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """95 % interval (Student's t) of the mean of figures from 0 to 1; none of fewer than two."""
    if len(values) < 2:
        return None, None
    mean, size = statistics.fmean(values), len(values)
    half = stdtrit(size - 1, 0.975) * statistics.stdev(values) / size**0.5
    return max(0.0, mean - float(half)), min(1.0, mean + float(half))


def _columns(split: str, metrics: Figures) -> Result:
    line: Result = {}
    for name, figure in metrics.items():
        line[f"{split}_{name}"] = figure.value
        line[f"{split}_{name}_low"] = figure.low
        line[f"{split}_{name}_high"] = figure.high
    if metrics:
        line[f"{split}_n"] = max(figure.n for figure in metrics.values())
    return line


def _table(lines: Sequence[Result]) -> bytes:
    columns = list(lines[0])
    return csv_text([columns, *([line[name] for name in columns] for line in lines)]).encode()

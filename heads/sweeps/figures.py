"""AUC and balanced accuracy of a sweep on every set of rows, of frames and of videos."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clare.bootstrap import Figure, Figures
from clare.errors import ClareError
from clare.files import write_durably
from clare.heads.evaluation.record import read_evaluation
from clare.heads.metrics.by_subset import FiguresBySubset
from clare.heads.runs.record import read_record, read_validation
from clare.heads.sweeps.table import Axes, Result, mean_interval, options_of
from clare.heads.sweeps.training_rows import read_training
from clare.own_csv import csv_text

FIGURES = "figures.csv"

SHOWN = ("auc", "balanced_accuracy")
"""The figures that the table has."""

TRAIN, VALIDATION, TEST, CROSS = "train", "validation", "test", "cross-dataset"
"""Kinds of rows: those trained on, those that chose epoch and threshold, unseen rows of a subset
that was trained on, and rows of any other subset."""

_KINDS = (TRAIN, VALIDATION, TEST, CROSS)
LEVELS = ("frame", "video")

_Set = tuple[str, str, str]
"""Kind of rows, subset and level."""


def figure_lines(out: Path, results: Sequence[Mapping[str, Any]], axes: Axes) -> list[Result]:
    """A line for each configuration, set of rows and level.

    Args:
        out: the sweep's folder.
        results: lines of ``results.csv``.
        axes: of the sweep.

    Returns:
        The axes' values but for the seeds; ``rows``, one of train, validation, test and
        cross-dataset; ``subset``, empty for validation; ``level``, frame or video; ``n``, how many
        of these; ``seeds``, the runs with figures; of each figure its mean over them, as
        ``_spread`` the sample standard deviation, as ``_low`` and ``_high`` the 95 % interval of
        that mean (Student's t), or of a single run that of its rows. Empty where no run was tested.
    """
    names = options_of(axes)
    groups: dict[tuple[Any, ...], dict[_Set, list[Figures]]] = defaultdict(
        lambda: defaultdict(list)
    )
    tested = False
    for result in results:
        if result["failure"]:
            continue
        found = dict(_sets_of(out / str(result["run"])))
        tested |= any(kind != VALIDATION for kind, _, _ in found)
        for where, figures in found.items():
            groups[tuple(result[name] for name in names)][where].append(figures)
    if not tested:
        return []
    return [
        {**dict(zip(names, values, strict=True)), **_line(where, sets[where])}
        for values, sets in groups.items()
        for where in sorted(sets, key=lambda one: (_KINDS.index(one[0]), *one[1:]))
    ]


def write_figures(out: Path, lines: Sequence[Result]) -> None:
    """Write ``figures.csv``, where there are any."""
    if lines:
        columns = list(lines[0])
        table = [columns, *([line[name] for name in columns] for line in lines)]
        write_durably(out / FIGURES, csv_text(table).encode())


def _line(where: _Set, found: Sequence[Figures]) -> Result:
    kind, subset, level = where
    line: Result = {"rows": kind, "subset": subset, "level": level}
    line |= {"n": max(figures["auc"].n for figures in found), "seeds": len(found)}
    for name in SHOWN:
        figures = [one[name] for one in found if name in one]
        values = [figure.value for figure in figures if figure.value is not None]
        several = len(values) > 1
        low, high = mean_interval(values)
        if len(values) == 1:
            (low, high) = next((f.low, f.high) for f in figures if f.value is not None)
        line[name] = statistics.fmean(values) if values else None
        line[f"{name}_spread"] = statistics.stdev(values) if several else None
        line[f"{name}_low"], line[f"{name}_high"] = low, high
    return line


def _sets_of(run: Path) -> Iterator[tuple[_Set, Figures]]:
    """The figures of a run by set of rows and level; of localisers that saw no reals none."""
    own = set(read_record(run).trained_on)
    if (training := read_training(run)) is not None:
        for subset, level, figures in _levels(training):
            yield (TRAIN, subset, level), figures
    validation = read_validation(run).metrics
    if "auc" in validation:
        yield (VALIDATION, "", "frame"), validation
    try:
        test = read_evaluation(run)
    except ClareError:
        return  # not tested, or by another version
    for subset, level, figures in _levels(test):
        yield (TEST if subset in own else CROSS, subset, level), figures


def _levels(found: FiguresBySubset) -> Iterator[tuple[str, str, Figures]]:
    for subset, one in found.subsets.items():
        for level in LEVELS:
            figures = one.frame if level == "frame" else one.video
            known = None if figures is None else figures.get("auc", _NONE)
            if figures is not None and known is not None and known.value is not None:
                yield subset, level, figures


_NONE = Figure(None, None, None, 0)

"""What `clare sweep` prints of its leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clare.cli.views.console import console
from clare.cli.views.table import table
from clare.heads.sweeps.table import ranked_by

_COLUMNS = {
    "IoU": "val_iou",
    "AUC": "val_auc",
    "balanced": "val_balanced_accuracy",
    "EER": "val_eer",
    "test IoU": "test_iou",
    "test AUC": "test_auc",
}


def print_leaderboard(
    lines: Sequence[Mapping[str, Any]], names: Sequence[str], *, control: bool = False
) -> None:
    """Print a sweep's leaderboard: means over seeds, ranked on validation.

    Args:
        lines: of the leaderboard.
        names: the axes that tell them apart.
        control: whether labels were shuffled, so that the mean AUC has to be 0.5.
    """
    ranked = ranked_by(lines)
    known = {name for line in lines for name, value in line.items() if value is not None}
    columns = {head: name for head, name in _COLUMNS.items() if name in known or name == ranked}
    chief = next(head for head, name in _COLUMNS.items() if name == ranked)
    console.print(
        table(
            f"leaderboard{' of controls, labels shuffled' if control else ''}: mean over seeds ± "
            f"standard deviation, ranked by {chief} on validation",
            (*names, "seeds", "failed", *columns, f"95 % of the mean {chief}"),
            [
                (
                    *("-" if line[name] == "" else line[name] for name in names),
                    line["seeds"],
                    line["failed"],
                    *(_mean(line[name], line[f"{name}_spread"]) for name in columns.values()),
                    _interval(line, ranked),
                )
                for line in lines
            ],
            left=len(names),
        )
    )
    for line in lines if control else ():
        where = ", ".join(f"{name} {line[name]}" for name in names)
        console.print(f"control{where and f' ({where})'}: {_verdict(line)}")


def print_figures(lines: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Print what `figure_lines` tells of a sweep: a table a figure, a line a configuration.

    Args:
        lines: of `clare.heads.sweeps.figures.figure_lines`; nothing is printed of none.
        names: the axes that tell configurations apart.
    """
    if not lines:
        return
    columns = {_set_of(line): "" for line in lines}
    for where in columns:
        columns[where] = _heading([line for line in lines if _set_of(line) == where])
    order = list(dict.fromkeys(tuple(line[name] for name in names) for line in lines))
    found = {(tuple(line[name] for name in names), _set_of(line)): line for line in lines}
    for figure, called in (("auc", "AUC"), ("balanced_accuracy", "balanced accuracy")):
        rows = []
        for values in order:
            cells = (found.get((values, where)) for where in columns)
            rows.append(
                (
                    *("-" if value in (None, "") else value for value in values),
                    *(
                        "-" if one is None else _mean(one[figure], one[f"{figure}_spread"])
                        for one in cells
                    ),
                )
            )
        title = (
            f"{called} by rows: mean over seeds ± standard deviation, below the rows their number"
        )
        console.print(table(title, (*names, *columns.values()), rows, left=len(names)))


def _set_of(line: Mapping[str, Any]) -> tuple[str, str, str]:
    return line["rows"], line["subset"], line["level"]


def _heading(lines: Sequence[Mapping[str, Any]]) -> str:
    """The rows of a column, and how many frames or videos: of fractions of the data they differ."""
    first, counts = lines[0], [line["n"] for line in lines]
    many = str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
    return f"{first['subset']} {first['rows']}".strip() + f"\n{many} {first['level']}s"


def _verdict(line: Mapping[str, Any]) -> str:
    """Whether the mean of a control is that of guessing, as far as its seeds tell."""
    low, high = line["val_auc_low"], line["val_auc_high"]
    if low is None:
        return "one shuffle tells nothing; take twenty, --seeds 0-19"
    found = f"the mean AUC over {line['seeds']} shuffles is {line['val_auc']:.3f}, 95 % interval "
    found += f"{low:.3f} to {high:.3f}"
    if low <= 0.5 <= high:
        return f"{found}, which holds 0.5"
    return f"{found}, which does not hold 0.5: something but the labels tells the classes"


def _interval(line: Mapping[str, Any], figure: str) -> str:
    low, high = line.get(f"{figure}_low"), line.get(f"{figure}_high")
    return "-" if low is None else f"{low:.3f} to {high:.3f}"


def _mean(value: float | None, spread: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if spread is None else f"{value:.3f} ±{spread:.3f}"

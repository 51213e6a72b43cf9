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

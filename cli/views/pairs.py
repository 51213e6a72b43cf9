"""How figures of pairs look in a terminal."""

from __future__ import annotations

from clare.bootstrap import Figure
from clare.cli.views.console import console
from clare.cli.views.table import table
from clare.heads.evaluation.pairs import told_of_control
from clare.heads.evaluation.record import EvaluationRecord


def print_pairs(record: EvaluationRecord) -> None:
    """Print how often a fake scores above its own real, and what the controls say."""
    if not record.pairs:
        return
    rows = []
    for name, found in record.pairs.items():
        told = told_of_control(found, record.subsets[name].frame["auc"])
        rows.append(
            (f"{name}\n{found.accuracy.n} pairs", found.kind or "–", _cell(found.accuracy), told)
        )
    heads = ("subset", "kind", "fake above its real", "as a control")
    console.print(table("\nPairs: whether a fake scores above its own real", heads, rows, left=2))
    for name, found in record.pairs.items():
        if found.alone:
            console.print(f"{name}: {found.alone} fakes without their real here", style="dim")


def _cell(figure: Figure) -> str:
    ends = "" if figure.low is None else f"\n{figure.low:.2f}–{figure.high:.2f}"
    return f"{figure.value:.3f}{ends}"

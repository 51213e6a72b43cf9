"""What a sweep's test figures must beat: the best shortcut of each tested subset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.evaluation.shortcuts import SHORTCUTS
from clare.heads.report.answer import against, best_shortcut
from clare.heads.report.blocks import Block, Cell, Items, Table, Text
from clare.heads.report.formatting import number_cell
from clare.heads.report.run_results import Finding
from clare.heads.report.sweep_results import Sweep

_Rows = tuple[str, int, int, tuple[str, ...]]
"""What tells test rows apart: subset, reals, fakes, and the subsets whose reals these are."""


def beside_shortcuts(sweep: Sweep, findings: Sequence[Finding]) -> list[Block]:
    """The best shortcut of each tested subset, and the configurations that do not beat it.

    A shortcut is of the rows: that of one run serves all that were tested on the same.

    Args:
        sweep: the sweep.
        findings: its finished runs.

    Returns:
        Nothing where no run has measured them.
    """
    table, notes = [], list[Block]()
    for rows, (shortcut, value) in sorted(_best(findings).items()):
        verdicts = _verdicts(sweep, findings, rows, value)
        below = [label for label, found in verdicts.items() if "no" in found]
        clear = [label for label, found in verdicts.items() if found == {"yes"}]
        unclear = [label for label in verdicts if label not in (*below, *clear)]
        name, real, fake, _ = rows
        table.append(
            [
                Cell(name, f"{real:,} real, {fake:,} fake"),
                Cell(SHORTCUTS[shortcut].title),
                number_cell(value),
                Cell(f"{len(clear)} of {len(verdicts)}", value=len(clear)),
            ]
        )
        # A label may hold commas itself, so each stands in a line of its own.
        if below:
            notes += [Text(f"On {name} these do not beat it:"), Items(below)]
        if unclear:
            notes += [Text(f"On {name} these are not clearly above it:"), Items(unclear)]
    if not table:
        return []
    heads = ["subset", "best shortcut", "its AUC", "configurations that beat it"]
    rule = (
        "A configuration beats a shortcut where the whole interval of every seed's test AUC is "
        "above the shortcut's AUC."
    )
    return [Table("What a test AUC must beat", heads, table, names=2), *notes, Text(rule, "note")]


def _best(findings: Sequence[Finding]) -> dict[_Rows, tuple[str, float]]:
    """The best shortcut, and its AUC, of all test rows of which a run has measured them."""
    found = {}
    for test in (one.test for one in findings if one.test is not None):
        for name in test.subsets:
            if best := best_shortcut(test, name):
                found[_rows(test, name)] = best
    return found


def _verdicts(
    sweep: Sweep, findings: Sequence[Finding], rows: _Rows, best: float
) -> dict[str, set[str]]:
    """What `against` says of each configuration's seeds, in the leaderboard's order."""
    labels = {str(line["run"]): sweep.label(line) for line in sweep.finished}
    verdicts: dict[str, set[str]] = defaultdict(set)
    for one in findings:
        name = rows[0]
        if one.test is not None and name in one.test.subsets and _rows(one.test, name) == rows:
            auc = one.test.subsets[name].frame["auc"]
            verdicts[labels[one.name]].add(against(auc, best))
    order = [sweep.label(line) for line in sweep.board]
    return {label: verdicts[label] for label in order if verdicts[label] - {"unknown"}}


def _rows(test: EvaluationRecord, name: str) -> _Rows:
    found = test.subsets[name]
    return name, found.real, found.fake, found.beside

"""What a sweep's test figures must beat: the baselines of each tested subset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from clare.heads.evaluation.baselines import BASELINES
from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.report.answer import against_baselines
from clare.heads.report.blocks import Block, Cell, Items, Table, Text
from clare.heads.report.formatting import number_cell
from clare.heads.report.run_results import Finding
from clare.heads.report.sweep_results import Sweep

_Rows = tuple[str, int, int, tuple[str, ...]]
"""What tells test rows apart: subset, reals, fakes, and the subsets whose reals these are."""


def beside_baselines(sweep: Sweep, findings: Sequence[Finding]) -> list[Block]:
    """The best baseline of each tested subset, and the configurations that do not beat all.

    Args:
        sweep: the sweep.
        findings: its finished runs.

    Returns:
        Nothing where no run has measured them.
    """
    table, notes = [], list[Block]()
    order = [sweep.label(line) for line in sweep.board]
    for rows, (name, value) in sorted(_best(findings).items()):
        verdicts = _verdicts(sweep, findings, rows)
        below = [label for label in order if "no" in verdicts[label]]
        clear = [label for label in order if verdicts[label] == {"yes"}]
        unknown = [label for label in order if "unknown" in verdicts[label] or not verdicts[label]]
        unclear = [label for label in order if label not in (*below, *clear, *unknown)]
        subset, real, fake, _ = rows
        measured = len(order) - len(unknown)
        table.append(
            [
                Cell(subset, f"{real:,} real, {fake:,} fake"),
                Cell(BASELINES[name]),
                number_cell(value),
                Cell(f"{len(clear)} of {measured}", value=len(clear)),
            ]
        )
        # A label may hold commas itself, so each stands in a line of its own.
        for said, labels in (
            (f"On {subset} these do not beat every baseline:", below),
            (f"On {subset} these are not clearly above every baseline:", unclear),
            (f"On {subset} it was not measured of these:", unknown),
        ):
            notes += [Text(said), Items(labels)] if labels else []
    if not table:
        return []
    heads = ["subset", "best baseline", "its AUC", "configurations that clearly beat all"]
    rule = (
        "A baseline needs no training. A configuration clearly beats all where, of each seed, the "
        "paired interval of its lead over every baseline is above 0."
    )
    return [Table("What a test AUC must beat", heads, table, names=2), *notes, Text(rule, "note")]


def _best(findings: Sequence[Finding]) -> dict[_Rows, tuple[str, float]]:
    """The baseline of the highest AUC, and that AUC, that any run has measured on test rows."""
    found: dict[_Rows, tuple[str, float]] = {}
    for test in (one.test for one in findings):
        if test is None or test.baselines is None:
            continue
        for subset in test.subsets:
            known = [*test.baselines.aucs(subset).items()]
            known += [found[rows]] if (rows := _rows(test, subset)) in found else []
            if known:
                found[rows] = max(known, key=lambda one: one[1])
    return found


def _verdicts(sweep: Sweep, findings: Sequence[Finding], rows: _Rows) -> dict[str, set[str]]:
    """What `against_baselines` says of each configuration's seeds that were tested on rows."""
    labels = {str(line["run"]): sweep.label(line) for line in sweep.finished}
    verdicts: dict[str, set[str]] = defaultdict(set)
    for one in findings:
        if (
            one.test is not None
            and rows[0] in one.test.subsets
            and _rows(one.test, rows[0]) == rows
        ):
            verdicts[labels[one.name]].add(against_baselines(one.test, rows[0]))
    return verdicts


def _rows(test: EvaluationRecord, name: str) -> _Rows:
    found = test.subsets[name]
    return name, found.real, found.fake, found.beside

"""What a sweep's test figures must beat: the baselines of each tested subset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from clare.heads.evaluation.baseline_names import title_of
from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.report.beaten import against_baselines, baselines_said
from clare.heads.report.blocks import MISSING, Block, Cell, Items, Table, Text
from clare.heads.report.formatting import number_cell
from clare.heads.report.run_results import Finding
from clare.heads.report.sweep_results import Sweep

_Rows = tuple[str, int, int, tuple[str, ...]]
"""What tells test rows apart: subset, reals, fakes, and the subsets whose reals these are."""

_UNCLEAR = ({"not clearly"}, {"not clearly", "yes"})
"""What is said of a configuration's seeds, where none loses and not all clearly lead."""


def beside_baselines(sweep: Sweep, findings: Sequence[Finding]) -> list[Block]:
    """The best baseline of each tested subset, and the configurations that do not beat all.

    Args:
        sweep: the sweep.
        findings: its finished runs.

    Returns:
        Nothing where no run has measured them. Each configuration is in one list at most, by the
        least of what is known of its seeds: one that loses is enough.
    """
    table, notes = [], list[Block]()
    order = [sweep.label(line) for line in sweep.board]
    for rows, (name, value) in sorted(_best(findings).items()):
        verdicts = _verdicts(sweep, findings, rows)
        below = [label for label in order if "no" in verdicts[label]]
        clear = [label for label in order if verdicts[label] == {"yes"}]
        unclear = [label for label in order if verdicts[label] in _UNCLEAR]
        unknown = [label for label in order if label not in (*below, *clear, *unclear)]
        subset, real, fake, _ = rows
        measured = len(order) - len(unknown)
        each = baselines_said(_measured(findings, rows))
        table.append(
            [
                Cell(subset, f"{real:,} real, {fake:,} fake"),
                Cell(title_of(name)),
                number_cell(value),
                Cell(f"{len(clear)} of {measured}" if measured else MISSING),
            ]
        )
        # A label may hold commas itself, so each stands in a line of its own.
        for said, labels in (
            (f"On {subset} these do not beat {each}:", below),
            (f"On {subset} these are not clearly above {each}:", unclear),
            (f"On {subset} it was not measured of these:", unknown),
        ):
            notes += [Text(said), Items(labels)] if labels else []
    if not table:
        return []
    best = Cell("best baseline", "of any run")
    heads: list[str | Cell] = ["subset", best, "its AUC", "configurations that clearly beat each"]
    rule = (
        "A baseline needs no training. Where it looks at training rows its AUC differs by run; the "
        "best is the highest of any run. A configuration clearly beats each where, of each seed "
        "that was tested, the paired interval of its lead over each baseline that was measured is "
        "above 0."
    )
    return [Table("What a test AUC must beat", heads, table, names=2), *notes, Text(rule, "note")]


def _best(findings: Sequence[Finding]) -> dict[_Rows, tuple[str, float]]:
    """The baseline of the highest AUC, and that AUC, that any run has measured on test rows."""
    found: dict[_Rows, tuple[str, float]] = {}
    for test in (one.test for one in findings):
        if test is None or test.baselines is None:
            continue
        for subset in test.subsets:
            known = [*test.baselines.known(subset).items()]
            known += [found[rows]] if (rows := _rows(test, subset)) in found else []
            if known:
                found[rows] = max(known, key=lambda one: one[1])
    return found


def _verdicts(sweep: Sweep, findings: Sequence[Finding], rows: _Rows) -> dict[str, set[str]]:
    """What `against_baselines` says of each configuration's seeds that were tested on rows."""
    labels = {str(line["run"]): sweep.label(line) for line in sweep.finished}
    verdicts: dict[str, set[str]] = defaultdict(set)
    for one, test in _tests(findings, rows):
        verdicts[labels[one.name]].add(against_baselines(test.baselines, rows[0]))
    return verdicts


def _measured(findings: Sequence[Finding], rows: _Rows) -> set[int]:
    """How many baselines each run was measured against; 0 alone where none was."""
    tests = [test.baselines for _, test in _tests(findings, rows)]
    return {one.measured(rows[0]) for one in tests if one} - {0} or {0}


def _tests(findings: Sequence[Finding], rows: _Rows) -> Iterator[tuple[Finding, EvaluationRecord]]:
    for one in findings:
        test = one.test
        if test is not None and rows[0] in test.subsets and _rows(test, rows[0]) == rows:
            yield one, test


def _rows(test: EvaluationRecord, name: str) -> _Rows:
    found = test.subsets[name]
    return name, found.real, found.fake, found.beside

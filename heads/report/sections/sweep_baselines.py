"""What a sweep's test figures must beat: the baselines of each tested subset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

from clare.heads.evaluation.baseline_names import title_of
from clare.heads.evaluation.record import Baselines, EvaluationRecord
from clare.heads.report.beaten import against_baselines, baselines_said
from clare.heads.report.blocks import MISSING, Block, Cell, Items, Table, Text
from clare.heads.report.formatting import number_cell
from clare.heads.report.run_results import Finding
from clare.heads.report.sweep_results import Sweep

_Rows = tuple[str, int, int, tuple[str, ...]]
"""What tells test rows apart: subset, reals, fakes, and the subsets whose reals these are."""


@dataclass(frozen=True)
class _Test:
    """A tested run with the baselines of the sweep's figure."""

    run: str
    record: EvaluationRecord
    baselines: Baselines | None

    def rows(self, subset: str) -> _Rows:
        found = self.record.subsets[subset]
        return subset, found.real, found.fake, found.beside


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
    masks = sweep.figure == "IoU"
    tests = [
        _Test(one.name, one.test, one.test.mask_baselines if masks else one.test.baselines)
        for one in findings
        if one.test is not None
    ]
    order = [sweep.label(line) for line in sweep.board]
    for rows, (name, value) in sorted(_best(tests).items()):
        verdicts = _verdicts(sweep, tests, rows)
        below = [label for label in order if "no" in verdicts[label]]
        clear = [label for label in order if verdicts[label] == {"yes"}]
        unclear = [label for label in order if verdicts[label] in _UNCLEAR]
        unknown = [label for label in order if label not in (*below, *clear, *unclear)]
        subset, real, fake, _ = rows
        measured = len(order) - len(unknown)
        each = baselines_said(_measured(tests, rows))
        table.append(
            [
                Cell(subset, f"{real:,} real, {fake:,} fake" if real else f"{fake:,} fake"),
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
    its = f"its {sweep.figure}"
    heads: list[str | Cell] = ["subset", best, its, "configurations that clearly beat each"]
    rule = (
        f"A baseline needs no training. Where it looks at rows of a run, {its} differs by run; the "
        "best is the highest of any run. A configuration clearly beats each where, of each seed "
        "that was tested, the paired interval of its lead over each baseline that was measured is "
        "above 0."
    )
    title = f"What a test {sweep.figure} must beat"
    return [Table(title, heads, table, names=2), *notes, Text(rule, "note")]


def _best(tests: Sequence[_Test]) -> dict[_Rows, tuple[str, float]]:
    """The baseline of the highest figure, and that figure, that any run has measured."""
    found: dict[_Rows, tuple[str, float]] = {}
    for one in tests:
        if one.baselines is None:
            continue
        for subset in one.record.subsets:
            known = [*one.baselines.known(subset).items()]
            known += [found[rows]] if (rows := one.rows(subset)) in found else []
            if known:
                found[rows] = max(known, key=itemgetter(1))
    return found


def _verdicts(sweep: Sweep, tests: Sequence[_Test], rows: _Rows) -> dict[str, set[str]]:
    """What `against_baselines` says of each configuration's seeds that were tested on rows."""
    labels = {str(line["run"]): sweep.label(line) for line in sweep.finished}
    verdicts: dict[str, set[str]] = defaultdict(set)
    for one in _of(tests, rows):
        verdicts[labels[one.run]].add(against_baselines(one.baselines, rows[0]))
    return verdicts


def _measured(tests: Sequence[_Test], rows: _Rows) -> set[int]:
    """How many baselines each run was measured against; 0 alone where none was."""
    found = [one.baselines for one in _of(tests, rows)]
    return {one.measured(rows[0]) for one in found if one} - {0} or {0}


def _of(tests: Sequence[_Test], rows: _Rows) -> list[_Test]:
    return [one for one in tests if rows[0] in one.record.subsets and one.rows(rows[0]) == rows]

"""Several runs at a glance: their figures in one table, and who is better in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from clare.advice import Notice, Run
from clare.bootstrap import Figures, Resampling
from clare.errors import InputError
from clare.heads.evaluation.better import NAMED, has_interval, verdict
from clare.heads.evaluation.comparison import Comparison, Pair
from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.report.answer import beside_baselines
from clare.heads.report.blocks import Block, Cell, Folded, Items, Section, Text
from clare.heads.report.formatting import decimal, figure_cell, lead_cell
from clare.heads.report.paired import Pairs
from clare.heads.report.run_results import Finding
from clare.heads.report.sections.matrix import COLOURS_SAID, matrix
from clare.heads.report.sections.results import intervals_said
from clare.wording import listed

PAIRED = 4
"""Runs that are compared each with each; of more, each with the first."""


def overview(findings: Sequence[Finding]) -> Section:
    """AUC and accuracy, a line a run, on every subset that one of them was tested on."""
    tested = [one for one in findings if one.test is not None]
    blocks: list[Block] = []
    if tested:
        blocks += _tested(tested)
    if untested := [one for one in findings if one.test is None]:
        cells = [[_cell(one.validation.metrics)] for one in untested]
        head = Cell("validation rows", "these chose its checkpoint")
        blocks.append(matrix("Not tested on unseen rows", _names(untested), [head], cells))
        what = f"Not tested yet: {listed(one.name for one in untested)}"
        run = Run("evaluate", tuple(one.path for one in untested), effect="tests what is missing")
        blocks.append(Text(Notice(what, run), "note"))
    return Section("overview", "Overview", blocks)


def pairs(findings: Sequence[Finding]) -> list[Section]:
    """Which of two runs is better, by what `clare.compare` finds; none where one was tested."""
    tested = [one for one in findings if one.test is not None]
    if len(tested) < 2:
        return []
    two, compared = list(combinations(tested, 2)), Pairs()
    few = len(tested) <= PAIRED
    said, differences = [], dict[str, Mapping[str, Pair]]()
    for one, other in two if few else two[: len(tested) - 1]:
        try:
            report = _compared(compared, one, other)
        except InputError as error:
            said.append(f"{one.name} and {other.name} were not compared: {error.what}.")
            continue
        said.append(_said(report, one, other))
        differences[f"{other.name} less {one.name}"] = report.subsets
    how = _intervals_paired([pair for found in differences.values() for pair in found.values()])
    if not few:
        how = f"Each run is compared with {tested[0].name}, the first that was named. {how}"
    blocks: list[Block] = [Items(said), Text(how, "note")]
    subsets = list(dict.fromkeys(name for found in differences.values() for name in found))
    if len(subsets) > NAMED:
        cells = [
            [lead_cell(found[n].difference["auc"] if n in found else None) for n in subsets]
            for found in differences.values()
        ]
        rows, columns = [Cell(name) for name in differences], [Cell(name) for name in subsets]
        table = matrix("Difference of the AUC, by subset", rows, columns, cells)
        blocks.append(Folded("Every difference", [table]))
    return [Section("better", "Who is better", blocks)]


def _compared(pairs: Pairs, one: Finding, other: Finding) -> Comparison:
    tests = [finding.test for finding in (one, other) if finding.test is not None]
    count = min(test.resamples for test in tests)
    return pairs.compare(one, other, Resampling(count, tests[0].seed))


def _intervals_paired(found: Sequence[Pair]) -> str:
    """What the differences are, and what follows where some have no interval."""
    differences = [pair.difference["auc"] for pair in found]
    known = [difference for difference in differences if difference.value is not None]
    bare = sum(not has_interval(difference) for difference in known)
    why = (
        "an interval needs resamples in both tests, and of each label more than one video, "
        "identity or row"
    )
    if known and bare == len(known):
        return (
            "A difference is of the rows that both have. None has an interval, so nothing here "
            f"says who is better: {why}."
        )
    text = (
        "A difference is of the rows that both have, its 95 % interval paired: both are measured "
        "on the same resamples. Where it holds zero, nobody leads."
    )
    return f"{text} Where there is none, nothing says who leads: {why}." if bare else text


def _said(report: Comparison, one: Finding, other: Finding) -> str:
    said = verdict(report, (one.name, other.name))
    if report.tests == tuple(finding.test.name for finding in (one, other) if finding.test):
        return said
    return f"{said} This is by an earlier test that both have, {report.tests[0]}."


def _tested(findings: Sequence[Finding]) -> list[Block]:
    tests = [one.test for one in findings if one.test is not None]
    # First what the runs were trained on: then the diagonal is the easy part.
    found = {name for test in tests for name in test.subsets}
    own = dict.fromkeys(name for one in findings for name in one.trained_on)
    subsets = [name for name in own if name in found] + sorted(found - set(own))
    columns = []
    for name in subsets:
        columns.append(Cell(name, _rows_said(name, tests)))
    cells = [
        [_cell(t.subsets[name].frame if name in t.subsets else None) for name in subsets]
        for t in tests
    ]
    if means := {tuple(sorted(test.counted)) for test in tests if len(test.counted) > 1}:
        alike = len(means) == 1
        under = f"of {len(next(iter(means)))} subsets" if alike else "of each run's own subsets"
        columns.append(Cell("mean", under))
        for test, line in zip(tests, cells, strict=True):
            macro = test.macro.subsets if len(test.counted) > 1 else None
            line.append(_cell(macro.frame if macro else None))
    caption = "AUC and accuracy: trained on (under a run), tested on"
    return [
        matrix(caption, _names(findings), columns, cells),
        Text(
            f"AUC, and the accuracy at the threshold from validation. {COLOURS_SAID} "
            f"{intervals_said(tests)}",
            "note",
        ),
        *_beside_baselines(findings),
    ]


def _beside_baselines(findings: Sequence[Finding]) -> list[Block]:
    """What each run beats of what needs no training: a high AUC alone does not earn its place."""
    told = [(one.name, beside_baselines(one.test)) for one in findings if one.test is not None]
    said = [f"{name}: {text[0].lower()}{text[1:]}" for name, text in told if text]
    if not said:
        return []
    items = Items(said)
    return [
        items if len(said) <= PAIRED else Folded("What each run beats of the baselines", [items])
    ]


def _rows_said(name: str, tests: Sequence[EvaluationRecord]) -> str:
    """How many rows of a subset the runs were tested on, or that these are not the same rows."""
    found = [(test, test.subsets[name]) for test in tests if name in test.subsets]
    if len({(one.real, one.fake) for _, one in found}) > 1:
        return "rows differ"
    asked = {
        (one.beside, test.store, test.split, test.domains, test.frames, test.sampling)
        for test, one in found
    }
    one = found[0][1]
    # Of another store, or split, the same number of rows is no sign that they are the same.
    return f"{one.real:,} real\n{one.fake:,} fake" if len(asked) == 1 else "rows may differ"


def _names(findings: Sequence[Finding]) -> list[Cell]:
    return [Cell(one.name, f"on {', '.join(one.trained_on)}") for one in findings]


def _cell(figures: Figures | None) -> Cell:
    cell = figure_cell((figures or {}).get("auc"), tinted=True)
    accuracy = (figures or {}).get("accuracy")
    if accuracy is None or accuracy.value is None:
        return cell
    lines = [*filter(None, [cell.under]), f"accuracy {decimal(accuracy.value)}"]
    return replace(cell, under="\n".join(lines))

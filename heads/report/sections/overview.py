"""Several runs at a glance: their figures in one table, and who is better in sentences."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from clare.advice import Notice, Run
from clare.bootstrap import Figure, Figures, Resampling
from clare.errors import InputError
from clare.heads.evaluation.better import NAMED, has_interval, verdict
from clare.heads.evaluation.comparison import Comparison, Pair
from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.report.answer import beside_baselines
from clare.heads.report.answer_masks import counted_masks
from clare.heads.report.blocks import Block, Cell, Folded, Items, Section, Text
from clare.heads.report.formatting import auc_heat, decimal, figure_cell, iou_heat, lead_cell
from clare.heads.report.paired import Pairs
from clare.heads.report.run_results import Finding
from clare.heads.report.sections.matrix import COLOURS_SAID, IOU_COLOURS_SAID, matrix
from clare.heads.report.sections.results import intervals_said
from clare.wording import listed

PAIRED = 4
"""Runs that are compared each with each; of more, each with the first."""


def overview(findings: Sequence[Finding]) -> Section:
    """A line a run, on every subset that one of them was tested on: AUC, and IoU of localisers."""
    tested = [one for one in findings if one.test is not None]
    blocks: list[Block] = []
    if localisers := [one for one in tested if one.localises]:
        blocks += _ious(localisers)
    if scored := [one for one in tested if not one.localises or (one.test and one.test.detects)]:
        blocks += _aucs(scored, "" if localisers else f" {intervals_said(_tests(scored))}")
    blocks += _beside_baselines(tested)
    if untested := [one for one in findings if one.test is None]:
        metrics = [one.validation.metrics for one in untested]
        cells = [[_iou_cell(one) if "iou" in one else _auc_cell(one)] for one in metrics]
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
        differences[f"{other.name} less {one.name}"] = report.masks or report.subsets
    how = _intervals_paired([pair for found in differences.values() for pair in found.values()])
    if not few:
        how = f"Each run is compared with {tested[0].name}, the first that was named. {how}"
    blocks: list[Block] = [Items(said), Text(how, "note")]
    subsets = list(dict.fromkeys(name for found in differences.values() for name in found))
    if len(subsets) > NAMED:
        cells = [
            [lead_cell(_chief(found[n]) if n in found else None) for n in subsets]
            for found in differences.values()
        ]
        rows, columns = [Cell(name) for name in differences], [Cell(name) for name in subsets]
        of = {
            "IoU" if "iou" in p.difference else "AUC"
            for f in differences.values()
            for p in f.values()
        }
        caption = f"Difference of the {listed(sorted(of))}, by subset"
        table = matrix(caption, rows, columns, cells)
        blocks.append(Folded("Every difference", [table]))
    return [Section("better", "Who is better", blocks)]


def _compared(pairs: Pairs, one: Finding, other: Finding) -> Comparison:
    tests = _tests([one, other])
    count = min(test.resamples for test in tests)
    return pairs.compare(one, other, Resampling(count, tests[0].seed))


def _intervals_paired(found: Sequence[Pair]) -> str:
    """What the differences are, and what follows where some have no interval."""
    differences = [_chief(pair) for pair in found]
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


def _chief(pair: Pair) -> Figure:
    """The difference that says most: of the IoU where both have masks, else of the AUC."""
    return pair.difference["iou" if "iou" in pair.difference else "auc"]


def _aucs(findings: Sequence[Finding], intervals: str) -> list[Block]:
    """AUC and accuracy, and what is said of their intervals."""
    tests = _tests(findings)
    subsets = _subsets(findings)
    columns = [Cell(name, _rows_said(name, tests)) for name in subsets]
    cells = [
        [_auc_cell(t.subsets[name].frame if name in t.subsets else None) for name in subsets]
        for t in tests
    ]
    if means := {tuple(sorted(test.counted)) for test in tests if len(test.counted) > 1}:
        columns.append(_mean_head(means))
        for test, line in zip(tests, cells, strict=True):
            macro = test.macro.subsets if len(test.counted) > 1 else None
            line.append(_auc_cell(macro.frame if macro else None))
    sources = listed(dict.fromkeys(one.validation.threshold_source for one in findings))
    return [
        matrix(
            "AUC and accuracy: trained on (under a run), tested on",
            _names(findings),
            columns,
            cells,
        ),
        Text(
            f"AUC, and the accuracy at the run's threshold ({sources}). {COLOURS_SAID}{intervals}",
            "note",
        ),
    ]


def _ious(findings: Sequence[Finding]) -> list[Block]:
    """IoU and F1 of localisers."""
    tests = _tests(findings)
    subsets = [name for name in _subsets(findings) if any(test.iou(name) for test in tests)]
    if not subsets:
        return [Text("No tested fake has a mask, so there is no IoU.", "note")]
    columns = [Cell(name, _fakes_said(name, tests)) for name in subsets]
    masks = [test.masks.subsets if test.masks else {} for test in tests]
    cells = [
        [_iou_cell(found[name].figures if name in found else None) for name in subsets]
        for found in masks
    ]
    several = [names if len(names := tuple(counted_masks(test))) > 1 else () for test in tests]
    if means := {*several} - {()}:
        columns.append(_mean_head(means))
        for test, names, line in zip(tests, several, cells, strict=True):
            line.append(_iou_cell(test.masks.mean if test.masks and names else None))
    return [
        matrix(
            "IoU and F1 of fake pixels: trained on (under a run), tested on",
            _names(findings),
            columns,
            cells,
        ),
        Text(f"At a threshold of 0.5. {IOU_COLOURS_SAID} {intervals_said(tests)}", "note"),
    ]


def _tests(findings: Sequence[Finding]) -> list[EvaluationRecord]:
    return [one.test for one in findings if one.test is not None]


def _subsets(findings: Sequence[Finding]) -> list[str]:
    """What was tested; first what the runs were trained on: then the diagonal is the easy part."""
    found = {name for one in findings if one.test is not None for name in one.test.subsets}
    own = dict.fromkeys(name for one in findings for name in one.trained_on)
    return [name for name in own if name in found] + sorted(found - set(own))


def _mean_head(means: Collection[Sequence[str]]) -> Cell:
    under = (
        f"of {len(next(iter(means)))} subsets" if len(means) == 1 else "of each run's own subsets"
    )
    return Cell("mean", under)


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


def _fakes_said(name: str, tests: Sequence[EvaluationRecord]) -> str:
    """How many fakes of a subset have masks, or that these are not as many."""
    counts = {iou.n for test in tests if (iou := test.iou(name)) is not None}
    return f"{counts.pop():,} fake" if len(counts) == 1 else "images differ"


def _names(findings: Sequence[Finding]) -> list[Cell]:
    return [Cell(one.name, f"on {', '.join(one.trained_on)}") for one in findings]


def _auc_cell(figures: Figures | None) -> Cell:
    return _above(figures, "auc", auc_heat, "accuracy")


def _iou_cell(figures: Figures | None) -> Cell:
    return _above(figures, "iou", iou_heat, "f1", "F1")


def _above(
    figures: Figures | None, name: str, heat: Callable[[float], float], below: str, title: str = ""
) -> Cell:
    """A figure above another."""
    found = figures or {}
    cell, other = figure_cell(found.get(name), heat), found.get(below)
    if other is None or other.value is None:
        return cell
    lines = [*filter(None, [cell.under]), f"{title or below} {decimal(other.value)}"]
    return replace(cell, under="\n".join(lines))

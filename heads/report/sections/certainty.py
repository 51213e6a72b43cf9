"""Where a detector is sure, and where it is not: conformal sets of labels, and abstention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from clare.bootstrap import Figures
from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.metrics import abstention, conformal
from clare.heads.metrics.by_subset import Levels
from clare.heads.metrics.predictions import video_level
from clare.heads.report.blocks import Block, Cell, Plot, Plots, Table, Text
from clare.heads.report.formatting import figure_cell, sentence
from clare.heads.report.run_results import Finding
from clare.heads.report.svg import abstention_plot


def certainty(finding: Finding) -> list[Block]:
    """All that was measured of a run; nothing where that is nothing."""
    test = finding.test
    return [] if test is None else [*label_sets(test), *surest(finding, test)]


def label_sets(test: EvaluationRecord) -> list[Block]:
    """What conformal sets give on each subset; nothing where the run has none."""
    found = test.conformal
    if found is None:
        return []
    stated = f"{found.sets.frame.coverage:g}"
    told = (
        f"A conformal set holds each label that can't be ruled out: over rows like those of "
        f"validation it holds the true one for {stated} of the reals and for {stated} of the fakes "
        "(split-conformal prediction, calibrated for each label on validation alone). A share "
        "covered whose interval lies below that says that a subset's rows are not like those of "
        "validation. Unsure: the set holds both labels; neither: it is empty; sure: it holds one."
    )
    return [
        Table(
            f"Conformal sets of labels, to cover {stated}",
            ["subset", *conformal.TITLES.values()],
            list(_rows(found.subsets, conformal.TITLES)),
        ),
        *(
            Text(f"{sentence(one)}.", "note")
            for one in (*found.sets.calibrated(), *found.sets.said())
        ),
        Text(told, "note"),
    ]


def surest(finding: Finding, test: EvaluationRecord) -> list[Block]:
    """How accurate a run is where it judges the surest rows alone."""
    if not test.abstention:
        return []
    table = Table(
        "Accuracy where only the surest are judged",
        ["subset", *abstention.TITLES.values()],
        list(_rows(test.abstention, abstention.TITLES)),
    )
    told = (
        "The surest are those whose margins are farthest from the threshold. AURC is the mean "
        "share of mistakes over all shares that are judged: the lower, the better. It is low too "
        "where a detector makes few mistakes at all, so read it beside the accuracy."
    )
    plots = list(_plots(finding, test))
    return [table, *([Plots(plots)] if plots else []), Text(told, "note")]


def _rows(subsets: Mapping[str, Levels], titles: Mapping[str, str]) -> Iterator[list[Cell]]:
    for name, levels in subsets.items():
        for of, figures in (("", levels.frame), ("videos", levels.video)):
            if figures:
                yield [Cell(name, of), *(figure_cell(figures[key]) for key in titles)]


def _plots(finding: Finding, test: EvaluationRecord) -> Iterator[Plot]:
    found, threshold = test.abstention, test.threshold
    sets = {name: rows for name, rows in finding.sets().items() if name in found}
    if not sets or threshold is None:
        return
    yield abstention_plot(sets, threshold, {n: _aurc(found[n].frame) for n in sets}, "images")
    videos = {name: video_level(rows) for name, rows in sets.items()}
    drawn = {name: rows for name, rows in videos.items() if rows is not None}
    if drawn:
        yield abstention_plot(drawn, threshold, {n: _aurc(found[n].video) for n in drawn}, "videos")


def _aurc(figures: Figures | None) -> float | None:
    return None if figures is None else figures["aurc"].value

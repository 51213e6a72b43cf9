"""How it looks in a terminal where a detector is sure, and where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from clare.cli.views.console import console
from clare.cli.views.figures import figure_cell
from clare.cli.views.table import table
from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.metrics import abstention, conformal
from clare.heads.metrics.by_subset import Levels


def print_sets(record: EvaluationRecord) -> None:
    """Print how often conformal sets hold the true label, and how often they hold both."""
    found = record.conformal
    if found is None:
        return
    title = f"\nConformal sets of labels, to cover {found.sets.frame.coverage:g}"
    heads = ("subset", *conformal.TITLES.values())
    console.print(table(title, heads, _rows(found.subsets, conformal.TITLES)))
    told = "covered: the set holds the true label; unsure: it holds both; neither: none"
    for sentence in (told, *found.sets.calibrated()):
        console.print(sentence, style="dim")
    for sentence in found.sets.said():
        console.print(sentence, style="yellow")


def print_abstention(record: EvaluationRecord) -> None:
    """Print how accurate the surest rows are."""
    if not record.abstention:
        return
    heads = ("subset", *abstention.TITLES.values())
    title = "\nWhere only the surest are judged: those farthest from the threshold"
    console.print(table(title, heads, _rows(record.abstention, abstention.TITLES)))
    console.print("AURC: mean share of mistakes over all shares that are judged", style="dim")


def _rows(subsets: Mapping[str, Levels], titles: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for name, levels in subsets.items():
        for of, figures in (("", levels.frame), ("\nvideos", levels.video)):
            if figures:
                yield (f"{name}{of}", *(figure_cell(figures[key]) for key in titles))

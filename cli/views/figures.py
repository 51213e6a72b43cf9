"""How figures of detectors look in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clare.bootstrap import Figure, Figures
from clare.cli.views.console import console
from clare.cli.views.table import table
from clare.cli.wording import worded
from clare.heads.evaluation.baseline_names import in_order, title_of
from clare.heads.evaluation.comparison import Comparison
from clare.heads.evaluation.df40 import DF40Record
from clare.heads.evaluation.record import Baselines, Evaluation, EvaluationRecord
from clare.heads.metrics.by_subset import FiguresBySubset, SubsetFigures
from clare.heads.metrics.predictions import Predictions, p_fake
from clare.heads.runs.record import read_validation

FIGURES = {
    "auc": "AUC",
    "ap": "AP",
    "eer": "EER",
    "tpr_at_fpr_1": "TPR@1%",
    "tpr_at_fpr_5": "TPR@5%",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "f1": "F1",
    "accuracy_at_0.5": "acc@0.5",
    "ece": "ECE",
}
"""Headings of the figures; "balanced" is the balanced accuracy."""

VALIDATION = ("iou", "auc", "ap", "eer", "balanced_accuracy", "accuracy", "accuracy_at_0.5")
"""The figures of a run on validation that are shown."""

SCALES = {
    "margin": "margins: fake above 0",
    "probability": "probabilities of fake",
    "number": "plain numbers, whose ranks alone count",
}
"""What is said of how scores were read."""


def print_report(report: FiguresBySubset) -> None:
    """Print every subset's figures, each above its 95 % interval, and their means."""
    for level, title in (
        ("frame", "Each image"),
        ("video", "Each video: mean score of its frames"),
    ):
        measured = {n: found for n, found in report.subsets.items() if getattr(found, level)}
        if not measured:
            continue
        rows = [
            (f"{name}\n{_count(found, level)}", *figure_cells(getattr(found, level)))
            for name, found in measured.items()
        ]
        rows += _means(report, level)
        console.print(table(title, ("subset", *FIGURES.values()), rows))
        console.print()
    console.print(
        f"{_threshold(report)} for accuracy, balanced accuracy and F1; {_intervals(report)}",
        style="dim",
    )
    print_alone(report)


def print_validation(run: Path) -> None:
    """Print a finished run's figures on validation.

    Raises:
        InputError: they can't be read.
    """
    found = read_validation(run)
    rows = [
        (name, _plain(figure.value), _plain(figure.low), _plain(figure.high))
        for name, figure in found.metrics.items()
        if name in VALIDATION and figure.value is not None
    ]
    title = f"validation, epoch {found.epoch}, n {found.chief[1].n}"
    console.print(table(title, ("figure", "value", "95 % from", "to"), rows))
    if found.auc.value is None:
        console.print("the checkpoint was chosen on these rows, all subsets together")
    else:
        console.print(_of_run(found.threshold))
        console.print("checkpoint and threshold were chosen on these rows, all subsets together")
    console.print(f"{run}: detector, history, figures and predictions on validation")


def _threshold(report: FiguresBySubset) -> str:
    if report.threshold is None:
        return "no threshold"
    if isinstance(report, EvaluationRecord):
        return f"{_of_run(report.threshold)},"
    return f"threshold {report.threshold:.4g}"


def _of_run(margin: float) -> str:
    """Predictions hold both, and a margin taken for a p(fake) moves every verdict."""
    return f"threshold p(fake) {p_fake(margin):.4f}, a margin of {margin:.4f}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def print_scores(predictions: Predictions) -> None:
    """Say which column of a file holds the scores, and what they were read as."""
    taken = ", ".join(f"{role} {name}" for role, name in predictions.columns.items())
    console.print(f"columns: {taken}; scores are read as {SCALES[predictions.scale]}")
    if predictions.scale == "number":
        console.print(
            "there is no ECE, no accuracy at even odds, and no threshold but --threshold; if they "
            "are logits, say so with --read-as margin",
            style="dim",
        )


def _intervals(report: FiguresBySubset) -> str:
    """What the intervals are of; whole videos only where some rows share one."""
    if not report.resamples:
        return "no intervals, for there are no resamples"
    subsets = report.subsets
    single = [n for n, one in subsets.items() if one.clusters == one.real + one.fake]
    if len(single) == len(subsets):
        known = any(one.video for one in subsets.values())
        why = "none share a video" if known else "no video ids are known"
        drawn = f"single rows, for {why}"
    elif single:
        drawn = f"whole videos or identities, of single rows in {', '.join(single)}"
    else:
        drawn = "whole videos or identities"
    return f"below each figure its 95 % interval ({report.resamples} resamples of {drawn})"


def print_left_out(found: Evaluation) -> None:
    """Say which rows and sets could not be scored, and what else is to be known."""
    for name, count in found.record.skipped.items():
        console.print(
            f"{name}: {count} rows have no features and are left out; `clare store info` says why",
            style="yellow",
        )
    _print_absent(found.record.absent)
    print_aside(found.record)
    for notice in found.notices:
        console.print(worded(notice), style="yellow")


def print_alone(report: FiguresBySubset | Comparison) -> None:
    """Say which subsets have fakes alone."""
    for name in report.alone:
        console.print(
            f"{name}: fakes alone, so most figures do not exist, and it is in no mean with others; "
            "name subsets whose reals stand beside it with --reals",
            style="yellow",
        )


def print_aside(report: FiguresBySubset | Comparison) -> None:
    """Name the subsets that are in no mean."""
    if report.aside:
        console.print(f"in no mean: {', '.join(report.aside)}", style="dim")


def print_baselines(report: EvaluationRecord) -> None:
    """Print the AUC of each baseline, and the detector's lead over the hardest."""
    found = report.baselines
    if found is None:
        return
    names = in_order(name for aucs in found.subsets.values() for name in aucs)
    rows = [
        (name, *(figure_cell(aucs.get(baseline)) for baseline in names))
        for name, aucs in found.subsets.items()
    ]
    heads = [title_of(name, short=True) for name in names]
    title = "\nAUC of what needs no training, which a detector must beat"
    console.print(table(title, ("subset", *heads), rows))
    leads = [
        (
            name,
            title_of(hardest, short=True),
            figure_cell(report.subsets[name].frame["auc"]),
            _lead(found.lead(name, hardest), report.subsets[name].frame["auc"].n),
            _beaten(found, name, hardest),
        )
        for name in found.subsets
        if (hardest := found.hardest(name))
    ]
    if leads:
        columns = ("subset", "hardest baseline", "detector", "its lead", "clearly beats each?")
        console.print(table("\nThe detector's lead, paired", columns, leads, left=2))
    source = found.pixels_from
    console.print(
        f"Laplacian energy and size after compression: of the {source}"
        if source
        else "the store has neither pixels nor thumbnails of all these rows, which Laplacian "
        "energy and compression need: `clare extract --features pixels`",
        style="dim",
    )


def print_against(report: EvaluationRecord) -> None:
    """Print published average precision and accuracy beside ours."""
    found = report.against
    if found is None or not found.subsets:
        return
    subsets = found.subsets
    systems = list(dict.fromkeys(s for one in subsets.values() for s in one.published))
    for figure, heading in (("ap", "Average precision"), ("accuracy", "Accuracy")):
        ours = ["ours"] if figure == "ap" else ["ours", "ours: oracle, as published"]
        rows = []
        for name, one in subsets.items():
            cells = [figure_cell(one.ours[figure])]
            if figure == "accuracy":
                cells.append(figure_cell(one.ours["accuracy_oracle"]))
            published = (one.published.get(system, {}).get(figure) for system in systems)
            rows.append((name, *cells, *("–" if v is None else f"{v:.3f}" for v in published)))
        title = f"\n{heading} beside {found.table}"
        console.print(table(title, ("subset", *ours, *systems), rows))
    console.print(
        "published accuracy is at a threshold searched on the test set, as in the oracle's column; "
        "ours is at the threshold from validation",
        style="dim",
    )


def print_as_df40(report: DF40Record) -> None:
    """Print what DF40's own way of measuring gives, its published figures, and what is wrong."""
    rows = []
    for line in report.lines:
        found, name, video = line.figures, line.name, ("", "")
        if found is not None:
            name += f"\n{found.real} real, {found.fake} fake"
            video = (f"{found.video_auc:.3f}", f"{found.groups} ({found.mixed} mixed)")
        published = ("–" if one is None else f"{one:.3f}" for one in line.published.values())
        rows.append((name, f"{line.frame_auc:.3f}", *published, *video))
    title = f"{report.run}, protocol {report.protocol}, as DF40's code measures"
    title += f" ({report.control})" if report.control else ""
    heads = [f"{name} published" for name in report.published]
    console.print(table(title, ("list", "frame AUC", *heads, "their video AUC", "groups"), rows))
    console.print(f"store: {report.store}")
    if report.unpublished:
        console.print(report.unpublished, style="yellow")
    _print_absent(report.absent)
    console.print("\nNot figures to report as your own. What is wrong with them:", style="yellow")
    for one in report.wrong:
        console.print(f"- {one}")
    console.print("What is not as its authors have it:")
    for one in report.unlike:
        console.print(f"- {one}")


def _print_absent(absent: Mapping[str, str]) -> None:
    if absent:
        console.print(table("\nsets that are not tested", ("set", "why"), absent.items(), left=2))


def _means(report: FiguresBySubset, level: str) -> list[tuple[str, ...]]:
    kinds, macro = report.categories, report.macro
    named: list[tuple[str, Any]] = []
    if len(kinds) > 1:
        several = ((kind, one) for kind, one in kinds.items() if len(one.subsets) > 1)
        named = [(f"{kind}\nmean of {len(one.subsets)}", one) for kind, one in several]
        named.append((f"mean of\n{len(kinds)} categories", macro.categories))
    if (counted := len(report.counted)) > 1:
        named.append((f"mean of\n{counted} subsets", macro.subsets))
    return [(n, *figure_cells(getattr(one, level))) for n, one in named if getattr(one, level)]


def _count(found: SubsetFigures, level: str) -> str:
    if level == "video":
        return f"{found.video['auc'].n if found.video else 0} videos"
    return f"{found.real} real, {found.fake} fake"


def figure_cells(figures: Figures) -> Sequence[str]:
    """A cell a figure of `FIGURES`."""
    return [figure_cell(figures.get(name)) for name in FIGURES]


def figure_cell(figure: Figure | None) -> str:
    """A figure above its interval; a dash where there is none."""
    if figure is None or figure.value is None:
        return "–"
    text = f"{figure.value:.3f}"
    if figure.low is None or figure.high is None:
        return text
    return f"{text}\n{_short(figure.low)}–{_short(figure.high)}"


def _lead(lead: Figure | None, rows: int) -> str:
    """A difference of two figures; small ones need more digits. Says its rows where not all."""
    if lead is None or lead.value is None:
        return "–"
    ends = "" if lead.low is None else f"\n{lead.low:+.3f} to {lead.high:+.3f}"
    on = "" if lead.n == rows else f"\non {lead.n} rows"
    return f"{lead.value:+.3f}{ends}{on}"


def _beaten(found: Baselines, subset: str, hardest: str) -> str:
    """Whether the detector beats each baseline, and of how many that is said."""
    beaten = found.verdict(subset, hardest)
    return beaten if beaten == "unknown" else f"{beaten}\n{found.measured(subset)} measured"


def _short(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00").replace("0.", ".", 1)

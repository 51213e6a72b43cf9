"""Figures as a reader of a page meets them."""

from __future__ import annotations

from collections.abc import Callable

from clare.bootstrap import Figure
from clare.heads.report.blocks import MISSING, Cell

CHANCE = 0.5
"""An AUC of guessing."""

LABELS = ("real", "fake")
"""What 0 and 1 stand for."""

NAMES = {
    "auc": "AUC",
    "ap": "AP",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "eer": "EER",
    "tpr_at_fpr_1": "TPR at 1 % FPR",
    "tpr_at_fpr_5": "TPR at 5 % FPR",
    "ece": "ECE",
    "accuracy_at_0.5": "accuracy at 0.5",
}
"""Headings of the figures, in the order in which they are read."""

MASK_NAMES = {
    "iou": "IoU",
    "f1": "F1",
    "ap": "AP",
    "area_error": "area error",
    "f1_inner": "inner F1",
    "false_area": "area on reals",
    "f1_oracle": "F1",
    "f1_inner_oracle": "inner F1",
}
"""Headings of a localiser's figures, an oracle's last; a column says below that it is one."""


def images_of(subset: str, label: int) -> str:
    """What the reals, or the fakes, of a subset are called; a name that says it is not doubled."""
    kind = LABELS[label]
    own = subset.lower() in (kind, f"{kind}s")
    return subset if own else f"{kind}s of {subset}"


def sentence(text: str) -> str:
    """A text that begins with a capital letter."""
    return text[:1].upper() + text[1:]


def decimal(value: float | None, digits: int = 3) -> str:
    """A number with a fixed number of decimals; a dash where there is none."""
    if value is None:
        return MISSING
    return f"{value:.{digits}f}".replace("-0.000", "0.000")


def span(figure: Figure, digits: int = 2) -> str:
    """The ends of a figure's interval; empty where it has none."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{figure.low:.{digits}f} to {figure.high:.{digits}f}"


def number_cell(value: float | None) -> Cell:
    """A figure without an interval."""
    return figure_cell(Figure(value, None, None, 0))


def figure_cell(figure: Figure | None, heat: Callable[[float], float] | None = None) -> Cell:
    """A figure above its interval, tinted by its heat if one is given."""
    if figure is None or figure.value is None:
        return Cell(MISSING)
    value = float(figure.value)
    return Cell(decimal(value), span(figure), value, None if heat is None else heat(value))


def auc_heat(auc: float) -> float:
    """How far an AUC is from chance, -1 to 1."""
    return max(-1.0, min(1.0, 2 * auc - 1))


def iou_heat(iou: float) -> float:
    """An IoU, which has no chance in its middle: 0 to 1."""
    return max(0.0, min(1.0, iou))


def lead_cell(lead: Figure | None, rows: int | None = None) -> Cell:
    """How far one figure is above another; small leads need more digits than figures.

    Args:
        lead: the difference.
        rows: that the figure beside it is of; where the lead is of fewer, it says of how many.
    """
    if lead is None or lead.value is None:
        return Cell(MISSING)
    on = f"on {lead.n:,} rows" if rows is not None and lead.n != rows else ""
    return Cell(f"{lead.value:+.3f}", "\n".join(filter(None, [span(lead, 3), on])), lead.value)


def said(figure: Figure, name: str = "AUC") -> str:
    """A figure in a sentence: with its interval, or the lack of one."""
    ends = f"95 % interval {span(figure)}" if span(figure) else "no interval"
    return f"{name} {decimal(figure.value)} ({ends})"

"""What a localiser's figures answer, in a few sentences; none of them is an oracle's."""

from __future__ import annotations

from clare.bootstrap import Figure, Figures
from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.report.beaten import beaten_said
from clare.heads.report.formatting import decimal, said, span
from clare.wording import counted, listed

NAMED = 4
"""Subsets that the answer names one by one."""

FACTS = {
    "iou": "IoU",
    "f1": "F1 of pixels",
    "ap": "AP of pixels",
    "false_area": "area called on reals",
}
"""The figures at a glance."""


def mask_answer(test: EvaluationRecord) -> str:
    """How well fake pixels were found, what that beats, and whether reals were seen.

    Args:
        test: of a localiser.
    """
    known = counted_masks(test)
    if not known:
        return "Not known: no tested fake has a mask."
    beside = masks_beaten(test) or (
        "Whether it clearly beats what needs no training (all called fake, an ellipse in the "
        "middle, the Laplacian, LaRE by itself) was not measured."
    )
    blind = test.masks is not None and not test.masks.saw_reals
    return " ".join([f"{_found(known)}.", beside, *([_BLIND] if blind else [])])


_BLIND = "It was trained on no real images, so what it marks on them means little."


def masks_beaten(test: EvaluationRecord) -> str | None:
    """What a localiser beats of what needs no training; None where that was not measured."""
    rows = {name: figures["iou"].n for name, figures in counted_masks(test).items()}
    return beaten_said(test.mask_baselines, rows, "IoU")


def mask_facts(test: EvaluationRecord, rows: str) -> list[tuple[str, str, str]]:
    """The figures of masks that a reader looks for first: of a subset, or the mean of several."""
    known = counted_masks(test)
    if not known or test.masks is None:
        return []
    several = len(known) > 1
    figures = test.masks.mean if several else next(iter(known.values()))
    of = f"mean of {len(known)} subsets" if several else rows
    shown = {name: title for name, title in FACTS.items() if _is_known(figures.get(name))}
    return [
        (f"{title}, {of}" if name == "iou" else title, decimal(one.value), span(one))
        for name, title in shown.items()
        for one in (figures[name],)
    ]


def counted_masks(test: EvaluationRecord) -> dict[str, Figures]:
    """The figures of the subsets that count, where any of their images has a mask."""
    subsets = {} if test.masks is None else test.masks.subsets
    counted = {name: one.figures for name, one in subsets.items() if name not in test.aside}
    return {name: one for name, one in counted.items() if _is_known(one.get("iou"))}


def _is_known(figure: Figure | None) -> bool:
    return figure is not None and figure.value is not None


def _found(known: dict[str, Figures]) -> str:
    ious = {name: one["iou"] for name, one in known.items()}
    if len(ious) <= NAMED:
        return listed(
            f"{said(iou, 'IoU')} on {counted(iou.n, 'fake')} of {name}"
            for name, iou in ious.items()
        )
    values = {name: iou.value or 0.0 for name, iou in ious.items()}
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    counts = sorted(iou.n for iou in ious.values())
    each = f"{counts[0]:,}" + (f" to {counts[-1]:,}" if counts[0] < counts[-1] else "")
    mean = decimal(sum(values.values()) / len(values))
    return (
        f"Mean IoU {mean} over {len(ious)} subsets of {each} fakes each, from "
        f"{decimal(values[least])} on {least} to {decimal(values[most])} on {most}"
    )

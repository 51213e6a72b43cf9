"""How figures of deliveries look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from clare.augmentation.deliveries import CLEAN
from clare.bootstrap import Figure, Figures
from clare.cli.views.console import console
from clare.cli.views.table import table
from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.evaluation.variant_results import FIGURES

SHOWN = ("iou", "ap")
HEADS = ("AUC", "change", "accuracy", "change", "FPR", "change")


def print_variants(record: EvaluationRecord) -> None:
    """Print what each delivery of the test rows costs, and which costs most."""
    for subset, found in record.variants.items():
        clean = [_cell(found.clean[name]) for name in FIGURES]
        first = (f"{CLEAN}\n{_count(found.real, found.fake)}",)
        rows = [(*first, *(cell for own in clean for cell in (own, "")))]
        rows += [
            (f"{name}\n{_count(one.real, one.fake)}", *_cells(one.figures, one.change, FIGURES))
            for name, one in found.deliveries.items()
        ]
        title = f"\nDeliveries of {subset}, beside the same images as they are"
        console.print(table(title, ("delivery", *HEADS), rows))
        if masked := {name: one.masks for name, one in found.deliveries.items() if one.masks}:
            title = f"\nFake pixels of {subset}, delivered, beside the same images as they are"
            found_rows = [
                (f"{name}\n{one.figures['iou'].n} fakes", *_cells(one.figures, one.change, SHOWN))
                for name, one in masked.items()
            ]
            console.print(table(title, ("delivery", "IoU", "change", "AP", "change"), found_rows))
        for said in found.told:
            console.print(said)
    if record.variants:
        console.print(
            "accuracy and FPR, the share of reals that is called fake, are at the threshold from "
            "validation on images as they are; changes are paired",
            style="dim",
        )


def _count(real: int, fake: int) -> str:
    return f"{real} real, {fake} fake"


def _cells(figures: Figures, change: Figures, names: Sequence[str]) -> list[str]:
    each = ((_cell(figures[name]), _cell(change[name], "+")) for name in names)
    return [cell for pair in each for cell in pair]


def _cell(figure: Figure, sign: str = "") -> str:
    if figure.value is None:
        return "–"
    ends = "" if figure.low is None else f"\n{figure.low:{sign}.2f} to {figure.high:{sign}.2f}"
    return f"{figure.value:{sign}.3f}{ends}"

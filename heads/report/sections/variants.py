"""Deliveries on the page: what each costs, as a table and as a ladder."""

from __future__ import annotations

from collections.abc import Sequence

from clare.augmentation.deliveries import CLEAN
from clare.bootstrap import Figures
from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.evaluation.variant_results import FIGURES, VariantFigures
from clare.heads.report.blocks import Block, Cell, Plots, Table, Text
from clare.heads.report.formatting import figure_cell, lead_cell, sentence
from clare.heads.report.svg import ladder_plot

_SAID = (
    "Each delivery is measured on the images that have it, beside these very images as they are. "
    "Accuracy and FPR, the share of reals that is called fake, are at the threshold from "
    "validation on images as they are; a change has a paired interval."
)


def variant_figures(test: EvaluationRecord) -> list[Block]:
    """A table and a ladder a subset that has deliveries; nothing where there is none."""
    blocks: list[Block] = []
    plots = []
    for subset, found in test.variants.items():
        columns: list[str | Cell] = ["delivery", "rows"]
        columns += [cell for name in ("AUC", "accuracy", "FPR") for cell in (name, "change")]
        blocks.append(Table(f"Deliveries of {subset}", columns, _rows(found)))
        if masked := _mask_rows(found):
            heads = ["delivery", "fakes", "IoU", "change", "AP", "change"]
            blocks.append(Table(f"Fake pixels of {subset}, delivered", heads, masked))
        blocks += [Text(f"{subset}: {sentence(said)}.", "note") for said in found.told]
        ladder = {
            name: (one.clean["auc"], one.figures["auc"]) for name, one in found.deliveries.items()
        }
        if any(damaged.value is not None for _, damaged in ladder.values()):
            plots.append(ladder_plot(ladder, "AUC", subset))
    if blocks:
        blocks.append(Text(_SAID, "note"))
    return [*blocks, *([Plots(plots)] if plots else [])]


def _rows(found: VariantFigures) -> list[list[Cell]]:
    clean = [cell for name in FIGURES for cell in (figure_cell(found.clean[name]), Cell(""))]
    rows = [[Cell(CLEAN), _count(found.real, found.fake), *clean]]
    rows += [
        [
            Cell(name, one.steps),
            _count(one.real, one.fake),
            *_cells(one.figures, one.change, FIGURES),
        ]
        for name, one in found.deliveries.items()
    ]
    return rows


def _mask_rows(found: VariantFigures) -> list[list[Cell]]:
    """Of localisers; masks went with their images."""
    return [
        [
            Cell(name, one.steps),
            Cell(f"{own.figures['iou'].n:,}"),
            *_cells(own.figures, own.change, ("iou", "ap")),
        ]
        for name, one in found.deliveries.items()
        if (own := one.masks) is not None
    ]


def _count(real: int, fake: int) -> Cell:
    return Cell(f"{real:,} real", f"{fake:,} fake")


def _cells(figures: Figures, change: Figures, names: Sequence[str]) -> list[Cell]:
    each = ((figure_cell(figures[name]), lead_cell(change[name])) for name in names)
    return [cell for pair in each for cell in pair]

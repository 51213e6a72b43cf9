"""Pairs on the page: whether a fake scores above its own real, and what controls say."""

from __future__ import annotations

from clare.heads.evaluation.pairs import told_of_control
from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.report.blocks import MISSING, Block, Cell, Table, Text
from clare.heads.report.formatting import figure_cell

_CONTROLS = (
    "A control has fakes that are reals but for one thing: blended into themselves or into each "
    "other (sbi, blend), or passed through an autoencoder (vae). A detector of swaps that calls "
    "blended reals fake finds the blending, not the fake; one of generated images that calls round "
    "trips fake finds the decoder. It is said where the whole interval of the AUC is above 0.5. "
    "What a run was trained on is no control for it."
)


def pair_figures(test: EvaluationRecord) -> list[Block]:
    """A line a subset that has pairs; nothing where there is none."""
    rows: list[list[Cell]] = []
    for name, found in test.pairs.items():
        auc = test.subsets[name].frame["auc"]
        alone = f"{found.alone:,} more without their real here" if found.alone else ""
        rows.append(
            [
                Cell(name, found.kind),
                Cell(f"{found.accuracy.n:,} pairs", alone),
                figure_cell(found.accuracy),
                figure_cell(auc),
                Cell(told_of_control(found, auc) or MISSING),
            ]
        )
    if not rows:
        return []
    columns: list[str | Cell] = [
        *("subset", "pairs", "fake above its own real", "AUC", "as a control"),
    ]
    blocks: list[Block] = [Table("Pairs", columns, rows)]
    if any(found.finds for found in test.pairs.values()):
        blocks.append(Text(_CONTROLS, "note"))
    return blocks

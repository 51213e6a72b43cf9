"""How well a localiser finds fake pixels: its figures, and what they must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from clare.advice import Notice, Run
from clare.bootstrap import Figures
from clare.heads.evaluation.mask_results import SCORES, MaskResults, MaskSubset
from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.metrics.masks import ORACLE
from clare.heads.report.blocks import Block, Cell, Table, Text
from clare.heads.report.formatting import MASK_NAMES, figure_cell, lead_cell
from clare.heads.report.run_results import Finding
from clare.wording import counted, listed

_UNDER = {
    "ap": "of pixels",
    "area_error": "called less true",
    "f1_inner": "no boundary",
    "false_area": "called fake",
    **dict.fromkeys(ORACLE, "oracle"),
}
"""What stands below a heading."""

COMPARED = ("iou", "f1", "ap")
"""The figures that stand beside those of baselines."""


def mask_figures(test: EvaluationRecord) -> list[Block]:
    """The figures of fake pixels by subset, an oracle's set back, and what they are.

    Args:
        test: of a localiser.
    """
    found = test.masks
    if found is None:
        return []
    subsets = {name: one for name, one in found.subsets.items() if one.figures}
    shown = [
        name
        for name in MASK_NAMES
        if any(one.figures[name].value is not None for one in subsets.values())
    ]
    if not shown:
        return [Text("No tested fake has a mask, so nothing says where it looks right.", "warning")]
    rows = [
        [Cell(name), _images(one), *(_cell(one.figures, figure) for figure in shown)]
        for name, one in subsets.items()
    ]
    if len(subsets) > 1:
        mean = [_cell(found.mean, figure, alone=False) for figure in shown]
        rows.append([Cell(f"mean of {found.mean['iou'].n} subsets"), Cell(""), *mean])
    heads = [Cell(MASK_NAMES[n], _UNDER.get(n, ""), quiet=n in ORACLE) for n in shown]
    table = Table("Fake pixels: mean over images", ["subset", "images", *heads], rows)
    return [table, Text(_said(found, shown), "note"), *_cases(subsets)]


def _images(one: MaskSubset) -> Cell:
    reals = one.figures["false_area"].n
    return Cell(f"{one.figures['iou'].n:,} fake", f"{reals:,} real" if reals else "")


def _cell(figures: Figures, name: str, *, alone: bool = True) -> Cell:
    """A figure; where it is of fewer images than the IoU, it says of how many."""
    figure = figures.get(name)
    cell = replace(figure_cell(figure), quiet=name in ORACLE)
    if figure is None or figure.value is None or not alone or name == "false_area":
        return cell
    fewer = f"of {figure.n:,}" if figure.n != figures["iou"].n else ""
    return replace(cell, under="\n".join(filter(None, [cell.under, fewer])))


def _said(found: MaskResults, shown: Sequence[str]) -> str:
    told = ["At the size of each mask's own file; a pixel is called fake above 0.5."]
    if "ap" in shown:
        told.append("AP needs no threshold.")
    if "area_error" in shown:
        told.append("Area error: the called area less the true one, as a share of the image.")
    if "f1_inner" in shown:
        told.append("Inner: a ring along the boundary is left out.")
    if set(ORACLE) & set(shown):
        told.append(
            "Oracle: the best threshold of each image, which no detector knows, so it is a bound "
            "and no result."
        )
    told.append(f"An image's score is {SCORES[found.score]}.")
    return " ".join(told)


def _cases(subsets: dict[str, MaskSubset]) -> list[Block]:
    """Images that figures treat by themselves."""
    blocks: list[Block] = []
    for name, one in subsets.items():
        cases = {
            "whose map has one value all over": one.cases.get("constant", 0),
            "whose mask is too thin for inner figures": one.cases.get("thin", 0),
            "wholly fake": one.cases.get("full", 0),
        }
        said = [f"{counted(count, 'image')} {what}" for what, count in cases.items() if count]
        if unmarked := one.cases.get("unmarked"):
            said.append(f"{counted(unmarked, 'fake')} whose mask marks nothing, in no figure")
        if said:
            blocks.append(Text(f"{name}: {listed(said)}.", "note"))
    return blocks


def mask_baselines(findings: Sequence[Finding], several: bool) -> list[Block]:
    """What localisers must beat: each baseline's figures, and the leads over it.

    Args:
        findings: the localisers.
        several: whether the page is of several runs, so that each is named.
    """
    rows: list[list[Cell]] = []
    blocks: list[Block] = []
    cuts: dict[str, None] = {}
    for finding in findings:
        found = finding.test.masks if finding.test else None
        beside = finding.test.mask_baselines if finding.test else None
        if finding.test is None or found is None or beside is None:
            blocks.append(_unmeasured(finding, several))
            continue
        for subset, one in found.subsets.items():
            for title, baseline in one.baselines.items():
                cells: list[Any] = [Cell(subset, finding.name if several else ""), Cell(title)]
                for name in COMPARED:
                    lead = baseline.ahead.get(name)
                    cells += [figure_cell(baseline.figures.get(name)), lead_cell(lead)]
                cells.append(Cell(beside.verdict(subset, title)))
                rows.append(cells)
        # Of one run's validation; another may have chosen another.
        cuts |= dict.fromkeys(f"{title} {cut:.3g}" for title, cut in found.cuts.items())
    if not rows:
        return blocks
    heads: list[str | Cell] = [Cell("subset", "run" if several else ""), "baseline"]
    for name in COMPARED:
        heads += [
            Cell(MASK_NAMES[name], _UNDER.get(name, "")),
            Cell("lead", f"in {MASK_NAMES[name]}"),
        ]
    heads.append(Cell("clearly beaten?", "by IoU"))
    told = (
        "None of these needs training: everything called fake, an ellipse in the middle, the "
        "energy of the Laplacian, LaRE by itself. A lead is the localiser's figure less the "
        "baseline's on the same images, its interval paired; “yes” needs that of the IoU above 0."
    )
    if cuts:
        told += f" Called fake above a cut that was chosen on validation: {listed(cuts)}."
    title = "Where fake pixels are: what each run must beat"
    return [
        Table(title if several else "Where fake pixels are: what must be beaten", heads, rows, 2),
        Text(told, "note"),
        *blocks,
    ]


def _unmeasured(finding: Finding, several: bool) -> Text:
    which = f" of {finding.name}" if several else ""
    what = (
        "What needs no training (everything called fake, an ellipse in the middle, the Laplacian, "
        f"LaRE by itself) finds of the fake pixels in the test images{which} was not measured"
    )
    return Text(Notice(what, Run("evaluate", (finding.path,), {"baselines": True}, "measures it")))

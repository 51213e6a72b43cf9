"""How well fake pixels were found, as it looks in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clare.bootstrap import Figure, Figures
from clare.cli.views.console import console
from clare.cli.views.figures import print_report
from clare.cli.views.table import table
from clare.heads.evaluation.comparison import Pair
from clare.heads.evaluation.mask_results import SCORES, MaskResults
from clare.heads.evaluation.record import EvaluationRecord
from clare.wording import counted

FIGURES = {
    "iou": "IoU",
    "f1": "F1",
    "f1_oracle": "F1 oracle",
    "f1_inner": "inner F1",
    "f1_inner_oracle": "inner oracle",
    "ap": "pixel AP",
    "false_area": "area on reals",
}
"""Headings of the figures."""

_MEANING = (
    "a pixel is called fake above 0.5; oracle: the best threshold of each image, which no detector "
    "knows; inner: without the boundary"
)


def print_figures(record: EvaluationRecord) -> None:
    """Print a run's figures: of a localiser's maps, and of scores where there are reals and fakes.

    A detector has the latter alone.
    """
    print_masks(record)
    if record.masks is None or record.detects:
        if record.masks is not None:
            console.print("\nFake images, by the scores of their maps")
        print_report(record)


def print_masks(record: EvaluationRecord) -> None:
    """Print a localiser's figures by subset, above their 95 % intervals; and the baselines."""
    found = record.masks
    if found is None:
        return
    shown = _shown([one.figures for one in found.subsets.values()])
    rows = [
        (f"{name}\n{_count(one.figures)}", *(_cell(one.figures.get(figure)) for figure in shown))
        for name, one in found.subsets.items()
    ]
    if len(found.subsets) > 1:
        rows.append(("mean of subsets", *(_cell(found.mean.get(figure)) for figure in shown)))
    console.print(table("Fake pixels, mean over images", ("subset", *shown.values()), rows))
    console.print(f"\n{_MEANING}", style="dim")
    console.print(f"an image's score is {SCORES[found.score]}", style="dim")
    for name, one in found.subsets.items():
        cases = [f"{count} {what}" for what, count in _cases(one.cases).items() if count]
        if unmarked := one.cases.get("unmarked"):
            cases.append(f"{counted(unmarked, 'fake')} whose mask marks nothing, in no figure")
        if cases:
            console.print(f"{name}: {', '.join(cases)}", style="dim")
    _print_baselines(found)


def print_mask_pairs(found: Mapping[str, Pair], names: tuple[str, str]) -> None:
    """Print the figures of two localisers' masks and their differences."""
    shown = _shown([pair.difference for pair in found.values()])
    rows = []
    for subset, pair in found.items():
        images = f"{subset}\nn {pair.difference['iou'].n}"
        rows.append((images, names[0], *(_cell(pair.first.get(name)) for name in shown)))
        rows.append(("", names[1], *(_cell(pair.second.get(name)) for name in shown)))
        rows.append(("", "difference", *(_cell(pair.difference.get(name), "+") for name in shown)))
    console.print(table("Fake pixels", ("subset", "", *shown.values()), rows, left=2))
    console.print(f"\n{_MEANING}", style="dim")


def _print_baselines(found: MaskResults) -> None:
    rows = [
        (
            name,
            title,
            *(_cell(one.figures.get(figure)) for figure in ("iou", "ap")),
            _lead(one.ahead),
        )
        for name, subset in found.subsets.items()
        for title, one in subset.baselines.items()
    ]
    if not rows:
        return
    title = "\nWhat needs no training, which a localiser must beat"
    heads = ("subset", "baseline", "IoU", "pixel AP", "the localiser's lead in IoU")
    console.print(table(title, heads, rows, left=2))
    for name, cut in found.cuts.items():
        console.print(f"{name}: a cut of {cut:.3g}, chosen on validation", style="dim")


def _cases(cases: Mapping[str, int]) -> dict[str, int]:
    """Images that figures treat by themselves, in words."""
    return {
        "of one value all over": cases.get("constant", 0),
        "whose mask is too thin for inner figures": cases.get("thin", 0),
        "wholly fake": cases.get("full", 0),
    }


def _count(figures: Figures) -> str:
    images = figures["iou"].n if figures else 0
    reals = figures["false_area"].n if figures else 0
    return f"n {images} fake" + (f", {reals} real" if reals else "")


def _shown(several: Sequence[Figures]) -> dict[str, str]:
    """The figures, with their headings, of which there is any."""
    known = {name for one in several for name, figure in one.items() if figure.value is not None}
    return {name: heading for name, heading in FIGURES.items() if name in known} or FIGURES


def _cell(figure: Figure | None, sign: str = "") -> str:
    if figure is None or figure.value is None:
        return "–"
    text = f"{figure.value:{sign}.3f}"
    if figure.low is None or figure.high is None:
        return text
    between = " to " if sign else "–"
    return f"{text}\n{figure.low:{sign}.3f}{between}{figure.high:{sign}.3f}"


def _lead(ahead: Figures) -> str:
    figure = ahead["iou"]
    if figure.value is None:
        return "–"
    if figure.low is None or figure.high is None:
        return f"{figure.value:+.3f}"
    return f"{figure.value:+.3f} ({figure.low:+.3f} to {figure.high:+.3f})"

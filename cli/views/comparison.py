"""How a comparison of two detectors, or of two localisers, looks in a terminal."""

from __future__ import annotations

from clare.cli.views.console import console
from clare.cli.views.figures import FIGURES, SCALES, figure_cells, print_alone, print_aside
from clare.cli.views.masks import print_mask_pairs
from clare.cli.views.table import table
from clare.heads.evaluation.better import verdict
from clare.heads.evaluation.comparison import Comparison, Pair
from clare.wording import listed


def print_comparison(report: Comparison, names: tuple[str, str]) -> None:
    """Print the figures of two detectors, or two localisers, and their differences."""
    scored = report.detects or not report.masks
    if report.masks:
        print_mask_pairs(report.masks, names)
    if scored:
        _print_pairs(report, names)
    console.print(
        f"\n{report.rows} rows that both have ({report.only_first} only {names[0]}, "
        f"{report.only_second} only {names[1]}); differences are {names[1]} less {names[0]}, "
        f"{'their 95 % intervals paired' if report.resamples else 'without intervals'}",
        style="dim",
    )
    _print_tests(report, names)
    for name, caveats in zip(names, report.caveats, strict=True):
        for caveat in caveats:
            console.print(f"note: {name}: {caveat}", soft_wrap=True, highlight=False)
    console.print(f"\n{verdict(report, names)}\n", highlight=False)
    if report.localisers[0] != report.localisers[1]:
        one = names[report.localisers.index(True)]
        console.print(f"which pixels are fake only {one} says: that is not compared", style="dim")
    print_aside(report)
    if not scored:
        return
    print_alone(report)
    for name, scale in zip(names, report.read_as, strict=True):
        if scale != "margin":
            console.print(f"{name}: scores are read as {SCALES[scale]}", style="dim")


def _print_pairs(report: Comparison, names: tuple[str, str]) -> None:
    named: list[tuple[str, Pair]] = [*report.subsets.items()]
    if (counted := len(report.counted)) > 1 and report.macro is not None:
        named.append((f"mean over {counted} subsets", report.macro))
    labels = {"first": names[0], "second": names[1], "difference": "difference"}
    rows = [
        (subset if which == "first" else "", label, *figure_cells(getattr(found, which)))
        for subset, found in named
        for which, label in labels.items()
    ]
    console.print(table(None, ("subset", "", *FIGURES.values()), rows, left=2))


def _print_tests(report: Comparison, names: tuple[str, str]) -> None:
    """Which of its evaluations stands for a run, since it may have several."""
    one, other = report.tests
    if one and one == other:
        also = f" (both also have {listed(report.also)})" if report.also else ""
        said = f"compared by the test {one}{also}"
    else:
        said = ", ".join(
            f"{name} by its test {test}"
            for name, test in zip(names, report.tests, strict=True)
            if test
        )
    if said:
        console.print(said, style="dim", soft_wrap=True, highlight=False)

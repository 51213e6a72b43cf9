"""What is printed of figures on images that are newer than the towers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clare.bootstrap import Figure
from clare.cli.views.console import console
from clare.cli.views.table import table
from clare.heads.evaluation.newer import Newer, reasons_said
from clare.heads.probing.said import interval_text


def print_newer(newer: Mapping[str, Newer], tests: Sequence[str], most: int) -> None:
    """Print the figures of the first names, or why there are none.

    Args:
        newer: by name.
        tests: names of all test sets.
        most: names that are shown.
    """
    figures = {name: one for name, one in newer.items() if one.mean is not None}
    if figures:
        rows = [
            (
                name,
                one.until,
                *(_figure(one.tests.get(test), one.dated.get(test, 0)) for test in tests),
                interval_text(one.mean) if one.mean is not None else "–",
            )
            for name, one in [*figures.items()][:most]
        ]
        title = "AUC on the images that are newer than all that the towers can have seen"
        console.print(table(title, ("", "newer than", *tests, "mean"), rows, left=2))
    for said in reasons_said(newer):
        console.print(said, highlight=False, soft_wrap=True)


def _figure(figure: Figure | None, dated: int) -> str:
    """A figure with its interval and its images."""
    if figure is None:
        return f"–\nn {dated}"
    return f"{interval_text(figure)}\nn {figure.n}"

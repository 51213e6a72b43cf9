"""What an exported file is, takes and gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clare.cli.views.console import console, warn
from clare.wording import size

if TYPE_CHECKING:
    from clare.exports.export import Exported


def show_export(made: Exported) -> None:
    """Print what was written, how it is used, and by how much it differs from the run."""
    facts = made.facts
    for remark in facts.remarks:
        warn(remark)
    console.print(f"{made.path}: {made.kind}, {size(made.size)}")
    for title, several in (("takes", facts.inputs), ("gives", facts.outputs)):
        for one in several:
            shape = ", ".join(map(str, one.shape))
            console.print(f"{title} {one.name} ({shape}): {one.meaning}")
    for one in facts.inputs:
        if one.pixels is not None:
            console.print(f"how {one.name} are made:")
            for number, step in enumerate(one.pixels.steps, start=1):
                console.print(f"{number}. {step}")
    console.print(f"fake from a margin of {facts.threshold:.4f} on, {facts.threshold_from}")
    console.print(
        f"largest difference to the run's own outputs, over random inputs: {made.difference:.1e}"
    )

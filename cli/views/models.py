"""What `clare models` prints."""

from __future__ import annotations

from collections.abc import Mapping

from clare.cli.views.console import console
from clare.cli.views.table import table
from clare.heads.published import About
from clare.models.tower_facts import UNKNOWN, TowerFacts


def print_heads(known: Mapping[str, About]) -> None:
    """Print published heads."""
    if not known:
        return
    columns = ("--as", "weights", "licence", "reads")
    rows = [(name, about.title, about.licence, about.needs) for name, about in known.items()]
    console.print(table("published weights", columns, rows))
    for name, about in known.items():
        told = f"{name}: {about.weights} ({about.url}); trained on {about.trained_on}"
        console.print(told + (f"; {about.figure}" if about.figure else ""))


def print_towers(towers: Mapping[str, TowerFacts]) -> None:
    """Print image towers."""
    if not towers:
        return
    columns = ("tower", "read by", "side", "GFLOP", "parameters", "licence", "images collected")
    rows = [
        (
            name,
            one.read_by,
            one.side,
            f"{one.gflop:,.1f}",
            f"{one.parameters / 1e6:,.1f} M",
            one.licence,
            one.crawl,
        )
        for name, one in towers.items()
    ]
    console.print(table("image towers, of one image", columns, rows))
    for name, one in towers.items():
        if one.trained_on != UNKNOWN:
            console.print(f"{name}: trained on {one.trained_on} ({one.source})", style="dim")

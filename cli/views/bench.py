"""What `clare bench` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from clare.cli.views.console import console, messages
from clare.cli.views.progress import ExtractView
from clare.cli.views.table import table
from clare.cli.wording import options
from clare.pipeline.extraction.bench import BenchObserver, Cost
from clare.pipeline.extraction.pace import DECODE, FILES, READ, WRITE, extractor_of
from clare.pipeline.extraction.rates import EXTRACTION, Rate
from clare.wording import counted, duration, size, time_range

_STAGES = {
    FILES: "hashing files",
    DECODE: "decoding",
    WRITE: "writing",
    READ: "reading in any order",
    EXTRACTION: "the extraction as a whole",
}


class BenchView(ExtractView, BenchObserver):
    """What is seen of a trial; its results go to standard output."""

    def measuring(self, what: str) -> None:
        """Show what is measured."""
        self._show(what, 0, None)


def cost_json(cost: Cost) -> dict[str, Any]:
    """A cost as plain values; the remark is worded."""
    found = asdict(cost)
    found["bottleneck"]["remark"] = cost.bottleneck.remark.worded(options())
    return found


def print_cost(cost: Cost) -> None:
    """Print each stage's rate, what decides, and time and disk."""
    columns = ("stage", "images/s", "least", "most", "images")
    console.print(table(None, columns, list(map(_line, cost.rates))))
    console.print(
        f"{cost.pictures}; {cost.device}, {cost.dtype}, "
        f"{counted(cost.cores, 'core')}, {counted(cost.loaders, 'decoding thread')}; "
        f"load {cost.load:.1f}"
    )
    console.print(f"bottleneck: {cost.bottleneck.remark.worded(options())}")
    device = "" if cost.device_memory is None else f", {size(cost.device_memory)} of the device's"
    console.print(f"memory at the peak: {size(cost.host_memory)}{device}")
    views = "" if cost.rows == cost.images else f", {counted(cost.rows, 'row')}"
    short = "" if cost.disk < cost.free else ", too little"
    console.print(
        f"{counted(cost.images, 'image')}{views}: {time_range(*cost.seconds)}, "
        f"{size(cost.disk)} of disk ({size(cost.free)} free{short})"
    )
    messages.print(f"loading the models took {duration(cost.loading)}", style="dim")


def _line(rate: Rate) -> tuple[str, ...]:
    name = _STAGES.get(rate.stage) or extractor_of(rate.stage)
    batch = "" if rate.batch is None else f", micro-batches of {rate.batch}"
    batch += ", computed from these" if rate.is_computed else ""
    each = (rate.seconds, rate.most, rate.least)
    return (f"{name}{batch}", *map(_rate, each), f"{rate.images:,}")


def _rate(seconds: float) -> str:
    rate = 1 / seconds
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"

"""What telling fakes costs: operations an image beside AUC."""

from __future__ import annotations

from collections.abc import Sequence

from clare.bootstrap import Figure
from clare.heads.probing.record import Probe, ProbeRecord
from clare.heads.report.blocks import Plots, Section, Text
from clare.heads.report.formatting import decimal
from clare.heads.report.svg import curve_plot
from clare.heads.report.sweep_axes import Axis

TITLE = "GFLOP an image"


def frontier(record: ProbeRecord) -> list[Probe]:
    """The inputs that validation likes better than all that cost less, the cheapest first."""
    found: list[Probe] = []
    for one in _by_cost(record):
        if not found or one.val_auc > found[-1].val_auc:
            found.append(one)
    return found


def frontier_said(record: ProbeRecord) -> list[str]:
    """The frontier in a sentence; none where costs are not known."""
    told = [
        f"{one.input} at {cost_text(record.costs[one.input])} GFLOP an image (AUC on test rows "
        f"{decimal(one.mean.value)}{_ends(one.mean)})"
        for one in frontier(record)
    ]
    if not told:
        return []
    more = "; nothing dearer is better" if len(told) == 1 else "; each dearer one is better"
    return [
        f"By cost and by validation: {', '.join(told)}{more} on validation, by point estimates "
        "that were not tested for a difference."
    ]


def cost_section(record: ProbeRecord) -> Section | None:
    """AUC against cost; None where there are not two costs."""
    best = _by_cost(record)
    if len(best) < 2:
        return None
    costs = [record.costs[one.input] for one in best]
    axis = Axis(TITLE, {}, {cost: cost_text(cost) for cost in costs})
    reached = {one.input for one in frontier(record)}
    plots = []
    for figure in (*record.tests, "mean"):
        points = {
            "best of its cost": [
                (c, _figure(one, figure)) for c, one in zip(costs, best, strict=True)
            ]
        }
        plots.append(curve_plot(points, axis, f"AUC on {figure}", "Bars are 95 % intervals.", 0.5))
    names = [
        f"{cost_text(record.costs[one.input])}: {one.input}"
        + ("" if one.input in reached else " (not better than a cheaper one)")
        for one in best
    ]
    said = (
        "At each cost stands the input that validation likes best: "
        f"{'; '.join(names)}. Counted: two operations for each product that is added up; a tower "
        "as a whole, whichever layer is read; of LaRE the VAE once and the UNet for all draws of "
        "the steps that are read."
    )
    return Section("cost", "What it costs", [Plots(plots), Text(said, "note")])


def cost_text(gflop: float) -> str:
    """Three digits."""
    return f"{gflop:,.0f}" if gflop >= 100 else f"{gflop:.3g}"


def _by_cost(record: ProbeRecord) -> Sequence[Probe]:
    """Of each cost the probe that validation likes best, the cheapest first."""
    found: dict[float, Probe] = {}
    for name, one in record.best().items():  # the best on validation come first
        if name in record.costs:
            found.setdefault(record.costs[name], one)
    return [found[cost] for cost in sorted(found)]


def _figure(one: Probe, figure: str) -> Figure:
    return one.mean if figure == "mean" else one.tests[figure]


def _ends(figure: Figure) -> str:
    return "" if figure.low is None else f", {figure.low:.3f} to {figure.high:.3f}"

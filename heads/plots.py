"""Pictures of a run and of its evaluation, as PNG files; drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clare.heads.predictions import Predictions

REAL, FAKE, GREY = "#2b6ca3", "#c8502f", "#8a8a8a"
COLOURS = (
    "#2b6ca3", "#c8502f", "#4f8f4f", "#7e5aa2", "#b8860b",
    "#1f9e9e", "#c2548e", "#6b4a3a", "#5f6f7f", "#98a72e",
)  # fmt: skip
STYLES = ("-", "--", ":", "-.")
DPI = 150
MANY = 12
"""Subsets that one picture shows curve by curve."""


def plot_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a run's losses and validation figures over its epochs.

    Args:
        history: one record an epoch, with ``epoch``; every other number whose name holds ``loss``
            is drawn on the left, every one that begins with ``val_`` on the right.
        path: the PNG to write.
    """
    figure, (left, right) = _figure(9, 3.6, 1, 2)
    epochs = [float(record["epoch"]) for record in history]
    named = {name for record in history for name in record if name != "epoch"}
    losses = sorted((n for n in named if "loss" in n), key=lambda n: (n.startswith("val"), n))
    others = sorted(n for n in named if n.startswith("val_") and "loss" not in n)
    for axes, names, title in (
        (left, losses, "loss"),
        (right, others, "validation"),
    ):
        for number, name in enumerate(names):
            values = [_number(record.get(name)) for record in history]
            label = name.replace("_", " ").replace("auc", "AUC")
            axes.plot(epochs, values, marker="o", ms=3, color=COLOURS[number % 10], label=label)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if names:
            axes.legend(frameon=False)
    _save(figure, path)


def plot_roc(sets: Mapping[str, Predictions], aucs: Mapping[str, float | None], path: Path) -> None:
    """Draw a ROC curve for each set that has both labels.

    Args:
        sets: rows by subset.
        aucs: the area of each, for the legend.
        path: the PNG to write.
    """
    from sklearn.metrics import roc_curve

    figure, (axes,) = _figure(6.6, 4.4, 1, 1)
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    drawn = [name for name in sets if aucs.get(name) is not None]
    for number, name in enumerate(drawn):
        alarms, caught, _ = roc_curve(sets[name].label, sets[name].margin)
        style = STYLES[number // len(COLOURS) % len(STYLES)]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(alarms, caught, style, color=colour, label=f"{name}  {aucs[name]:.3f}", lw=1.5)
    axes.set(
        xlabel="false positive rate (reals called fake)",
        ylabel="true positive rate (fakes found)",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
    )
    if drawn:
        legend = {"frameon": False, "fontsize": 8, "title": "AUC", "alignment": "left"}
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), **legend)
    _save(figure, path)


def plot_scores(sets: Mapping[str, Predictions], threshold: float | None, path: Path) -> None:
    """Draw how the margins of reals and fakes lie, one panel a subset.

    Args:
        sets: rows by subset; the first twelve are drawn.
        threshold: drawn as a line.
        path: the PNG to write.
    """
    shown = list(sets.items())[:MANY]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure, panels = _figure(3.3 * max(columns, 2), 2.1 * rows + 0.6, rows, columns)
    everything = np.concatenate([one.margin for _, one in shown])
    low, high = np.quantile(everything, [0.002, 0.998])
    pad = (high - low) * 0.05 or 0.5
    count = min(40, max(8, int(2 * np.sqrt(min(len(one) for _, one in shown)))))
    bins = np.linspace(low - pad, high + pad, count + 1).tolist()
    for (name, one), axes in zip(shown, panels, strict=False):
        for label, colour, kind in ((0, REAL, "real"), (1, FAKE, "fake")):
            mine = np.clip(one.margin[one.label == label], bins[0], bins[-1])
            if len(mine):
                share = np.full(len(mine), 1 / len(mine))
                axes.hist(mine, bins, weights=share, color=colour, alpha=0.55, label=kind)
        if threshold is not None:
            axes.axvline(threshold, color="black", lw=0.9, ls="--", label="threshold")
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=8)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    figure.supxlabel("score" if shown[0][1].probability else "margin (fake to the right)", size=9)
    figure.supylabel("share of rows", size=9)
    panels[0].legend(frameon=False, fontsize=7)
    _save(figure, path)


def plot_matrix(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    path: Path,
) -> None:
    """Draw AUC as a heat map, a row a run and a column a test subset; 0.5 is white.

    Args:
        values: (rows, columns); None where nothing was measured.
        rows: what each run was trained on.
        columns: the test subsets.
        path: the PNG to write.
    """
    table = np.array([[np.nan if v is None else v for v in row] for row in values], float)
    width = 2.6 + 0.62 * len(columns) + 0.07 * max(map(len, rows))
    figure, (axes,) = _figure(width, 1.9 + 0.42 * len(rows), 1, 1)
    image = axes.imshow(table, cmap="RdBu_r", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(labelsize=8, length=0)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(table):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        colour = "white" if abs(value - 0.5) > 0.35 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xlabel("tested on", size=9)
    axes.set_ylabel("trained on", size=9)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("AUC", size=8)
    bar.ax.tick_params(labelsize=8)
    _save(figure, path)


def _figure(width: float, height: float, rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _save(figure: Figure, path: Path) -> None:
    # The canvas by name: no global state, so threads may draw and no window is ever opened.
    FigureCanvasAgg(figure).print_figure(str(path), format="png", dpi=DPI)


def _number(value: Any) -> float:
    return float("nan") if value in (None, "") else float(value)

"""Pictures of a run and of its evaluation, as PNG files; drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clare.heads.metrics.predictions import Predictions

REAL, FAKE, GREY = "#2b6ca3", "#c8502f", "#8a8a8a"
COLOURS = (
    REAL, FAKE, "#4f8f4f", "#7e5aa2", "#9a7209",
    "#17878a", "#c2548e", "#6b4a3a", "#5f6f7f", "#76841c",
)  # fmt: skip
ABOVE, BELOW = 0, 1
"""Places in `COLOURS` of an AUC above chance and of one below, here and on a page."""

TINT = 0.45
"""The share of that colour at an AUC of 1, or of 0; the ground is the rest, all of it at 0.5."""

STYLES = ("-", "--", ":", "-.")
DPI = 150
MANY = 12
"""Subsets that one picture shows curve by curve."""

POINTS = 500
"""Points of a curve at most; more can't be seen."""


def plot_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a run's losses and validation figures over its epochs.

    Args:
        history: one record an epoch, with ``epoch``; every other number whose name holds ``loss``
            is drawn on the left, every one that begins with ``val_`` on the right.
        path: the PNG to write.
    """
    figure, panels = _figure(9, 3.6, 1, 2)
    for axes, (title, names) in zip(panels, curve_names(history).items(), strict=True):
        draw_curves(axes, history, names)
        axes.set(title=title)
        if names:
            axes.legend(frameon=False)
    _save(figure, path)


def curve_names(history: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The columns of a history that are drawn, under ``loss`` and ``validation``."""
    named = {name for record in history for name in record if name != "epoch"}
    losses = sorted((n for n in named if "loss" in n), key=lambda n: (n.startswith("val"), n))
    others = sorted(n for n in named if n.startswith("val_") and "loss" not in n)
    return {"loss": losses, "validation": others}


def draw_curves(axes: Axes, history: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Draw some columns of a history over its epochs, in the order of `COLOURS`."""
    epochs = [float(record["epoch"]) for record in history]
    for number, name in enumerate(names):
        values = [_number(record.get(name)) for record in history]
        label = name.replace("_", " ").replace("auc", "AUC").replace("iou", "IoU")
        axes.plot(epochs, values, marker="o", ms=3, color=COLOURS[number % 10], label=label)
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def plot_roc(
    sets: Mapping[str, Predictions],
    aucs: Mapping[str, float | None],
    path: Path,
    title: str = "",
) -> None:
    """Draw a ROC curve for each set that has both labels.

    Args:
        sets: rows by subset.
        aucs: the area of each, for the legend.
        path: the PNG to write.
        title: above the picture.
    """
    figure, (axes,) = _figure(6.6, 4.4, 1, 1)
    if title:
        figure.suptitle(title, size=10)
    drawn = [name for name in sets if aucs.get(name) is not None]
    draw_roc(axes, {f"{name}  {aucs[name]:.3f}": sets[name] for name in drawn})
    if drawn:
        legend = {"frameon": False, "fontsize": 8, "title": "AUC", "alignment": "left"}
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), **legend)
    _save(figure, path)


def draw_roc(axes: Axes, sets: Mapping[str, Predictions]) -> None:
    """Draw the ROC curves of sets that have both labels, in the order of `stroke`."""
    from sklearn.metrics import roc_curve

    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    for number, (name, one) in enumerate(sets.items()):
        alarms, caught, _ = roc_curve(one.label, one.margin)
        shown = np.unique(np.linspace(0, len(alarms) - 1, POINTS).round().astype(int))
        colour, style = stroke(number)
        axes.plot(alarms[shown], caught[shown], style, color=colour, label=name, lw=1.5)
    axes.set(
        xlabel="false positive rate (reals called fake)",
        ylabel="true positive rate (fakes found)",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
    )


def stroke(number: int) -> tuple[str, str]:
    """Colour and line style of the n-th curve."""
    return COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS) % len(STYLES)]


def plot_scores(
    sets: Mapping[str, Predictions],
    threshold: float | None,
    path: Path,
    title: str = "",
) -> None:
    """Draw how the margins of reals and fakes lie, one panel a subset.

    Args:
        sets: rows by subset; the first twelve are drawn.
        threshold: drawn as a line.
        path: the PNG to write.
        title: above the picture.
    """
    shown = list(sets.items())[:MANY]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure, panels = _figure(3.3 * max(columns, 2), 2.1 * rows + 0.6, rows, columns)
    if title:
        figure.suptitle(title, size=10)
    bins = score_bins([one for _, one in shown])
    for (name, one), axes in zip(shown, panels, strict=False):
        draw_scores(axes, one, bins, threshold)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=8)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    figure.supxlabel(f"{shown[0][1].column} (fake to the right)", size=9)
    figure.supylabel("share of rows", size=9)
    panels[0].legend(frameon=False, fontsize=7)
    _save(figure, path)


def score_bins(sets: Sequence[Predictions]) -> list[float]:
    """Edges of the bins in which margins of several sets are counted."""
    everything = np.concatenate([one.margin for one in sets])
    low, high = np.quantile(everything, [0.002, 0.998])
    pad = (high - low) * 0.05 or 0.5
    count = min(40, max(8, int(2 * np.sqrt(min(len(one) for one in sets)))))
    edges: list[float] = np.linspace(low - pad, high + pad, count + 1).tolist()
    return edges


def draw_scores(
    axes: Axes, rows: Predictions, bins: Sequence[float], threshold: float | None
) -> None:
    """Draw how the margins of a set's reals and fakes lie; what is outside counts at the edge."""
    for label, colour, kind in ((0, REAL, "real"), (1, FAKE, "fake")):
        mine = np.clip(rows.margin[rows.label == label], bins[0], bins[-1])
        if len(mine):
            share = np.full(len(mine), 1 / len(mine))
            axes.hist(
                mine,
                bins,
                weights=share,
                color=colour,
                alpha=0.55,
                label=kind,
                histtype="stepfilled",
            )
    if threshold is not None:
        axes.axvline(threshold, color="black", lw=0.9, ls="--", label="threshold")


def plot_matrix(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    path: Path,
    name: str = "AUC",
) -> None:
    """Draw a figure as a heat map in the colours of a page, a row a run and a column a test subset.

    Args:
        values: (rows, columns); None where nothing was measured.
        rows: what each run was trained on.
        columns: the test subsets.
        path: the PNG to write.
        name: of the figure.
    """
    table = np.array([[np.nan if v is None else v for v in row] for row in values], float)
    width = 2.6 + 0.62 * len(columns) + 0.07 * max(map(len, rows))
    figure, (axes,) = _figure(width, 1.9 + 0.42 * len(rows), 1, 1)
    # An IoU has no chance in its middle: white is 0.
    least = -1 if name == "IoU" else 0
    image = axes.imshow(table, cmap=auc_colours(), vmin=least, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(labelsize=8, length=0)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(table):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8)
    axes.set_xlabel("tested on", size=9)
    axes.set_ylabel("trained on", size=9)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label(name, size=8)
    bar.ax.set_ylim(0, 1)
    bar.ax.tick_params(labelsize=8)
    _save(figure, path)


def auc_colours() -> Colormap:
    """The colours of an AUC from 0 to 1 on white ground."""
    low, high = (1 - TINT * (1 - np.array(to_rgb(COLOURS[place]))) for place in (BELOW, ABOVE))
    return LinearSegmentedColormap.from_list("auc", np.stack([low, np.ones(3), high]))


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

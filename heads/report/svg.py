"""Drawings as SVG that stands in the page itself: its text is text, its colours are the page's."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree
from zlib import crc32

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from clare.bootstrap import Figure as Interval
from clare.heads.metrics.abstention import RiskCoverage
from clare.heads.metrics.plots import (
    COLOURS,
    GREY,
    POINTS,
    STYLES,
    curve_names,
    draw_curves,
    draw_roc,
    draw_scores,
    score_bins,
    stroke,
)
from clare.heads.metrics.predictions import Predictions
from clare.heads.report.blocks import Plot
from clare.heads.report.formatting import NAMES, decimal
from clare.heads.report.sweep_axes import LAYER, Axis

_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "clare",
    "font.family": "sans-serif",
    "text.parse_math": False,  # a subset's name may hold dollars
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
_COLOURS = {colour: f"var(--s{n})" for n, colour in enumerate(COLOURS)} | {
    "#000000": "currentColor",
    GREY: "currentColor",
}
DECADE = 8
"""Ratio of an option's ends from which on its axis is logarithmic."""

ASIDE = 0.008
"""Share of the axis by which bars of two curves stand apart."""

LABEL = 24
"""Characters of an axis' label on one line."""

_SPELT = {"iou": "IoU", **NAMES}
_HATCH = ("", " dash", " dot", " dash")


def roc_plot(sets: Mapping[str, Predictions], aucs: Mapping[str, float | None]) -> Plot | None:
    """The ROC curves of sets that have both labels; None where no set has."""
    drawn = {name: one for name, one in sets.items() if aucs.get(name) is not None}
    if not drawn:
        return None

    def draw(axes: Any) -> None:
        draw_roc(axes, drawn)

    return Plot(
        _draw(draw, (4.2, 4.0), f"ROC curves of {', '.join(drawn)}"),
        "ROC: the share of fakes that is found against the share of reals that is called fake. "
        "The dotted diagonal is chance.",
        [(_swatch(n), f"{name}, AUC {aucs[name]:.3f}") for n, name in enumerate(drawn)],
    )


def score_plots(sets: Mapping[str, Predictions], threshold: float | None) -> list[Plot]:
    """How the margins of reals and fakes lie, one drawing a set."""
    bins = score_bins(list(sets.values())) if sets else []
    keys = [("k0", "real"), ("k1", "fake")]
    if threshold is not None:
        keys.append(("dash ink", "the run's threshold"))
    plots = []
    for name, rows in sets.items():

        def draw(axes: Any, rows: Predictions = rows) -> None:
            draw_scores(axes, rows, bins, threshold)
            axes.set(xlabel=rows.column, ylabel="share of rows")

        svg = _draw(draw, (4.2, 2.6), f"Histogram of the margins of {name}, reals and fakes")
        plots.append(Plot(svg, f"Margins of {name}; fake lies to the right.", keys))
    return plots


def abstention_plot(
    sets: Mapping[str, Predictions], threshold: float, aurcs: Mapping[str, float | None], of: str
) -> Plot:
    """The accuracy of the surest rows against their share, a curve a set.

    Args:
        sets: rows by name.
        threshold: margin from which on a row is called fake.
        aurcs: the area under each curve's risks, for the legend.
        of: what the rows are, ``images`` say.
    """

    def draw(axes: Any) -> None:
        for number, rows in enumerate(sets.values()):
            share, accuracy = RiskCoverage(rows, threshold).curve()
            shown = np.unique(np.linspace(0, len(share) - 1, POINTS).round().astype(int))
            colour, style = stroke(number)
            axes.plot(share[shown], accuracy[shown], style, color=colour, lw=1.5)
        axes.set(xlabel=f"share of {of} that is judged", ylabel="accuracy", xlim=(-0.01, 1.01))

    return Plot(
        _draw(draw, (4.2, 3.0), f"Accuracy of the surest {of} of {', '.join(sets)}"),
        f"The accuracy of the {of} whose margins are farthest from the threshold, against their "
        "share.",
        [(_swatch(n), f"{name}, AURC {decimal(aurcs[name])}") for n, name in enumerate(sets)],
    )


def history_plots(history: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """A run's losses and validation figures over its epochs."""
    plots = []
    for title, names in curve_names(history).items():

        def draw(axes: Any, names: Sequence[str] = names) -> None:
            draw_curves(axes, history, names)

        plots.append(
            Plot(
                _draw(draw, (4.2, 2.6), f"Curves of {title} over the epochs"),
                f"{title.capitalize()} over the epochs.",
                [(_swatch(n), _spelt(name)) for n, name in enumerate(names)],
            )
        )
    return plots


def spread_plot(groups: Mapping[str, Sequence[float]], figure: str, chance: float | None) -> Plot:
    """Every run of a sweep as a dot, a line a configuration, its mean as a stroke.

    Args:
        groups: the runs' figures by configuration.
        figure: what the figure is called.
        chance: the figure of guessing, where it has one.
    """
    printable = ["".join(c if c.isprintable() else "?" for c in name) for name in groups]
    names = [textwrap.fill(name, LABEL) for name in printable]
    lines = sum(name.count("\n") + 1 for name in names)

    def draw(axes: Any) -> None:
        for place, values in enumerate(groups.values()):
            axes.plot(values, [place] * len(values), "o", ms=5, alpha=0.7, color=COLOURS[0])
            mean = sum(values) / len(values)
            axes.plot([mean, mean], [place - 0.3, place + 0.3], color=COLOURS[1], lw=2.5)
        if chance is not None:
            axes.axvline(chance, color=GREY, lw=0.8, ls=":")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel=figure, ylim=(len(names) - 0.5, -0.5))

    return Plot(
        _draw(
            draw,
            (4.2, 0.8 + 0.12 * len(names) + 0.18 * lines),
            f"{figure} of every run, by configuration",
        ),
        f"{figure} of every run.{_chance_said(chance)}",
        [("point", "a run"), ("k1", "mean of a configuration")],
    )


def curve_plot(
    curves: Mapping[str, Sequence[tuple[float, Interval]]],
    axis: Axis,
    figure: str,
    said: str,
    chance: float | None,
) -> Plot:
    """A figure against an option, a curve a configuration, intervals as bars.

    Args:
        curves: by configuration, place of the option and figure there; the first ten are drawn.
        axis: of the option.
        figure: what the figure is called.
        said: what points and bars are.
        chance: the figure of guessing, where it has one.
    """
    shown = dict(list(curves.items())[: len(COLOURS)])
    values = sorted({value for points in shown.values() for value, _ in points})
    ratio = axis.title != LAYER and values[0] > 0 and values[-1] / values[0] >= DECADE
    option = axis.title

    def draw(axes: Any) -> None:
        apart = (values[-1] / values[0]) ** ASIDE if ratio else (values[-1] - values[0]) * ASIDE
        for number, points in enumerate(shown.values()):
            side = number - (len(shown) - 1) / 2
            where = [v * apart**side if ratio else v + apart * side for v, _ in points]
            ends = np.array([(f.value, f.low, f.high) for _, f in points], float).T
            colour, style = stroke(number)
            axes.plot(where, ends[0], f"o{style}", ms=4, lw=1.5, color=colour)
            axes.vlines(where, ends[1], ends[2], color=colour, lw=1.5)
        if chance is not None:
            axes.axhline(chance, color=GREY, lw=0.8, ls=":")
        called = textwrap.fill(figure, LABEL)
        axes.set(xscale="log" if ratio else "linear", xlabel=option, ylabel=called)
        axes.set_xticks(values, [axis.ticks.get(value, f"{value:g}") for value in values])
        axes.minorticks_off()

    more = f" {axis.note}" if axis.note else ""
    more += f" The best {len(shown)} of {len(curves)}." if len(shown) < len(curves) else ""
    return Plot(
        _draw(draw, (4.2, 3.0), f"{figure} against {option}"),
        f"{figure} against {option}. {said}{_chance_said(chance)}{more}",
        [(_swatch(number), name) for number, name in enumerate(shown)],
    )


def ladder_plot(rungs: Mapping[str, tuple[Interval, Interval]], figure: str, subset: str) -> Plot:
    """What each damage takes from a figure: a rung from images as they are to damaged ones.

    Args:
        rungs: by damage, the figure of the images as they are and of the damaged ones.
        figure: what the figure is called.
        subset: whose images these are.
    """
    shown = {name: pair for name, pair in rungs.items() if pair[1].value is not None}

    def draw(axes: Any) -> None:
        for place, (clean, damaged) in enumerate(shown.values()):
            axes.plot([clean.value, damaged.value], [place] * 2, color=GREY, lw=0.8)
            if damaged.low is not None:
                axes.hlines(place, damaged.low, damaged.high, color=COLOURS[1], lw=2.5, alpha=0.6)
            axes.plot(clean.value, place, "o", ms=5, color=COLOURS[0])
            axes.plot(damaged.value, place, "o", ms=5, color=COLOURS[1])
        axes.axvline(0.5, color=GREY, lw=0.8, ls=":")
        axes.set_yticks(range(len(shown)), list(shown))
        axes.set(xlabel=figure, ylim=(len(shown) - 0.5, -0.5))

    return Plot(
        _draw(draw, (4.2, 0.8 + 0.24 * len(shown)), f"{figure} of {subset} by delivery"),
        f"{figure} of {subset}, of the same images as they are and delivered; bars are 95 % "
        f"intervals.{_chance_said(0.5)}",
        [("k0", "as it is"), ("k1", "delivered")],
    )


def epoch_plot(
    curves: Mapping[str, Sequence[tuple[float, float]]], figure: str, chance: float | None
) -> Plot:
    """A figure over the epochs, a curve a configuration.

    Args:
        curves: by configuration, epochs and the figure after each; the first ten are drawn.
        figure: what the figure is called.
        chance: the figure of guessing, where it has one.
    """
    shown = dict(list(curves.items())[: len(COLOURS)])

    def draw(axes: Any) -> None:
        for number, points in enumerate(shown.values()):
            colour, style = stroke(number)
            marks = "." if len(points) < 2 else ""
            axes.plot(*zip(*points, strict=True), f"{marks}{style}", lw=1.5, color=colour)
        if chance is not None:
            axes.axhline(chance, color=GREY, lw=0.8, ls=":")
        axes.set(xlabel="epoch", ylabel=figure)
        axes.xaxis.get_major_locator().set_params(integer=True)

    more = f" The best {len(shown)} of {len(curves)}." if len(shown) < len(curves) else ""
    return Plot(
        _draw(draw, (4.2, 3.0), f"{figure} over the epochs"),
        f"{figure} over the epochs, mean over the seeds.{_chance_said(chance)}{more}",
        [(_swatch(number), name) for number, name in enumerate(shown)],
    )


def _chance_said(chance: float | None) -> str:
    return "" if chance is None else " The dotted line is chance."


def _draw(draw: Any, inches: tuple[float, float], label: str) -> str:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure.subplots())
        packed = io.BytesIO()
        FigureCanvasSVG(figure).print_svg(packed, metadata={"Date": None})
    return _adopt(packed.getvalue(), label)


def _adopt(svg: bytes, label: str) -> str:
    """An SVG made a part of the page: ids of its own, the page's colours, a name."""
    for prefix, space in (("", _SVG), ("xlink", _LINK)):
        ElementTree.register_namespace(prefix, space)
    root = ElementTree.fromstring(svg)
    mark = f"p{crc32(svg + label.encode(errors='replace')):08x}-"
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
                parent.remove(child)
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "id":
                value = mark + value
            elif name in ("href", f"{{{_LINK}}}href"):
                value = value.replace("#", f"#{mark}", 1)
            elif name == "style":
                value = re.sub(r"#[0-9a-f]{6}", lambda m: _COLOURS.get(m[0], m[0]), value)
            element.set(name, value.replace("url(#", f"url(#{mark}"))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("class", "plot")
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")


def _spelt(name: str) -> str:
    """A history's column in words: val_balanced_accuracy is validation balanced accuracy."""
    split, _, figure = name.partition("_")
    return f"{'validation' if split == 'val' else split} {_SPELT.get(figure, figure)}"


def _swatch(number: int) -> str:
    return f"k{number % len(COLOURS)}{_HATCH[number // len(COLOURS) % len(STYLES)]}"

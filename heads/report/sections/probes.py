"""The page of probes: which inputs tell fakes from reals, what adds to what, what is alike."""

from __future__ import annotations

from collections.abc import Sequence

from clare.bootstrap import Figure
from clare.heads.probing.record import (
    Answer,
    Gain,
    Probe,
    ProbeRecord,
    UntrainedScore,
    how_said,
    ordered,
)
from clare.heads.probing.said import answers_said
from clare.heads.report.blocks import Block, Cell, Items, Plots, Section, Table, Text, row
from clare.heads.report.formatting import auc_heat, decimal, figure_cell, lead_cell
from clare.heads.report.sections.costs import cost_section, frontier_said
from clare.heads.report.sections.matrix import COLOURS_SAID, matrix
from clare.heads.report.sections.newer import newer_section
from clare.heads.report.svg import curve_plot
from clare.heads.report.sweep_axes import LAYER, Axis
from clare.wording import counted, duration

CURVES = 3
"""Layers that make a curve."""

MOST_ALIKE = 24
"""Inputs that are compared on the page."""


def sections(record: ProbeRecord) -> list[Section]:
    """All of the page."""
    found = [_board(record)]
    if layers := _layers(record):
        found.append(Section("layers", "Over the layers", [layers]))
    if record.answers:
        found.append(_answers(record))
    if costs := cost_section(record):
        found.append(costs)
    if record.newer:
        best = {name: record.newer[name] for name in record.best() if name in record.newer}
        found.append(newer_section(best, [*record.tests]))
    if any(one.fraction < 1 for one in record.probes):
        found.append(_fractions(record))
    found += [*([_alike(record)] if record.alike else []), _every(record)]
    return found


def question_of(record: ProbeRecord) -> str:
    """What is asked."""
    return (
        f"Which cached features tell {', '.join(record.tests)} from real images, by a linear probe "
        f"trained on {', '.join(record.train)}?"
    )


def paragraphs_of(record: ProbeRecord) -> list[str]:
    """The answer."""
    best = next(iter(record.best().values()))
    said = (
        f"Validation likes {best.input} best ({best.norm}, {best.kind}; AUC {best.val_auc:.3f}); "
        f"on test rows its AUC is {decimal(best.mean.value)} in the mean over "
        f"{counted(len(record.tests), 'subset')}{_interval(best.mean)}."
    )
    return [
        said,
        *_untrained_said(record),
        *answers_said(record.answers),
        *frontier_said(record),
    ]


def _untrained_said(record: ProbeRecord) -> list[str]:
    """What of all that needs no optimisation validation likes best."""
    if not record.untrained:
        return []
    one = max(record.untrained, key=lambda one: one.val_auc)
    return [
        f"Of what needs no optimisation, validation likes {one.name} best ({one.how}; AUC "
        f"{one.val_auc:.3f}); on test rows its AUC is {decimal(one.mean.value)}"
        f"{_interval(one.mean)}."
    ]


def _interval(figure: Figure) -> str:
    if figure.low is None:
        return ""
    return f" (95 % interval {figure.low:.3f} to {figure.high:.3f})"


def facts_of(record: ProbeRecord) -> list[tuple[str, str, str]]:
    """Figures at a glance."""
    reading, fitting = map(duration, record.seconds)
    return [
        ("inputs", f"{len(record.shown):,}", ""),
        ("probes fitted", f"{record.fitted:,}", "each strength counted"),
        ("training rows", f"{record.counts['train']:,}", ", ".join(record.train)),
        ("validation rows", f"{record.counts['val']:,}", "chose norm, kind and strength"),
        ("test rows", f"{record.counts['test']:,}", ", ".join(record.tests)),
        ("time", fitting, f"after {reading} of reading"),
    ]


def _board(record: ProbeRecord) -> Section:
    best = record.best()
    names = ordered([*best], record.layers) if record.layers else [*best]
    columns = [Cell("validation", "chose the probe"), *map(Cell, record.tests), Cell("mean")]
    rows: list[Probe | UntrainedScore] = [*(best[name] for name in names), *record.untrained]
    cells = [
        [
            Cell(f"{one.val_auc:.3f}", "", one.val_auc, quiet=True),
            *(figure_cell(one.tests[name], auc_heat) for name in record.tests),
            figure_cell(one.mean, auc_heat),
        ]
        for one in rows
    ]
    heads = [
        *(Cell(name, how_said(best[name])) for name in names),
        *(Cell(one.name, one.how) for one in record.untrained),
    ]
    blocks: list[Block] = [
        matrix("AUC of the probe that validation chose for each input", heads, columns, cells),
        Text(
            "Below each input: what was done to its vectors, the kind of probe, its strength. The "
            "last rows are scores that need no optimisation; which of them use training labels is "
            "said there. "
            "Test rows chose nothing. Intervals are of 95 %, whole videos or people drawn. "
            f"{COLOURS_SAID}",
            "note",
        ),
    ]
    if record.meaning:
        blocks.append(Items([f"{name}: {meaning}" for name, meaning in record.meaning.items()]))
    return Section("inputs", "Inputs", blocks)


def _layers(record: ProbeRecord) -> Plots | None:
    """AUC over the layers of a tower, a curve a pooling."""
    best = record.best()
    curves: dict[str, dict[int, Probe]] = {}
    for name, layer in record.layers.items():
        if name not in best:
            continue
        curves.setdefault(name.replace(f"_{layer}", "_*", 1), {})[layer] = best[name]
    curves = {name: found for name, found in curves.items() if len(found) >= CURVES}
    if not curves:
        return None
    ticks = {float(layer): str(layer) for found in curves.values() for layer in found}
    axis = Axis(LAYER, {}, ticks)
    plots = []
    for figure in ("validation", *record.tests):
        points = {
            name: [(float(k), _ends(found[k], figure)) for k in sorted(found)]
            for name, found in curves.items()
        }
        said = "A bar is the 95 % interval." if figure != "validation" else "It chose each probe."
        plots.append(curve_plot(points, axis, f"AUC on {figure}", said, 0.5))
    return Plots(plots)


def _ends(probe: Probe, figure: str) -> Figure:
    if figure != "validation":
        return probe.tests[figure]
    return Figure(probe.val_auc, probe.val_auc, probe.val_auc, 0)


def _answers(record: ProbeRecord) -> Section:
    lines = [_answer_line(one, record) for one in record.answers]
    columns = ["added", "to", *record.tests, "mean", "mean, its rows shuffled"]
    several = len(record.answers) * (len(record.tests) + 1)
    shuffles = f"the mean of {record.shuffles or 'several'} shuffles"
    return Section(
        "adds",
        "Does it add?",
        [
            Table("Gain in AUC of both inputs together over one alone", columns, lines, names=2),
            Text(
                "Each side is the probe that validation chose. Intervals are paired: both sides on "
                f"the same resamples. The last column is the control, {shuffles}: the added "
                "vectors are other images', fitted as both together are. p is that of no gain over "
                "the one alone, or over the control, whichever is larger, corrected for all "
                f"{several} differences (Holm). "
                "Intervals do not count the luck of training and validation rows.",
                "note",
            ),
        ],
    )


def _answer_line(one: Answer, record: ProbeRecord) -> list[Cell]:
    gains = [*(one.gains[name] for name in record.tests), one.mean]
    return [
        Cell(one.added, one.together),
        Cell(one.base, one.alone),
        *map(_gain, gains),
        lead_cell(one.shuffled),
    ]


def _gain(gain: Gain) -> Cell:
    cell = lead_cell(gain.auc)
    said = "" if gain.holm is None else "p < .001" if gain.holm < 0.001 else f"p {gain.holm:.3f}"
    return Cell(cell.text, "\n".join(filter(None, [cell.under, said])), cell.value)


def _fractions(record: ProbeRecord) -> Section:
    shares = sorted({one.fraction for one in record.probes})
    best = record.best()
    rows = []
    for name, chosen in best.items():
        cells = []
        for share in shares:
            found = [
                one.mean.value
                for one in record.probes
                if (one.input, one.norm, one.kind, one.fraction)
                == (name, chosen.norm, chosen.kind, share)
                and one.mean.value is not None
            ]
            mean = sum(found) / len(found) if found else None
            spread = f"{min(found):.3f} to {max(found):.3f}" if len(found) > 1 else ""
            cells.append(Cell(decimal(mean), spread, mean))
        rows.append([Cell(name, f"{chosen.norm}, {chosen.kind}"), *cells])
    return Section(
        "fractions",
        "Fewer training rows",
        [
            Table(
                "Mean AUC on test rows, by share of the training rows",
                ["input", *map(str, shares)],
                rows,
            ),
            Text(
                "The mean over seeds, and from the worst to the best of them. Each share has the "
                "strength, and a sum the ratio, that validation chose for it.",
                "note",
            ),
        ],
    )


def _alike(record: ProbeRecord) -> Section:
    names = [name for name in record.best() if name in record.shown][:MOST_ALIKE]
    places = [record.shown.index(name) for name in names]
    cells = [[_share(record.alike[a][b]) for b in places] for a in places]
    blocks: list[Block] = [
        Table(
            f"Linear CKA of each two inputs, on {record.alike_rows:,} training rows",
            ["", *(str(number) for number in range(1, len(names) + 1))],
            [
                [Cell(f"{n}  {name}"), *line]
                for n, (name, line) in enumerate(zip(names, cells, strict=True), 1)
            ],
        ),
        Text(
            "1 where a rotation and one scale turn one into the other, about 0 where they have "
            "nothing in common. The best inputs on validation come first.",
            "note",
        ),
    ]
    return Section("alike", "How alike the inputs are", blocks, folded=True)


def _share(value: float | None) -> Cell:
    if value is None:
        return Cell("–")
    return Cell(f"{value:.2f}", "", value, max(0.0, min(1.0, value)))


def _every(record: ProbeRecord) -> Section:
    rows = [
        [
            *row(one.input, one.norm, one.kind, one.fraction, one.seed, one.rows),
            Cell("–" if one.strength is None else f"{one.strength:g}", value=one.strength),
            Cell(f"{one.val_auc:.3f}", value=one.val_auc),
            *(figure_cell(one.tests[name]) for name in record.tests),
            figure_cell(one.mean),
        ]
        for one in sorted(record.probes, key=lambda one: -one.val_auc)
    ]
    columns = ["input", "norm", "kind", "share", "seed", "rows", "strength", "validation"]
    head: Sequence[str] = [*columns, *record.tests, "mean"]
    table = Table("probes.csv, the best on validation first", head, rows, names=3)
    return Section("probes", "Every probe", [table], folded=True)

"""Tables, as Markdown on the terminal, and pictures of what study.sh measured."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from compare_heads import Head
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clare.heads.metrics.plots import COLOURS

Row = Mapping[str, Any]
Lines = dict[tuple[str, ...], dict[str, str]]
SCORES = {"mean": "mean of the map", "regression": "regression on the map"}
DPI = 110


def main() -> None:
    """Draw steps.png, draws.png and heads.png, and print every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path, help="folder of study.json, heads.json, …")
    parser.add_argument("out", type=Path, help="folder of the pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    study, heads, choice, others = (
        json.loads((options.figures / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("study", "heads", "choice", "others")
    )
    usual = {key: value for key, value in study["usual"].items() if key != "draws"}
    rows = study["rows"]
    four = study["usual"]["draws"]
    one_step = [r for r in rows if r["draws"] == four and _plain(r, usual) and len(r["steps"]) == 1]
    draw_lines(one_step, lambda r: r["steps"][0], "step t", options.out / "steps.png")
    draws = [r for r in rows if _plain(r, usual) and r["steps"] == usual["steps"]]
    draw_lines(draws, lambda r: r["draws"], "noise draws", options.out / "draws.png")
    draw_heads(heads["heads"], options.out / "heads.png")
    for score, title in SCORES.items():
        print(f"\n{title}\n\n" + settings_table([r for r in rows if r["score"] == score]))
    named = {"heads": heads, "steps, draws and noise": choice, "the same, other people": others}
    for title, found in named.items():
        print(f"\n{title}\n\n" + heads_table(found["heads"]))
        print(f"\n{title}, differences\n\n" + differences_table(found["differences"]))


def _plain(row: Row, usual: Row) -> bool:
    return row["noise"] == usual["noise"] and row["prompt"] == usual["prompt"]


def draw_lines(rows: Sequence[Row], place: Callable[[Row], int], name: str, file: Path) -> None:
    """AUC over a setting, a panel a score and a line a kind, with intervals."""
    figure = Figure((9, 4), layout="constrained")
    panels = figure.subplots(1, len(SCORES), sharey=True)
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    for axes, (score, title) in zip(panels, SCORES.items(), strict=True):
        for number, kind in enumerate(kinds):
            line = [r for r in rows if r["kind"] == kind and r["score"] == score]
            line.sort(key=place)
            x = np.array([place(row) for row in line]) * 1.03 ** (number - len(kinds) / 2)
            _points(axes, x, [row["auc"] for row in line], COLOURS[number], kind)
        ticks = sorted({place(row) for row in rows})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.axhline(0.5, color="#8a8a8a", lw=0.8)
        axes.set(title=title, xlabel=name, ylim=(0.3, 1.02))
    panels[0].set_ylabel("AUC, fakes higher (95 % interval)")
    figure.legend(*panels[0].get_legend_handles_labels(), ncols=6, loc="outside lower center")
    _save(figure, file)


def draw_heads(rows: Sequence[Row], file: Path) -> None:
    """AUC of every head on every test set, a panel a set, trainings side by side."""
    rows = [row for row in rows if not row["shuffled"]]
    sets = sets_of(rows)
    trainings = sorted({_training(row) for row in rows})
    fusions = sorted({row["fusion"] for row in rows}, key=_order)
    figure = Figure((2.0 * len(sets) + 1.4, 3.6), layout="constrained")
    (panels,) = figure.subplots(1, len(sets), sharey=True, squeeze=False)
    for axes, name in zip(panels, sets, strict=True):
        for number, training in enumerate(trainings):
            line = [r for r in rows if r["set"] == name and _training(r) == training]
            places = np.array([fusions.index(row["fusion"]) for row in line]) + 0.2 * (
                number - (len(trainings) - 1) / 2
            )
            figures = [row | {"value": row["auc"]} for row in line]
            _points(axes, places, figures, COLOURS[number], training, line="")
        axes.axhline(0.5, color="#8a8a8a", lw=0.8)
        axes.set_xticks(range(len(fusions)), fusions, rotation=70, fontsize=8)
        axes.set(title=name, ylim=(0.3, 1.02))
    panels[0].set_ylabel("AUC, mean of seeds")
    figure.legend(*panels[0].get_legend_handles_labels(), ncols=3, loc="outside lower center")
    _save(figure, file)


def _points(
    axes: Axes, x: np.ndarray, figures: Sequence[Row], colour: str, label: str, line: str = "-"
) -> None:
    value = np.array([figure["value"] for figure in figures])
    ends = np.array([[figure["low"], figure["high"]] for figure in figures], float)
    error = np.abs(ends.T - value)
    axes.errorbar(x, value, error, color=colour, label=label, ls=line, marker="o", ms=3.5, lw=1.2)


def _save(figure: Figure, file: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(file, dpi=DPI)


def settings_table(rows: Sequence[Row]) -> str:
    """A line a setting: AUC of every kind, and what it clearly gains on the usual setting."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    lines: Lines = {}
    for row in rows:
        steps = ", ".join(map(str, row["steps"]))
        draws = f"{row['draws']} draw{'s' if row['draws'] > 1 else ''}"
        noise = {"image": "own"}.get(row["noise"], row["noise"])
        name = f"t = {steps}; {draws}, {noise} noise; “{row['prompt']}”"
        gain = row["against_usual"]
        clear = gain["low"] > 0 or gain["high"] < 0
        change = f" ({gain['value']:+.2f})" if clear else ""
        lines.setdefault((name,), {})[row["kind"]] = f"{_two(row['auc']['value'])}{change}"
    return _markdown(["setting"], kinds, lines)


def heads_table(rows: Sequence[Row]) -> str:
    """A line a head and training: the mean over seeds with its interval, of every set."""
    sets = sets_of(rows)
    lines: Lines = {}
    for row in sorted(rows, key=lambda r: (r["shuffled"], _training(r), _order(r["fusion"]))):
        cell = f"{_two(row['auc'])} ({_two(row['low'])}–{_two(row['high'])})"
        name = f"{_training(row)}{', shuffled labels' if row['shuffled'] else ''}"
        if row["over_seeds"] is not None:
            cell += f" ± {_two(row['over_seeds'])}"
        lines.setdefault((name, f"`{row['fusion']}`", row["lare"]), {})[row["set"]] = cell
    return _markdown(["training", "fusion", "LaRE"], sets, lines)


def differences_table(rows: Sequence[Row]) -> str:
    """A line a fully trained head and comparison; bold where the interval holds no zero."""
    sets = sets_of(rows)
    lines: Lines = {}
    full = [row for row in rows if row["scope"] == "full"]
    for row in sorted(full, key=lambda r: (r["what"], _training(r), _order(r["fusion"]))):
        cell = f"{row['difference']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"
        clear = row["low"] > 0 or row["high"] < 0
        name = (row["what"], _training(row), f"`{row['fusion']}`", row["lare"])
        lines.setdefault(name, {})[row["set"]] = f"**{cell}**" if clear else cell
    return _markdown(["difference", "training", "fusion", "LaRE"], sets, lines)


def sets_of(rows: Sequence[Row]) -> list[str]:
    """Names of the test sets, that of the training first."""
    return sorted({row["set"] for row in rows}, key=lambda name: (name != "sampled", name))


def _training(row: Row) -> str:
    head = Head(*(row[key] for key in Head.__dataclass_fields__))
    return f"{head.classifier}, {head.scope}"


def _order(fusion: str) -> int:
    order = ("cls", "lare", "concat", "esa", "cross_attn mean", "cross_attn all")
    return order.index(fusion) if fusion in order else len(order)


def _two(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")


def _markdown(names: Sequence[str], columns: Sequence[str], lines: Lines) -> str:
    head = [*names, *columns]
    cells = [[*name, *(found.get(one, "–") for one in columns)] for name, found in lines.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *cells))


if __name__ == "__main__":
    main()

"""Probes and heads of several drawn worlds: means over the worlds, with intervals of their spread.

    python miniature/compare_worlds.py probes/1 probes/2 … --heads heads/1 heads/2 …

Each folder is of `clare probe`, or of `clare sweep`, on other people, drawn with another seed. An
interval is of 95 % by Student's law over the worlds, so that it counts the luck of training and
validation rows, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import t

from clare.foreign import read_table
from clare.heads.probing.record import ProbeRecord, ordered, read_record
from clare.heads.sweeps.figures import FIGURES

MEAN = "mean"
CONTROL = "mean, rows shuffled"

Cells = dict[str, list[float]]
"""A value of each world, by column."""


def over_worlds(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean of values, one a world, and the ends of its 95 % interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, mean, mean
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return mean, mean - float(half), mean + float(half)


def aucs(records: Sequence[ProbeRecord]) -> dict[str, Cells]:
    """The AUC of each input's best probe by test set, of the inputs that all worlds have."""
    found: dict[str, Cells] = {}
    shared = set.intersection(*({*record.best()} for record in records))
    for name in ordered(sorted(shared), records[0].layers):
        several = [record.best()[name] for record in records]
        figures = [{**one.tests, MEAN: one.mean} for one in several]
        found[name] = _joined({k: v.value for k, v in one.items()} for one in figures)
    return found


def gains(records: Sequence[ProbeRecord]) -> dict[str, Cells]:
    """What adding an input to another gains by test set, of the pairs that all worlds asked for."""
    answered = [{f"{one.added} to {one.base}": one for one in r.answers} for r in records]
    found: dict[str, Cells] = {}
    for name in answered[0]:
        if all(name in one for one in answered):
            several = [one[name] for one in answered]
            found[name] = _joined(
                {
                    **{test: gain.auc.value for test, gain in one.gains.items()},
                    MEAN: one.mean.auc.value,
                    CONTROL: one.shuffled.value,
                }
                for one in several
            )
    return found


def heads(folders: Sequence[Path]) -> dict[str, Cells]:
    """The AUC of each fusion by test set, of sweeps over fusions."""
    found: dict[str, Cells] = {}
    for folder in folders:
        tested: dict[str, dict[str, float | None]] = {}
        for line in read_table(folder / FIGURES):
            if line["rows"] in ("test", "cross-dataset"):
                tested.setdefault(line["fusion"], {})[line["subset"]] = float(line["auc"])
        for name, cells in tested.items():
            world = {**cells, MEAN: float(np.mean([*cells.values()]))}
            for column, value in world.items():
                found.setdefault(name, {}).setdefault(column, []).append(value)
    return found


def leads(rows: Mapping[str, Cells]) -> dict[str, Cells]:
    """Each head less the first of them, world by world."""
    first, *others = rows
    return {
        f"{name} less {first}": {
            column: [a - b for a, b in zip(values, rows[first][column], strict=True)]
            for column, values in rows[name].items()
        }
        for name in others
    }


def table(rows: Mapping[str, Cells], head: str, *, signed: bool) -> str:
    """Rows as Markdown: the mean over worlds, and its interval."""
    columns = [*next(iter(rows.values()))]
    lines = [f"| {head} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, cells in rows.items():
        told = [_cell(cells[column], signed=signed) for column in columns]
        lines.append(f"| `{name}` | {' | '.join(told)} |")
    return "\n".join(lines)


def _joined(worlds: Iterable[Mapping[str, float | None]]) -> Cells:
    found: Cells = {}
    for world in worlds:
        for column, value in world.items():
            found.setdefault(column, []).append(np.nan if value is None else value)
    return found


def _cell(values: Sequence[float], *, signed: bool) -> str:
    form = "{:+.3f}" if signed else "{:.3f}"
    ends = over_worlds(values) if signed else np.clip(over_worlds(values), 0, 1)
    mean, low, high = (form.format(one).replace("0.", ".", 1) for one in ends)
    return f"{mean} ({low} to {high})"


def main() -> None:
    """Print the tables of the folders that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="of clare probe, one a world")
    parser.add_argument("--heads", nargs="*", default=[], type=Path, help="of clare sweep")
    given = parser.parse_args()
    records = [read_record(folder) for folder in given.folders]
    print(f"{len(records)} worlds; rows of each: {records[0].counts}, tests {records[0].tests}\n")
    print(table(aucs(records), "input", signed=False))
    if found := gains(records):
        print("\n" + table(found, "added", signed=True))
    if given.heads:
        print("\n" + table(found := heads(given.heads), "head", signed=False))
        print("\n" + table(leads(found), "head", signed=True))


if __name__ == "__main__":
    main()

"""Sweeps: the product of several values, one run each, and what they come to."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clare.errors import InputError
from clare.heads.config import TrainConfig, create_config
from clare.heads.run_folder import is_finished
from clare.heads.runs import VAL_METRICS, RunRecord
from clare.heads.training import Machine, Observer, train_runs
from clare.store.records import write_durably

RESULTS = "results.csv"
LEADERBOARD = "leaderboard.csv"

Axes = Mapping[str, Sequence[Any]]
"""Values by the name of a configuration's setting."""

Result = dict[str, Any]
"""A line of ``results.csv``."""

Evaluate = Callable[[Path], Mapping[str, Mapping[str, Any]]]
"""The figures of a finished run on test rows, by name."""

_RANGE = re.compile(r"(\d+)-(\d+)")


def parse_values(text: str) -> list[str]:
    """Values of a comma list, in which ``0-4`` stands for 0, 1, 2, 3, 4.

    Raises:
        InputError: there is none, a range falls, or a value stands twice.
    """
    values: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        span = _RANGE.fullmatch(part)
        if span and int(span[1]) > int(span[2]):
            raise InputError(f"the range {part} falls: write {span[2]}-{span[1]}")
        values += map(str, range(int(span[1]), int(span[2]) + 1)) if span else [part]
    if not values or len(set(values)) < len(values):
        raise InputError(f"{text!r} is no list of different values, such as 1,2 or 0-4")
    return values


def expand(
    base: Mapping[str, Any] | TrainConfig,
    axes: Axes,
    refine: Callable[[TrainConfig], TrainConfig] = lambda config: config,
) -> dict[str, TrainConfig]:
    """The product of the axes, by a name that says where a run stands on each.

    Args:
        base: what all runs have in common.
        axes: values by setting.
        refine: further changes, for example settings of the parts that a run has.

    Raises:
        InputError: a setting or a value is not usable, or two runs come to the same name.
    """
    start = base if isinstance(base, TrainConfig) else create_config(base)
    found: dict[str, TrainConfig] = {}
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        config = create_config(point, start)
        name = "_".join(_label(setting, getattr(config, setting)) for setting in axes) or "run"
        if name in found:
            raise InputError(f"two runs of the sweep are called {name}: list each value once")
        found[name] = refine(config)
    return found


def run_sweep(
    configs: Mapping[str, TrainConfig],
    axes: Axes,
    store: Path,
    out: Path,
    machine: Machine | None = None,
    observer: Observer | None = None,
    evaluate: Evaluate | None = None,
) -> list[Result]:
    """Train what is not finished yet, then write ``results.csv`` and ``leaderboard.csv``.

    Args:
        configs: by name, of `expand`.
        axes: as they were given to `expand`.
        store: the feature store.
        out: folder that gets a folder a run.
        machine: device, memory and the like.
        observer: told what happens.
        evaluate: also measures finished runs on test rows; never used to rank.

    Returns:
        The lines of ``results.csv``; ``failure`` says why a run has no figures.

    Raises:
        InputError: as `train_runs`, or a folder holds a run with another configuration.
    """
    missing = {}
    for name, config in configs.items():
        if not is_finished(out / name):
            missing[name] = config
        elif RunRecord.read(out / name).config != config:
            raise InputError(
                f"{out / name} is a finished run with another configuration; name another --out"
            )
    failures: dict[str, str | None] = {}

    def collect(test: Evaluate | None) -> list[Result]:
        lines = [
            _result(out / name, config, axes, failures.get(name), test)
            for name, config in configs.items()
            if is_finished(out / name) or failures.get(name)
        ]
        columns = max(lines, key=len, default={})
        lines = [{column: line.get(column) for column in columns} for line in lines]
        if lines:
            write_durably(out / RESULTS, _csv(lines))
            write_durably(out / LEADERBOARD, _csv(leaderboard(lines, axes)))
        return lines

    try:
        if missing:
            folders = [out / name for name in missing]
            found = train_runs(list(missing.values()), store, folders, machine, observer)
            failures = dict(zip(missing, found, strict=True))
    finally:
        # What is finished is worth reading, also where the rest was interrupted.
        results = collect(None)
    return results if evaluate is None else collect(evaluate)


def leaderboard(results: Sequence[Result], axes: Axes, figure: str = "val_auc") -> list[Result]:
    """Mean and spread over seeds, the best on validation first.

    Args:
        results: of `run_sweep`; runs that failed count among ``failed`` alone.
        axes: of the sweep; all but the seeds tell lines apart.
        figure: what ranks.

    Returns:
        The axes' values, ``seeds`` (runs with figures), ``failed``, and of every figure the mean
        and, as ``_spread``, the sample standard deviation; None with fewer than two.
    """
    names = [name for name in axes if name not in ("seed", "data_seed")]
    groups: dict[tuple[Any, ...], list[Result]] = defaultdict(list)
    for result in results:
        groups[tuple(result[name] for name in names)].append(result)
    lines = []
    for values, members in groups.items():
        good = [member for member in members if not member["failure"]]
        line = dict(zip(names, values, strict=True))
        line |= {"seeds": len(good), "failed": len(members) - len(good)}
        for name in (key for key in results[0] if key.endswith(_RANKED)):
            found = [float(member[name]) for member in good if member.get(name) is not None]
            line[name] = statistics.fmean(found) if found else None
            line[f"{name}_spread"] = statistics.stdev(found) if len(found) > 1 else None
        lines.append(line)
    return sorted(lines, key=lambda line: -(line.get(figure) or 0.0))


_RANKED = ("auc", "ap", "balanced_accuracy", "eer")


def _result(
    folder: Path,
    config: TrainConfig,
    axes: Axes,
    failure: str | None,
    evaluate: Evaluate | None,
) -> Result:
    line: Result = {"run": folder.name}
    line |= {name: _plain(getattr(config, name)) for name in axes}
    line["failure"] = failure or ""
    if failure:
        return line
    found = json.loads((folder / VAL_METRICS).read_text("utf-8"))
    line |= {"epoch": found["epoch"], "threshold": found["threshold"]}
    line |= _columns("val", found["metrics"])
    if evaluate is not None:
        line |= _columns("test", evaluate(folder))
    return line


def _columns(split: str, metrics: Mapping[str, Mapping[str, Any]]) -> Result:
    line: Result = {}
    for name, figure in metrics.items():
        line[f"{split}_{name}"] = figure["value"]
        line[f"{split}_{name}_low"] = figure["low"]
        line[f"{split}_{name}_high"] = figure["high"]
    if metrics:
        line[f"{split}_n"] = next(iter(metrics.values()))["n"]
    return line


def _csv(lines: Sequence[Result]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def _label(setting: str, value: Any) -> str:
    plain = f"{value:g}" if isinstance(value, float) else str(_plain(value))
    text = re.sub(r"[^A-Za-z0-9._+-]+", "-", plain).strip("-")
    return text if setting in ("fusion", "classifier") else f"{setting}-{text}"


def _plain(value: Any) -> Any:
    return "+".join(value) if isinstance(value, list | tuple) else value

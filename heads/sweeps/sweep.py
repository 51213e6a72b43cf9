"""Sweeps: the product of several values, one run each, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from clare.advice import Name
from clare.bootstrap import Figures
from clare.errors import InputError
from clare.heads.config import Machine, TrainConfig
from clare.heads.data.subsets import take_reals
from clare.heads.runs.record import CONFIG, is_finished, read_record
from clare.heads.sweeps.figures import figure_lines, write_figures
from clare.heads.sweeps.preflight import check_rows
from clare.heads.sweeps.table import (
    RESULTS,
    Axes,
    Result,
    axes_of,
    read_results,
    result_line,
    value_of,
    write_tables,
)
from clare.heads.training.cached_blocks import name_blocks
from clare.heads.training.run_folder import ANOTHER_FOLDER
from clare.heads.training.trainer import Observer, train_runs
from clare.store.feature_store import FeatureStore, open_store

Evaluate = Callable[[Path], Figures]
"""The figures of a finished run on test rows; none where it could not be tested."""

Train = Callable[
    [
        Sequence[TrainConfig],
        FeatureStore,
        Sequence[Path],
        Machine | None,
        Observer | None,
        Sequence[str],
    ],
    list[str | None],
]
"""What trains runs: see `train_runs`."""

_OF_DATA: tuple[str, ...] = (
    *("train", "reals", "domains", "frames", "sampling", "protocol", "partial", "features"),
    *("fraction", "shuffle_labels", "data_seed"),
)
"""Settings that runs of other presets have in common too."""
_OF_PROTOCOL = ("train", "reals", "domains", "frames", "sampling")
_OF_PARTS = {
    "fusion_settings": ("fusion",),
    "classifier_settings": ("classifier",),
    "decoder_settings": ("decoder",),
    "tune_settings": ("tune",),
    "fields": ("fusion", "decoder", "tune"),
}
"""Settings that runs have in common only where they have these parts in common."""


def run_sweep(
    configs: Mapping[str, TrainConfig],
    axes: Axes,
    store: Path | FeatureStore,
    out: Path,
    machine: Machine | None = None,
    observer: Observer | None = None,
    evaluate: Evaluate | None = None,
    command: Sequence[str] = (),
    train: Train = train_runs,
) -> list[Result]:
    """Train what is not finished yet, then write ``results.csv`` and ``leaderboard.csv``.

    Where runs were tested, ``figures.csv`` has AUC and balanced accuracy by set of rows; see
    `clare.heads.sweeps.figures.figure_lines`.

    Runs of the same sweep that the folder already has, of other seeds for example, keep their
    lines.

    Args:
        configs: by name, of `clare.heads.sweeps.axes.expand`.
        axes: as they were given to it.
        store: the feature store.
        out: folder that gets a folder a run.
        machine: device, memory and the like.
        observer: told what happens.
        evaluate: also measures finished runs on test rows; never used to rank.
        command: that asked for it, word by word, for the records of its runs.
        train: trains what is missing, as `train_runs`, or on a cluster.

    Returns:
        The lines of ``results.csv``; ``failure`` says why a run has no figures.

    Raises:
        InputError: as `train_runs`, the folder holds runs of another sweep or of another store, or
            some runs have an IoU on validation and others none.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", Name("a folder", "out"))
    opened = store if isinstance(store, FeatureStore) else open_store(store)
    asked = configs
    settled, _ = take_reals(opened, list(configs.values()))
    settled = name_blocks(opened, settled, (machine or Machine()).settings)
    configs = dict(zip(configs, settled, strict=True))
    _require_same_configs(out, configs)
    before = {line["run"]: line for line in read_results(out)}
    runs = _others(out, configs, axes, before) | dict(configs)
    _require_one_figure(runs)
    finished = {out / name: config for name, config in runs.items() if is_finished(out / name)}
    missing = {out / name: one for name, one in configs.items() if out / name not in finished}
    failures: dict[Path, str | None] = {
        out / name: before[name]["failure"] for name in runs if name not in configs
    }
    failures |= check_rows(opened, finished, missing)
    tested = {folder.name: _test_cells(before.get(folder.name, {})) for folder in finished}

    def collect(test: Evaluate | None) -> list[Result]:
        lines = []
        for name, config in runs.items():
            folder, failure = out / name, failures.get(out / name)
            if is_finished(folder) or failure:
                figures = test(folder) if test is not None and not failure else {}
                line = result_line(folder, config, axes, failure, figures)
                lines.append(line | (tested.get(name, {}) if test is None else {}))
        write_figures(out, figure_lines(out, lines, axes))
        return write_tables(out, lines, axes)

    # As they were asked for, so that training says which reals it takes.
    wanted = {folder: asked[folder.name] for folder in missing if folder not in failures}
    try:
        if wanted:
            found = train(list(wanted.values()), opened, list(wanted), machine, observer, command)
            failures |= dict(zip(wanted, found, strict=True))
    finally:
        # What is finished is worth reading, also where the rest was interrupted.
        results = collect(None)
    return results if evaluate is None else collect(evaluate)


def _require_one_figure(configs: Mapping[str, TrainConfig]) -> None:
    """Refuse runs that no figure could rank."""
    masked = [name for name, config in configs.items() if config.needs_masks("val")]
    others = [name for name in configs if name not in masked]
    if masked and others:
        raise InputError(
            f"a sweep ranks its runs by one figure, and {masked[0]} has an IoU on validation while "
            f"{others[0]} has none",
            "sweep them apart, each kind to a folder of its own",
        )


def _require_same_configs(out: Path, configs: Mapping[str, TrainConfig]) -> None:
    for name, config in configs.items():
        if is_finished(out / name) and read_record(out / name).config != config:
            raise InputError(
                f"{out / name} is a finished run with another configuration", ANOTHER_FOLDER
            )


def _others(
    out: Path,
    configs: Mapping[str, TrainConfig],
    axes: Axes,
    before: Mapping[str, Mapping[str, str]],
) -> dict[str, TrainConfig]:
    """Runs of an earlier call that have a line, and are not part of this one.

    Raises:
        InputError: they differ in more than the axes: a table of both would compare neither.
    """
    names = [name for name in before if name not in configs and (out / name / CONFIG).is_file()]
    found = {name: read_record(out / name).config for name in names}
    for name, config in found.items():
        if axes_of(before[name]) != list(axes):
            raise InputError(
                f"{out / RESULTS} is of a sweep over {', '.join(axes_of(before[name]))}, this one "
                f"is over {', '.join(axes)}",
                ANOTHER_FOLDER,
            )
        differing = _differing(config, configs, axes)
        if differing:
            raise InputError(
                f"{out / name} is a run of another sweep, with another {differing}", ANOTHER_FOLDER
            )
    return found


def _differing(config: TrainConfig, others: Mapping[str, TrainConfig], axes: Axes) -> str | None:
    """A setting, none of the axes, that a run has not in common with any of another sweep."""
    hidden = {*axes, "preset", *_OF_PARTS, *(_OF_PROTOCOL if "protocol" in axes else ())}
    own = config.to_json()
    if "preset" in axes:
        kin = {name: one for name, one in others.items() if one.preset == config.preset}
        if not kin:
            shared = next(iter(others.values())).to_json()
            data = (name for name in _OF_DATA if name not in hidden)
            return next((name for name in data if own[name] != shared[name]), None)
        others = kin
    shared = next(iter(others.values())).to_json()
    differing = [name for name in own if name not in hidden and own[name] != shared[name]]
    for name, parts in _OF_PARTS.items():
        told = (*parts, "tokens") if name == "fields" and "tokens" in axes else parts
        own_parts = [value_of(config, part) for part in told]
        alike = [
            one for one in others.values() if [value_of(one, part) for part in told] == own_parts
        ]
        if alike and all(one.settings[name] != config.settings[name] for one in alike):
            differing.append(name)
    return differing[0] if differing else None


def _test_cells(line: Mapping[str, str]) -> Result:
    return {
        name: int(cell) if cell.isdigit() else float(cell)
        for name, cell in line.items()
        if name.startswith("test_") and cell
    }

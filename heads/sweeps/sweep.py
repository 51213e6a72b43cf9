"""Sweeps: the product of several values, one run each, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from clare.advice import Name
from clare.errors import InputError
from clare.heads.config import Machine, TrainConfig
from clare.heads.data.subsets import take_reals
from clare.heads.runs.record import is_finished, read_record
from clare.heads.sweeps.collect import Evaluate, Tables, lines_of
from clare.heads.sweeps.others import runs_beside
from clare.heads.sweeps.preflight import check_rows
from clare.heads.sweeps.sharing import Sharing
from clare.heads.sweeps.table import Axes, Result
from clare.heads.training.cached_blocks import name_blocks
from clare.heads.training.run_folder import ANOTHER_FOLDER
from clare.heads.training.trainer import Observer, train_runs
from clare.store.feature_store import FeatureStore, open_store

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


def run_sweep(
    configs: Mapping[str, TrainConfig],
    axes: Axes,
    store: Path | FeatureStore,
    out: Path,
    machine: Machine | None = None,
    observer: Observer | None = None,
    evaluate: Evaluate | None = None,
    command: Sequence[str] = (),
    train: Train | Sharing = train_runs,
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
        train: trains what is missing, as `train_runs`, on a cluster, or as one of several
            processes that share the runs.

    Returns:
        The lines of ``results.csv``; ``failure`` says why a run has no figures. Of a run that
            another process still trains there is none.

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
    before = lines_of(out)
    runs = runs_beside(out, configs, axes, before) | dict(configs)
    _require_one_figure(runs)
    finished = {out / name: config for name, config in runs.items() if is_finished(out / name)}
    missing = {out / name: one for name, one in configs.items() if out / name not in finished}
    failures: dict[Path, str | None] = dict(check_rows(opened, finished, missing))
    sharing = train if isinstance(train, Sharing) else None
    tables = Tables(out, configs, axes, before, finished, sharing)

    # As they were asked for, so that training says which reals it takes.
    wanted = {folder: asked[folder.name] for folder in missing if folder not in failures}
    if sharing is not None:
        sharing.note = lambda found: tables.write(failures | found)
    with nullcontext() if sharing is None else closing(sharing):
        try:
            if wanted:
                found = train(
                    list(wanted.values()), opened, list(wanted), machine, observer, command
                )
                failures |= dict(zip(wanted, found, strict=True))
        finally:
            # What is finished is worth reading, also where the rest was interrupted.
            results = tables.write(failures)
        if evaluate is None:
            return results
        if sharing is not None:
            sharing.test([out / name for name in runs if is_finished(out / name)], evaluate)
        return tables.write(failures, evaluate)


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

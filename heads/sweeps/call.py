"""A sweep as one call: here, on the workers of a cluster, or as one of several processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from clare.advice import LeaveOut, Name, Notice
from clare.cluster.connect import require_cluster
from clare.errors import ClareError, InputError
from clare.heads.config import Machine, TrainConfig, begin_from, create_config
from clare.heads.sweeps.axes import expand
from clare.heads.sweeps.figures import figure_lines
from clare.heads.sweeps.sharing import Sharing
from clare.heads.sweeps.sweep import Train, run_sweep
from clare.heads.sweeps.table import Axes, Result, leaderboard
from clare.heads.sweeps.tests import SweepTests, require_tests
from clare.heads.training.trainer import Observer, train_runs
from clare.models.runtime import choose_runtime
from clare.plugins import trust_named
from clare.progress import StepProgress
from clare.settings import build_settings
from clare.slurm import array_tasks
from clare.store.bucket.places import place_of
from clare.store.feature_store import FeatureStore, open_store


@dataclass(frozen=True)
class Swept:
    """What a sweep came to.

    Args:
        out: its folder.
        results: a line a run, as in ``results.csv``; ``failure`` says why a run has no figures.
        leaderboard: means over seeds, the best on validation first.
        figures: AUC and balanced accuracy by set of rows, where runs were tested.
        untested: why runs could not be tested, by folder.
    """

    out: Path
    results: list[Result]
    leaderboard: list[Result]
    figures: list[Result]
    untested: Mapping[Path, ClareError]


@dataclass(frozen=True)
class Where:
    """Who trains a sweep's runs.

    Args:
        cluster: ``local:N``, the address of a scheduler, or a YAML file of `dask_jobqueue`; here
            if None.
        shared_by: processes that share the runs, each called likewise; if None the tasks of the
            SLURM array that this process is one of, or it alone.

    Raises:
        InputError: the cluster can't be used, or both are given.
    """

    cluster: str | None = None
    shared_by: int | None = None

    def __post_init__(self) -> None:
        if self.shared_by is not None and self.shared_by < 1:
            raise InputError(f"shared_by must be at least 1, not {self.shared_by}")
        if self.cluster is not None:
            require_cluster(self.cluster)
            if self.shared_by is not None:
                raise InputError(
                    "a cluster's workers share the runs already",
                    LeaveOut("shared_by"),
                    LeaveOut("cluster"),
                )

    @property
    def processes(self) -> int:
        """How many share the runs."""
        return array_tasks() if self.shared_by is None else self.shared_by


def run_anywhere(
    configs: Mapping[str, TrainConfig],
    axes: Axes,
    store: FeatureStore | Path,
    out: Path,
    machine: Machine,
    where: Where,
    *,
    evaluate: Sequence[str] | None = None,
    train_figures: bool = True,
    observer: Observer | None = None,
    progress: StepProgress | None = None,
    notice: Callable[[Notice], None] = lambda notice: None,
    command: Sequence[str] = (),
) -> Swept:
    """`run_sweep` with what trains and tests its runs.

    Args:
        configs: by name, of `expand`.
        axes: as they were given to it.
        store: the feature store.
        out: folder that gets a folder a run.
        machine: device, memory and the like; the device may be ``auto``.
        where: who trains.
        evaluate: subsets to test on; no test if None.
        train_figures: whether rows that runs were trained on are scored too.
        observer: told what happens.
        progress: called while runs are tested.
        notice: told what the user should know.
        command: that asked for it, word by word, for the records of its runs.

    Raises:
        InputError: as `run_sweep`, or runs could not be tested on the subsets.
    """
    # On a cluster one path has to lead every machine to the store.
    path = store.path if isinstance(store, FeatureStore) else store
    opened = open_store(path if where.cluster is None else place_of(path).resolve())
    here = replace(machine, device=choose_runtime(machine.device).device)
    if evaluate is not None:
        require_tests(opened, evaluate, configs.values())
    subsets = evaluate or ()
    tests = SweepTests(
        opened,
        subsets,
        device=here.device,
        progress=progress,
        training=train_figures,
        settings=here.settings,
    )
    test = tests if subsets else None
    train: Train | Sharing = train_runs
    if where.cluster is not None:
        from clare.heads.sweeps.cluster import ClusterTraining

        here = machine  # which device is the best, each worker knows
        train = ClusterTraining(where.cluster, subsets, train_figures=train_figures, notice=notice)
    elif where.processes > 1:
        train = Sharing(out, where.processes, test, notice=notice)
    results = run_sweep(configs, axes, opened, out, here, observer, test, command, train)
    lines = figure_lines(out, results, axes)
    return Swept(out, results, leaderboard(results, axes), lines, tests.failures)


def sweep(
    store: FeatureStore | Path | str = "features.zarr",
    out: Path | str = "runs/sweep",
    *,
    vary: Mapping[str, Sequence[Any]],
    preset: str | None = None,
    config: TrainConfig | None = None,
    evaluate: Sequence[str] = (),
    train_figures: bool = True,
    cluster: str | None = None,
    shared_by: int | None = None,
    observer: Observer | None = None,
    notice: Callable[[Notice], None] = lambda notice: None,
    **settings: Any,
) -> Swept:
    """Train every combination of several values; called again, it does only what is missing.

    Runs are trained side by side on one read of the features::

        swept = clare.sweep("features.zarr", vary={"fusion": ["cls", "esa"], "seed": range(3)})

    Args:
        store: the feature store; its test split is opened by ``evaluate`` alone.
        out: folder that gets a folder a run, and the tables.
        vary: values by setting, as ``fusion``, ``classifier``, ``lr``, ``fraction`` or ``seed``, or
            ``tokens``; the seed, where it is not varied, is the one that is given, or 0.
        preset: the configuration to start from, as for `train_head`.
        config: a configuration to start from instead.
        evaluate: subsets to test finished runs on; never used to rank.
        train_figures: whether rows that runs were trained on are scored too, with ``evaluate``.
        cluster: Dask workers that train: ``local:2``, the address of a scheduler, or a YAML file of
            SLURMCluster's settings.
        shared_by: processes that share the runs, each of which makes this call; if None the tasks
            of a SLURM array.
        observer: is told how it goes.
        notice: is told what the user should know.
        settings: fields of `TrainConfig`, of its `DetectorConfig` and of `Machine` that all runs
            have in common: ``train``, ``reals``, ``epochs``, ``device`` and more.

    Returns:
        A line a run, means over seeds, and what could not be tested.

    Raises:
        InputError: a setting, the rows, the folder or the cluster is not usable.
        StoreError: a field, a subset or a text tower is not there.
    """
    where = Where(cluster, shared_by)
    for name, values in vary.items():
        if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
            raise InputError(f"the values of {name} must be a list, not {values!r}")
    if not vary or not all(len(values) for values in vary.values()):
        raise InputError("nothing is varied", Name("values", "vary", '{"seed": [0, 1]}'))
    trust_named([*settings.values(), *(one for values in vary.values() for one in values)])
    own = {f.name for f in fields(Machine)}
    given = {name: settings.pop(name) for name in own & set(settings)}
    machine: Machine = build_settings("training", Machine, {"device": "auto", **given})
    common = settings if preset is None else {**settings, "preset": preset}
    if twice := sorted(vary.keys() & common.keys()):
        raise InputError(f"{twice[0]} is varied, and given for all runs", LeaveOut(twice[0]))
    axes = {name: [_plain(one) for one in values] for name, values in vary.items()}
    usual = 0 if config is None else config.seed
    axes["seed"] = axes.pop("seed", [settings.pop("seed", usual)])  # the last
    start: TrainConfig | dict[str, Any] = settings
    if config is not None or "preset" not in axes:
        start = create_config(settings, config or begin_from(preset, {**settings, **axes}))
    return run_anywhere(
        expand(start, axes),
        axes,
        store if isinstance(store, FeatureStore) else Path(store),
        Path(out),
        machine,
        where,
        evaluate=list(evaluate) or None,
        train_figures=train_figures,
        observer=observer,
        notice=notice,
    )


def _plain(value: Any) -> Any:
    """A value as a configuration has it: numbers of NumPy and paths stand for plain ones."""
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value

"""The runs of a sweep on the workers of a cluster: stacks of them are the items of work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from distributed import Worker, WorkerPlugin

from clare.advice import Notice
from clare.cluster.connect import connect
from clare.cluster.crew import Crew, kit_here
from clare.errors import InputError
from clare.heads.config import Machine, TrainConfig
from clare.heads.runs.lock import RunsHeldError
from clare.heads.runs.record import is_finished, read_validation
from clare.heads.sweeps.stacks import Runs, Supply
from clare.heads.sweeps.tests import SweepTests
from clare.heads.training.trainer import Observer, train_runs
from clare.models.runtime import choose_runtime
from clare.slurm import cores
from clare.stopping import StopAskedError
from clare.store.feature_store import FeatureStore, open_store
from clare.version import __version__

HELD_SECONDS = 5.0
"""How long a worker waits before runs that another process has are asked for again."""

_ENDED = ""


@dataclass(frozen=True)
class SweepOrder:
    """What every worker has to know.

    Args:
        store: the feature store, under one path on all machines.
        machine: how is trained; its device is chosen by each worker.
        command: that asked for the runs, for their records.
        subsets: to test finished runs on.
        train_figures: whether rows that runs were trained on are scored too.
        threads: cores that a worker takes; None where it knows itself.
        version: of this package, which has to be the workers' too.
    """

    store: Path
    machine: Machine
    command: tuple[str, ...]
    subsets: tuple[str, ...]
    train_figures: bool
    threads: int | None
    version: str


class Trainers(WorkerPlugin):
    """What a worker has for one sweep.

    Args:
        order: what all runs have in common.
    """

    def __init__(self, order: SweepOrder) -> None:
        self.order = order

    def setup(self, worker: Worker) -> None:
        """Begin, in a worker's process."""
        self._worker = worker
        self._ending, self._turn = threading.Event(), threading.Lock()
        self._tests: SweepTests | None = None

    def teardown(self, worker: Worker) -> None:
        """End what is in hand after its epoch."""
        self._ending.set()

    def __getstate__(self) -> dict[str, Any]:
        return {"order": self.order}

    def train(self, runs: Runs) -> list[str | None] | str:
        """Train and test runs; why not yet where another has them, or the worker was to end."""
        order = self.order
        if order.version != __version__:
            raise InputError(
                f"the worker at {self._worker.address} has version {__version__} of CLaRE, and "
                f"{order.version} gives it work",
                "install the same version",
            )
        with self._turn:  # chance is a process's own: one training at a time
            torch.set_num_threads(order.threads or max(self._worker.state.nthreads, 1))
            index = self._worker.name if isinstance(self._worker.name, int) else None
            device = choose_runtime(order.machine.device, task=index).device
            machine = replace(order.machine, device=device)
            missing = [at for at, folder in enumerate(runs.folders) if not is_finished(folder)]
            store, failures = open_store(order.store), dict.fromkeys(runs.folders)
            if missing:
                folders = [runs.folders[at] for at in missing]
                try:
                    found = train_runs(
                        [runs.configs[at] for at in missing],
                        store,
                        folders,
                        machine,
                        command=order.command,
                        ending=self._ending,
                    )
                except StopAskedError:
                    return _ENDED
                except RunsHeldError as error:  # perhaps a worker whose scheduler is gone
                    self._ending.wait(HELD_SECONDS)
                    return error.what
                failures |= dict(zip(folders, found, strict=True))
            self._test(store, machine, [one for one, why in failures.items() if why is None])
        return [failures[folder] for folder in runs.folders]

    def _test(self, store: FeatureStore, machine: Machine, folders: Sequence[Path]) -> None:
        """Test runs; one that can't be tested is tried once more where the sweep is told of it."""
        if not self.order.subsets:
            return
        self._tests = self._tests or SweepTests(
            store,
            self.order.subsets,
            device=machine.device,
            training=self.order.train_figures,
            settings=machine.settings,
        )
        for folder in folders:
            self._tests(folder)


def train_item(name: str, runs: Runs) -> list[str | None] | str:
    """Done on a worker: train runs."""
    trainers = kit_here(name)
    assert isinstance(trainers, Trainers)
    return trainers.train(runs)


class ClusterTraining:
    """`clare.heads.training.trainer.train_runs` on a cluster, for `run_sweep`.

    Args:
        cluster: ``local:N``, the address of a scheduler, or a YAML file of `dask_jobqueue`.
        subsets: to test finished runs on, which the workers do too.
        train_figures: whether rows that runs were trained on are scored too.
        notice: told what the user should know.
    """

    def __init__(
        self,
        cluster: str,
        subsets: Sequence[str] = (),
        *,
        train_figures: bool = True,
        notice: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        self._cluster, self._subsets = cluster, tuple(subsets)
        self._train_figures, self._notice = train_figures, notice

    def __call__(
        self,
        configs: Sequence[TrainConfig],
        store: FeatureStore,
        folders: Sequence[Path],
        machine: Machine | None = None,
        observer: Observer | None = None,
        command: Sequence[str] = (),
    ) -> list[str | None]:
        """As `train_runs`; each run gives what it would give alone, wherever it is trained.

        Raises:
            InputError: as there, or the cluster can't be used.
            WorkersLostError: workers die over the same runs again and again.
            StopAskedError: a scheduler asked for the end, and runs are left.
        """
        observer = observer or Observer()
        failures: dict[Path, str | None] = {}
        folders = [folder.resolve() for folder in folders]
        supply = Supply(configs, folders)
        observer.busy(f"training {len(configs)} runs on {self._cluster}")

        finished: dict[tuple[Path, ...], int] = {}

        def progressed(runs: Runs) -> bool:
            before = finished.get(runs.folders, 0)
            finished[runs.folders] = sum(map(is_finished, runs.folders))
            return finished[runs.folders] > before

        held: set[str] = set()

        def take(runs: Runs, found: list[str | None] | str) -> None:
            if isinstance(found, str):
                supply.put_back(runs)
                if found and found not in held:
                    held.add(found)
                    self._notice(Notice(f"{found}: waiting until that ends"))
                return
            failures.update(zip(runs.folders, found, strict=True))
            for folder, why in zip(runs.folders, found, strict=True):
                if why is None:
                    observer.finished(folder, read_validation(folder))
            observer.trained(len(failures), len(folders))

        with connect(self._cluster, cores()) as connected:
            order = SweepOrder(
                store.path.resolve(),
                machine or Machine(),
                tuple(command),
                self._subsets,
                self._train_figures,
                connected.threads,
                __version__,
            )
            name, kit = f"clare-{uuid4().hex[:12]}", Trainers(order)
            kit.name = name
            with Crew[Runs, Any](connected, kit, name, self._notice, together=1) as crew:
                crew.run(train_item, supply, take, progressed=progressed)
        return [failures[folder] for folder in folders]

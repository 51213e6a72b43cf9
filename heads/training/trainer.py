"""Training: one run, or several side by side on one read of the features."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clare.advice import Notice
from clare.errors import InputError
from clare.heads.config import Machine, TrainConfig
from clare.heads.data.augment import Augmentation, pixels_of
from clare.heads.data.subsets import take_reals
from clare.heads.data.table import Change, FieldPlan, load_fields, plan_memory
from clare.heads.runs.lock import hold_runs
from clare.heads.runs.record import Epoch, Validation
from clare.heads.training.boards import require_boards
from clare.heads.training.cached_blocks import name_blocks
from clare.heads.training.lockstep import Cache, SharedBatches, Stack, arrange, fit, judge_all
from clare.heads.training.notices import notices_of_machine
from clare.heads.training.prepare import (
    Tables,
    fit_fusions,
    measure_channels,
    open_tables,
    prepare,
    restrict_tables,
)
from clare.heads.training.run_folder import RunFolder
from clare.heads.training.run_state import RunState
from clare.models.runtime import require_compiler
from clare.stopping import Patience, patience
from clare.store.feature_store import FeatureStore, open_store


@dataclass(frozen=True)
class Plan:
    """What is about to be trained.

    Args:
        runs: how many.
        rows: by split and class, of the first run.
        fields: where each field will lie.
        parameters: that learn, of each run.
        together: how many runs take each step together, by group.
        resumed: epochs that are done already, all runs together.
        notes: what the user may not expect.
    """

    runs: int
    rows: Mapping[str, Mapping[str, int]]
    fields: Sequence[FieldPlan]
    parameters: Sequence[int]
    together: Sequence[int]
    resumed: int
    notes: Sequence[Notice]


class Observer:
    """What a caller may watch; every method may be left as it is."""

    def busy(self, what: str) -> None:
        """Something that takes a while is about to begin."""

    def loading(self, done: int, total: int) -> None:
        """Bytes of features are in memory."""

    def planned(self, plan: Plan) -> None:
        """Everything is known, and nothing is read yet."""

    def waited(self, seconds: float) -> None:
        """A batch was not at hand, and the next step waited for it so long."""

    def trained(self, done: int, total: int) -> None:
        """Samples were learnt from, counted once for all runs on the same batches."""

    def epoch(self, run: Path, record: Epoch) -> None:
        """An epoch of a run is done."""

    def finishing(self, run: Path) -> None:
        """A run is trained, and its folder is about to be closed."""

    def finished(self, run: Path, result: Validation) -> None:
        """A run is done."""


def train_runs(
    configs: Sequence[TrainConfig],
    store: Path | FeatureStore,
    folders: Sequence[Path],
    machine: Machine | None = None,
    observer: Observer | None = None,
    command: Sequence[str] = (),
    ending: threading.Event | None = None,
) -> list[str | None]:
    """Train configurations side by side: features are read once, batches are shared.

    Each run gives what it would give alone. A run that was killed goes on where it was kept last,
    and ends as if nothing had happened.

    Args:
        configs: one a run.
        store: the feature store; its test split is never opened.
        folders: one a run; made, or holding the same run unfinished.
        machine: device, memory and the like.
        observer: told what happens.
        command: that asked for them, word by word, for their records.
        ending: asks for the end after the epoch in hand, as a scheduler's warning does.

    Returns:
        For each run None, or why it failed: its loss or its margins were no numbers.

    Raises:
        InputError: a configuration, the rows or a folder is not usable; said before training.
        StoreError: a field, a subset or a text tower is not there.
        CorruptStoreError: stored bytes are not what was written.
        StopAskedError: a scheduler asked for the end; runs go on from the last epoch that is done,
            or, where that was not to be waited for, from the last one that was kept.
    """
    with hold_runs(folders):
        return _train(
            configs, store, folders, machine or Machine(), observer or Observer(), command, ending
        )


def _train(
    configs: Sequence[TrainConfig],
    store: Path | FeatureStore,
    folders: Sequence[Path],
    machine: Machine,
    observer: Observer,
    command: Sequence[str],
    ending: threading.Event | None,
) -> list[str | None]:
    """`train_runs`, in folders that nobody else writes to."""
    opened = store if isinstance(store, FeatureStore) else open_store(store)
    device = torch.device(machine.device)
    if machine.compile:
        observer.busy("looking for a compiler")
        require_compiler(machine.device)
    observer.busy("looking at the rows")
    configs, notices = take_reals(opened, configs)
    notices = [*notices, *notices_of_machine(machine, configs)]
    configs = name_blocks(opened, configs, machine.settings)
    tables, chosen = open_tables(opened, configs, device)
    runs = prepare(opened, configs, folders, tables, chosen, device, machine.settings)
    boards = require_boards(vars(machine))
    states = [
        RunState.open(run, RunFolder(folder, record, boards))
        for run, folder in zip(runs, folders, strict=True)
        for record in (replace(run.record, command=tuple(command)),)
    ]
    restrict_tables(runs, tables)
    fields = {field for run in runs for field in (*run.fields, *run.val_fields)}
    drawn = {pixels_of(run.config) for run in runs if run.config.augment}
    plans = plan_memory((tables.train, tables.val), fields, machine.memory, device, drawn)
    all_shared = arrange(states)
    observer.planned(_plan(states, plans, all_shared, notices))
    _begin(states)
    load_fields((tables.train, tables.val), plans, observer.loading)
    begun = [state.run for state in states if not state.progress.epoch]
    measure_channels(begun, tables.train, observer.busy)
    fit_fusions(begun, tables.train, observer.busy)
    for state in states:
        if state.is_fitted and not state.complete:
            observer.busy(f"fitting {state.folder.path}")
            fit(state, tables.train, tables.val)
    _finish(states, tables, observer)
    count = _Count(sum(shared.samples_left for shared in all_shared), observer)
    with patience(ending) as stop:
        for shared in all_shared:
            _train_together(shared, tables, machine, observer, count, stop)
            _finish([state for group in shared.groups for state in group], tables, observer)
    return [state.failure for state in states]


def train_run(
    config: TrainConfig,
    store: Path | FeatureStore,
    folder: Path,
    machine: Machine | None = None,
    observer: Observer | None = None,
    command: Sequence[str] = (),
) -> None:
    """`train_runs` of one.

    Raises:
        InputError: as there, or training failed.
    """
    (failure,) = train_runs([config], store, [folder], machine, observer, command)
    if failure is not None:
        raise InputError(failure)


def _begin(states: Sequence[RunState]) -> None:
    """Write what is known before training."""
    for state in states:
        run, folder = state.run, state.folder
        folder.begin(run.seen)
        if state.progress.epoch:
            folder.log(f"resumed after epoch {state.progress.epoch}")
            continue
        counts = run.record.rows
        folder.log(f"training on {counts['train']}, validation on {counts['val']}")
        for note in run.notes:
            folder.log(str(note))


def _train_together(
    shared: SharedBatches,
    tables: Tables,
    machine: Machine,
    observer: Observer,
    count: _Count,
    stop: Patience,
) -> None:
    """Train runs on the same batches to their ends, and keep them."""
    stacks = [
        Stack(states, compile=machine.compile, recompute=machine.recompute)
        for states in shared.groups
    ]
    config, saved = shared.config, time.monotonic()
    for epoch in range(shared.start + 1, config.epochs + 1):
        if stop.asked and epoch > shared.start + 1:
            for stack in stacks:
                stack.save()
        stop.end()
        states = [state for stack in stacks for state in stack.states]
        began = time.monotonic()
        _train_epoch(shared, stacks, tables, epoch, count, stop)
        seconds = time.monotonic() - began
        judge_all(stacks, tables.val, config.batch)
        for stack in stacks:
            stack.end_epoch(epoch, seconds)
            if machine.keep_every and epoch % machine.keep_every == 0:
                stack.keep(f"epoch-{epoch:03d}.safetensors")
            stack.close_complete()
        for state in states:
            if state.failure is None:
                observer.epoch(state.folder.path, state.progress.history[-1])
        stacks = [stack for stack in stacks if stack.states]
        if not stacks:
            break
        if time.monotonic() - saved > machine.checkpoint_seconds:
            for stack in stacks:
                stack.save()
            saved = time.monotonic()


def _finish(states: Sequence[RunState], tables: Tables, observer: Observer) -> None:
    """Close the folders of the runs that are complete."""
    for state in states:
        if not state.complete or state.failure is not None:
            continue
        observer.finishing(state.folder.path)
        rows = tables.val.rows.take(state.run.val.plain)
        found = state.folder.finish(state.progress, rows, state.run.val.labels, state.run.apart)
        observer.finished(state.folder.path, found)
        state.progress.state, state.progress.best = {}, torch.empty(0)


def _train_epoch(
    shared: SharedBatches,
    stacks: Sequence[Stack],
    tables: Tables,
    epoch: int,
    count: _Count,
    stop: Patience,
) -> None:
    config = shared.config
    taken, places = shared.samples.epoch(
        config.data_seed, epoch, config.batch, views=config.takes_views
    )
    fields = sorted({field for stack in stacks for field in stack.fields})
    change = _changing(config, tables, epoch) if config.augment else None
    batches = tables.train.batches(places, fields, change)
    for number, (some, batch) in enumerate(zip(taken, count.waits(batches), strict=True)):
        stop.check()
        cache: Cache = {}
        picked = torch.from_numpy(some)
        for stack in stacks:
            stack.step(stack.inputs(batch, cache), picked, epoch, number / len(taken))
        count.add(len(picked))


def _changing(config: TrainConfig, tables: Tables, epoch: int) -> Change:
    """What draws an epoch's views of pixels, as they are read."""
    augmentation = Augmentation(config.augment, config.data_seed, tables.train.rows)
    pixels = pixels_of(config)

    def change(field: str, values: torch.Tensor, places: NDArray[np.int64]) -> torch.Tensor:
        return augmentation.draw(values, places, epoch) if field == pixels else values

    return change


class _Count:
    """Samples learnt from so far, of all that the runs will learn from."""

    def __init__(self, total: int, observer: Observer) -> None:
        self._done, self._total, self._observer = 0, total, observer

    def waits(
        self, batches: Iterator[dict[str, torch.Tensor]]
    ) -> Iterator[dict[str, torch.Tensor]]:
        """The batches; how long each was waited for is told."""
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            self._observer.waited(time.perf_counter() - began)
            yield batch

    def add(self, samples: int) -> None:
        self._done += samples
        self._observer.trained(self._done, self._total)


def _plan(
    states: Sequence[RunState],
    plans: Sequence[FieldPlan],
    all_shared: Sequence[SharedBatches],
    notices: Sequence[Notice],
) -> Plan:
    notes = {str(note): note for state in states for note in state.run.notes}
    notes |= {str(note): note for note in notices}
    return Plan(
        runs=len(states),
        rows=states[0].run.record.rows,
        fields=plans,
        parameters=[state.parameters for state in states],
        together=[len(group) for shared in all_shared for group in shared.groups],
        resumed=sum(state.progress.epoch for state in states),
        notes=[notes[text] for text in sorted(notes)],
    )

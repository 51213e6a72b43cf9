"""Runs side by side: stacks of runs that step together, and the batches that stacks share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clare.heads.base import Inputs
from clare.heads.config import TrainConfig
from clare.heads.data.augment import pixels_of
from clare.heads.data.samples import Samples
from clare.heads.data.table import FeatureTable, pieces
from clare.heads.detector import Detector, save_detector
from clare.heads.layers.tower import TowerFusion
from clare.heads.runs.record import LAST
from clare.heads.training.learner import Learner, can_stack
from clare.heads.training.run_state import RunState
from clare.heads.training.schedule import learning_rate
from clare.models.weights import require_fit

SHARED_PARAMETERS = 200_000_000
"""Parameters that learn side by side; with an optimiser's state they take 16 bytes each."""

Cache = dict[Any, Inputs]
"""A batch as fusions take it, by how they take it."""


class Stack:
    """Runs of one shape that take each step together.

    Args:
        states: one a run.
        compile: whether a single run's step is compiled.
        recompute: whether a tower that is tuned computes its blocks again in the backward pass.
    """

    def __init__(
        self, states: Sequence[RunState], *, compile: bool = False, recompute: bool = False
    ) -> None:
        self.states = list(states)
        runs = [state.run for state in states]
        self.detector = runs[0].detector
        self.fields, self.val_fields = runs[0].fields, runs[0].val_fields
        self.val = runs[0].val.plain
        if recompute and isinstance(fusion := getattr(self.detector, "fusion", None), TowerFusion):
            fusion.recompute()
        self.learner = Learner(
            [run.detector for run in runs],
            [run.config for run in runs],
            torch.from_numpy(runs[0].train.labels),
            compile=compile,
        )
        for row, state in enumerate(states):
            if state.progress.state:
                self._require_fit(row, state)
                self.learner.set_state(row, state.progress.state, state.progress.steps)
        labels = np.stack([run.train.labels for run in runs])
        self._labels = torch.from_numpy(labels).to(self.learner.device)
        # Runs of one stack have their batches in common, and so their pairs.
        groups = runs[0].train.groups if runs[0].config.pair_loss else None
        self._groups = None if groups is None else torch.from_numpy(groups).to(self._labels)
        self._loss = torch.zeros(len(runs), device=self.learner.device, dtype=torch.float64)
        self._rates: list[float] = []
        self._judged: list[torch.Tensor] = []

    def _require_fit(self, row: int, state: RunState) -> None:
        """Refuse a saved state of another run; a shape that differs could be stretched to fit."""
        own, progress = self.learner.state(row), state.progress
        begun = progress.best_epoch > 0
        columns = len(self.learner.judged)
        wanted = {
            **own,
            "best": own["values"] if begun else torch.empty(0),
            "judged": torch.empty((len(state.run.val.labels), columns) if begun else (0, 0)),
        }
        judged = torch.from_numpy(progress.judged)
        saved = {**progress.state, "best": progress.best, "judged": judged}
        require_fit(wanted, saved, state.folder.path / LAST, "run")

    def inputs(self, batch: Mapping[str, torch.Tensor], cache: Cache) -> Inputs:
        """The batch as the stack's fusion takes it, shared with stacks that take the same."""
        config = self.detector.config
        key = (self.detector.roles, self.fields, config.timestep, config.draws, config.standardize)
        if key not in cache:
            with torch.no_grad():
                cache[key] = self.detector.inputs(batch)
        return cache[key]

    def step(self, inputs: Inputs, picked: torch.Tensor, epoch: int, done: float) -> None:
        """Learn from a batch of samples; ``done`` is the share of the epoch's steps so far."""
        self._rates = [
            learning_rate(state.run.config, epoch, done, state.figures) for state in self.states
        ]
        groups = None if self._groups is None else self._groups[picked]
        losses = self.learner.step(inputs, self._labels[:, picked], self._rates, groups)
        self._loss += losses * len(picked)

    def judge(self, inputs: Inputs) -> None:
        """Judge a batch of validation."""
        self._judged.append(self.learner.judge(inputs))

    def end_epoch(self, epoch: int, seconds: float) -> None:
        """Give every run its epoch's figures."""
        losses = (self._loss / self._labels.shape[1]).tolist()
        judged = torch.cat(self._judged, 1).cpu().numpy()
        for row, state in enumerate(self.states):
            record = {
                "epoch": float(epoch),
                "lr": self._rates[row],
                "train_loss": losses[row],
                "seconds": seconds,
            }
            state.add(record, judged[row], self.learner.snapshot(row))
        self._loss.zero_()
        self._judged.clear()

    def save(self) -> None:
        """Keep all that is needed to go on after a kill."""
        for row, state in enumerate(self.states):
            if state.failure is None:
                self._save(row, state)

    def keep(self, name: str) -> None:
        """Keep every run's detector as it now is, in a file of its own."""
        for row, state in enumerate(self.states):
            if state.failure is None:
                detector = self.learner.write_back(row, self.learner.snapshot(row))
                save_detector(detector, state.folder.path / name)

    def close_complete(self) -> None:
        """Keep the runs that are complete, and go on without them."""
        staying = [row for row, state in enumerate(self.states) if not state.complete]
        for row, state in enumerate(self.states):
            if row not in staying and state.failure is None:
                self._save(row, state)
        if len(staying) < len(self.states):
            self.states = [self.states[row] for row in staying]
            if staying:
                self.learner.keep(staying)
            self._labels, self._loss = self._labels[staying], self._loss[staying]

    def _save(self, row: int, state: RunState) -> None:
        state.progress.state = self.learner.state(row)
        state.progress.steps = self.learner.optimizer.steps
        detector = self.learner.write_back(row, state.progress.best)
        state.folder.save(state.progress, detector)


@dataclass
class SharedBatches:
    """Stacks that see the same batches in the same order.

    Args:
        config: of one of its runs: batch, data seed, views, augmentation and epochs are
            those of all.
        samples: of training.
        start: epochs that are done.
        groups: the runs of each stack.
        parameters: that learn, of all of them.
    """

    config: TrainConfig
    samples: Samples
    start: int
    groups: list[list[RunState]] = field(default_factory=list)
    parameters: int = 0

    @property
    def samples_left(self) -> int:
        """Samples that are still to be learnt from."""
        return len(self.samples) * (self.config.epochs - self.start)


def arrange(states: Iterable[RunState]) -> list[SharedBatches]:
    """Runs that are not complete, by the batches and the stack that they can share."""
    all_shared: list[SharedBatches] = []
    latest: dict[object, SharedBatches] = {}
    stacks: dict[object, list[RunState]] = {}
    for state in states:
        if state.complete or state.is_fitted:
            continue
        run, config = state.run, state.run.config
        start = state.progress.epoch
        size = state.parameters
        rows = _digest(run.train.plain, run.train.views)
        seen = (config.data_seed, config.takes_views, config.augment, pixels_of(config))
        key = (rows, config.batch, config.takes_pairs, *seen, config.epochs, start)
        shared = latest.get(key)
        if shared is None or shared.parameters + size > SHARED_PARAMETERS:
            shared = latest[key] = SharedBatches(config, run.train, start)
            all_shared.append(shared)
        shared.parameters += size
        shape = (id(shared), _shape(config), run.fields, _digest(run.val.plain))
        if can_stack(run.detector, config) and shape in stacks:
            stacks[shape].append(state)
        else:
            stacks[shape] = [state]
            shared.groups.append(stacks[shape])
    return all_shared


def fit(state: RunState, train: FeatureTable, val: FeatureTable) -> None:
    """Train a run whose classifier takes all training vectors at once."""
    run, detector = state.run, state.run.detector.eval()
    assert isinstance(detector, Detector)  # no decoder is fitted

    def over(table: FeatureTable, places: NDArray, what: Any) -> torch.Tensor:
        batches = table.batches(pieces(places), detector.fields)
        with torch.no_grad():
            return torch.cat([what(batch) for batch in batches])

    vectors = over(train, run.train.plain, detector.vectors)
    detector.classifier.fit(vectors, torch.from_numpy(run.train.labels).to(vectors.device))
    margins = over(val, run.val.plain, detector.margins).cpu().numpy()
    state.add({"epoch": 1.0}, margins[:, None], torch.empty(0))
    if state.failure is None:
        state.folder.save(state.progress, detector)


def judge_all(stacks: Sequence[Stack], val: FeatureTable, batch: int) -> None:
    """Score validation, each batch read once for the stacks that share it.

    Args:
        stacks: of runs.
        val: the rows.
        batch: of training; as many rows at least, or as many as a head scores together.
    """
    together: dict[bytes, list[Stack]] = {}
    for stack in stacks:
        together.setdefault(_digest(stack.val), []).append(stack)
    for group in together.values():
        size = max(batch, *(stack.detector.scored_together for stack in group))
        order = pieces(group[0].val, size)
        fields = sorted({name for stack in group for name in stack.val_fields})
        for values in val.batches(order, fields):
            cache: Cache = {}
            for stack in group:
                stack.judge(stack.inputs(values, cache))


def _shape(config: TrainConfig) -> str:
    """What runs of one stack have in common."""
    alike = replace(
        config, seed=0, lr=1.0, min_lr=0.0, weight_decay=0.0, momentum=0.0, warmup_lr=0.0
    )
    return repr(alike.to_json())


def _digest(*arrays: NDArray) -> bytes:
    found = hashlib.sha256()
    for array in arrays:
        found.update(len(array).to_bytes(8, "big") + array.tobytes())
    return found.digest()

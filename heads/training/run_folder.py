"""Writing a run's folder while it trains, so that a kill at any moment costs little."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from clare.advice import Name
from clare.bootstrap import USUAL, Figure, resample
from clare.errors import InputError
from clare.files import write_durably
from clare.foreign import parse_json
from clare.heads.data.leakage import Seen
from clare.heads.detector import save_detector
from clare.heads.metrics.measure import best_threshold, measure
from clare.heads.metrics.predictions import Predictions, write_predictions
from clare.heads.model import Model
from clare.heads.runs.record import (
    BEST,
    CALIBRATION_PREDICTIONS,
    CONFIG,
    CURVES,
    LAST,
    LOG,
    SEEN,
    VAL_PREDICTIONS,
    Checkpoint,
    Epoch,
    RunRecord,
    Validation,
    read_record,
    read_seen,
    write_history,
    write_record,
    write_seen,
    write_validation,
)
from clare.heads.training.boards import Board, open_board
from clare.models.hub import file_sha256
from clare.models.weights import read_header, read_tensors
from clare.store.row import Row
from clare.typed_json import from_json, to_json

ANOTHER_FOLDER = Name("another folder", "out")
"""What mends that a run's folder is taken."""

_STATE = "clare_training"
_CHANGES = ("versions", "store", "fakes", "command")
"""Parts of a run's record that may differ when it is resumed; rows say what fakes says."""


@dataclass
class Progress:
    """How far a run is; what `RunFolder.save` keeps and `RunFolder.load` gives back.

    Args:
        history: one record an epoch.
        best_epoch: the epoch whose parameters are the best so far; 0 before any.
        best: their values, flat.
        judged: (n, …) of the validation samples at that epoch, the margin first.
        steps: optimiser steps so far.
        state: the learner's state.
    """

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    judged: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    steps: int = 0
    state: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return len(self.history)


class RunFolder:
    """The folder of one run.

    Args:
        path: made if it is not there.
        record: what its ``config.json`` holds.
        boards: where figures go too; see `open_board`.

    Raises:
        InputError: the folder is a file, or holds something else, or a run with another
            configuration.
    """

    def __init__(self, path: Path, record: RunRecord, boards: Sequence[str] = ()) -> None:
        self.path = path
        self.record = record
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file", Name("a folder", "out"))
        if (path / CONFIG).exists():
            there = read_record(path)
            require_same_record(there, record, path)
            self.record = replace(record, command=there.command or record.command)
        elif path.exists() and any(path.iterdir()):
            raise InputError(f"{path} is not empty and no run", ANOTHER_FOLDER)
        self._named = boards
        self._boards: list[Board] = []

    def begin(self, seen: Seen) -> None:
        """Write what is known before training; of a resumed run, where its store is now."""
        if (self.path / LAST).exists() or (self.path / SEEN).exists():
            require_same_rows(self.path, seen)
        write_record(self.path, self.record)
        write_seen(self.path, seen)
        self._boards = [open_board(name, self.path, self.record) for name in self._named]

    def log(self, line: str) -> None:
        """Add a line, with the time, to ``run.log``."""
        self.path.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with (self.path / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {line}\n")

    def add_epoch(self, history: Sequence[Epoch]) -> None:
        """Note the last epoch of a history."""
        last = history[-1]
        write_history(self.path, history)
        self.log(", ".join(f"{name} {value:.6g}" for name, value in last.items()))
        for board in self._boards:
            board.add(history)

    def save(self, progress: Progress, best: Model) -> None:
        """Keep the best detector, and all that is needed to go on after a kill."""
        save_detector(best, self.path / BEST)
        tensors = {f"state.{name}": value.cpu().clone() for name, value in progress.state.items()}
        tensors["best"] = progress.best.cpu().clone()
        tensors["judged"] = torch.from_numpy(progress.judged.copy())
        known = Checkpoint(progress.history, progress.best_epoch, progress.steps)
        data = safetensors.torch.save(tensors, {_STATE: json.dumps(to_json(known))})
        write_durably(self.path / LAST, data)

    def load(self) -> Progress | None:
        """What `save` kept; None where nothing was.

        Raises:
            InputError: the file is damaged.
        """
        path = self.path / LAST
        if not path.exists():
            return None
        try:
            tensors = read_tensors(path)
            known = from_json(Checkpoint, parse_json(read_header(path)[_STATE]), path)
            return Progress(
                history=known.history,
                best_epoch=known.best_epoch,
                best=tensors["best"],
                # Earlier versions kept the margins alone.
                judged=(
                    tensors["judged"] if "judged" in tensors else tensors["margins"][:, None]
                ).numpy(),
                steps=known.steps,
                state={
                    name.removeprefix("state."): value
                    for name, value in tensors.items()
                    if name.startswith("state.")
                },
            )
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} can't be read ({error})", f"remove {self.path} and train again"
            ) from error

    def finish(
        self,
        progress: Progress,
        rows: Sequence[Row],
        labels: NDArray[np.int64],
        apart: NDArray[np.bool_],
    ) -> Validation:
        """Measure the best epoch on the rows that choose, and close the folder.

        Args:
            progress: of the run.
            rows: (n,) of validation.
            labels: (n,) theirs.
            apart: (n,) which of them choose nothing: their scores are kept for calibration.
        """
        from clare.heads.metrics.plots import plot_curves

        whole = replace(Predictions.of_rows(rows, progress.judged[:, 0]), label=labels)
        predictions, judged = whole.take(~apart), progress.judged[~apart]
        metrics: dict[str, Figure] = {}
        threshold = 0.0  # of a decoder that saw one label alone: a probability of one half
        if len(set(labels.tolist())) == 2:
            threshold = best_threshold(predictions.margin, predictions.label)
            metrics = measure(predictions, threshold)
        if "val_iou" in progress.history[-1]:
            metrics["iou"] = _mean_iou(predictions, judged[:, 2])
        found = Validation(progress.best_epoch, threshold, metrics, file_sha256(self.path / BEST))
        images = np.array([str(row.columns.get("path", row.sample_id)) for row in rows])
        for file, some in ((VAL_PREDICTIONS, ~apart), (CALIBRATION_PREDICTIONS, apart)):
            if some.any():
                named = images[some].tolist()
                write_predictions(whole.take(some), self.path / file, named, threshold)
        plot_curves(progress.history, self.path / CURVES)
        name, figure = found.chief
        self.log(
            f"done: epoch {found.epoch} is the best, validation {name} {figure.value:.4f} on the "
            "rows that it and the threshold were chosen on"
        )
        for board in self._boards:
            board.close()
        write_validation(self.path, found)
        return found


def _mean_iou(predictions: Predictions, iou: NDArray[np.float64]) -> Figure:
    """The mean over rows with a mask that marks something, its interval over clusters."""
    known = np.flatnonzero(np.isfinite(iou))
    label, cluster = predictions.label[known], predictions.cluster[known]
    draws = [weights @ iou[known] / weights.sum(1) for weights in resample(label, cluster, USUAL)]
    return Figure.of(
        float(iou[known].mean()), np.concatenate(draws) if draws else np.empty(0), len(known)
    )


def require_same_record(there: RunRecord, wanted: RunRecord, path: Path) -> None:
    """Refuse a run that was begun otherwise."""
    old, new = to_json(there), to_json(wanted)
    old, new = old | old.pop("config"), new | new.pop("config")
    differing = [name for name in new if name not in _CHANGES and old[name] != new[name]]
    if differing:
        named = ", ".join(f"{name} was {old[name]} and is {new[name]}" for name in differing[:3])
        raise InputError(f"{path} holds another run ({named})", ANOTHER_FOLDER)


def require_same_rows(path: Path, seen: Seen) -> None:
    """Refuse a run that was begun on other rows, which as many rows of another store are."""
    if not read_seen(path).is_of(seen):
        raise InputError(f"{path} was trained on other rows than the store has now", ANOTHER_FOLDER)

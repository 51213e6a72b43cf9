"""Writing a run's folder while it trains, so that a kill at any moment costs little."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray

from clare.errors import InputError
from clare.files import write_durably
from clare.heads.data.leakage import Seen
from clare.heads.detector import Detector, save_detector
from clare.heads.metrics.measure import best_threshold, measure
from clare.heads.metrics.predictions import Predictions, write_predictions
from clare.heads.runs.record import (
    BEST,
    CONFIG,
    CURVES,
    HISTORY,
    LAST,
    LOG,
    SEEN,
    VAL_METRICS,
    VAL_PREDICTIONS,
    RunRecord,
    read_seen,
)
from clare.store.index import Row
from clare.typed_json import to_json

_STATE = "clare_training"
_CHANGES = ("versions", "store", "fakes")
"""Parts of a run's record that may differ when it is resumed; rows say what fakes says."""

Epoch = dict[str, float]
"""One line of the history."""


@dataclass
class Progress:
    """How far a run is; what `RunFolder.save` keeps and `RunFolder.load` gives back.

    Args:
        history: one record an epoch.
        best_epoch: the epoch whose parameters are the best so far; 0 before any.
        best: their values, flat.
        margins: (n,) of the validation samples at that epoch.
        steps: optimiser steps so far.
        state: the learner's state.
    """

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    margins: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
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
        tensorboard: whether figures go to TensorBoard's files too.

    Raises:
        InputError: the folder is a file, or holds something else, or a run with another
            configuration; or TensorBoard is not installed.
    """

    def __init__(self, path: Path, record: RunRecord, *, tensorboard: bool = False) -> None:
        self.path = path
        self.record = record
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; name a folder with --out")
        if (path / CONFIG).exists():
            require_same_record(RunRecord.read(path), record, path)
        elif path.exists() and any(path.iterdir()):
            raise InputError(f"{path} is not empty and no run; name another folder with --out")
        self._board = _board(path) if tensorboard else None

    def begin(self, seen: Seen) -> None:
        """Write what is known before training; of a run that is gone on with, where its store is.

        Args:
            seen: what the run, and those that it begins from, are trained and chosen on.

        Raises:
            InputError: the run was begun on other rows.
        """
        if (self.path / LAST).exists() or (self.path / SEEN).exists():
            require_same_rows(self.path, seen)
        write_durably(self.path / CONFIG, json.dumps(self.record.to_json(), indent=2).encode())
        _write(self.path / SEEN, json.dumps(seen.to_json()))

    def log(self, line: str) -> None:
        """Add a line, with the time, to ``run.log``."""
        self.path.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with (self.path / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {line}\n")

    def add_epoch(self, history: Sequence[Epoch]) -> None:
        """Note the last epoch of a history."""
        last = history[-1]
        _write(self.path / HISTORY, _csv(history))
        self.log(", ".join(f"{name} {value:.6g}" for name, value in last.items()))
        if self._board is not None:
            for name, value in last.items():
                self._board.add_scalar(name, value, int(last["epoch"]))
            self._board.flush()

    def save(self, progress: Progress, best: Detector) -> None:
        """Keep the best detector, and all that is needed to go on after a kill.

        Args:
            progress: how far the run is.
            best: the detector with the parameters ``progress.best``.
        """
        save_detector(best, self.path / BEST)
        tensors = {f"state.{name}": value.cpu().clone() for name, value in progress.state.items()}
        tensors["best"] = progress.best.cpu().clone()
        tensors["margins"] = torch.from_numpy(progress.margins.copy())
        known = {
            "history": progress.history,
            "best_epoch": progress.best_epoch,
            "steps": progress.steps,
        }
        data = safetensors.torch.save(tensors, {_STATE: json.dumps(known)})
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
            tensors = safetensors.torch.load_file(path)
            with safetensors.safe_open(path, "pt") as opened:
                known = json.loads(opened.metadata()[_STATE])
            return Progress(
                history=known["history"],
                best_epoch=known["best_epoch"],
                best=tensors["best"],
                margins=tensors["margins"].numpy(),
                steps=known["steps"],
                state={
                    name.removeprefix("state."): value
                    for name, value in tensors.items()
                    if name.startswith("state.")
                },
            )
        except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} can't be read ({error}); remove {self.path} and train again"
            ) from error

    def finish(
        self, progress: Progress, rows: Sequence[Row], labels: NDArray[np.int64]
    ) -> dict[str, Any]:
        """Measure the best epoch on validation, and close the folder.

        Args:
            progress: of the finished run; its best detector is saved already.
            rows: (n,) of validation.
            labels: (n,) theirs, shuffled ones in the control.

        Returns:
            What ``val_metrics.json`` holds.
        """
        from clare.heads.metrics.plots import plot_curves

        predictions = replace(Predictions.of_rows(rows, progress.margins), label=labels)
        threshold = best_threshold(predictions.margin, predictions.label)
        metrics = to_json(measure(predictions, threshold))
        found = {"epoch": progress.best_epoch, "threshold": threshold, "metrics": metrics}
        write_predictions(predictions, self.path / VAL_PREDICTIONS)
        plot_curves(progress.history, self.path / CURVES)
        auc = metrics["auc"]["value"]
        self.log(
            f"done: epoch {progress.best_epoch} is the best, validation AUC {auc:.4f} on the rows "
            "that it and the threshold were chosen on"
        )
        if self._board is not None:
            self._board.close()
        write_durably(self.path / VAL_METRICS, json.dumps(found, indent=2).encode())
        return found


def require_same_record(there: RunRecord, wanted: RunRecord, path: Path) -> None:
    """Refuse a run that was begun otherwise.

    Args:
        there: the record in the folder.
        wanted: the record as it would be written now.
        path: the folder.

    Raises:
        InputError: they differ; the message names what differs.
    """
    old, new = there.to_json(), wanted.to_json()
    old, new = old | old.pop("config"), new | new.pop("config")
    differing = [name for name in new if name not in _CHANGES and old.get(name) != new[name]]
    if differing:
        named = ", ".join(
            f"{name} was {old.get(name)} and is {new[name]}" for name in differing[:3]
        )
        raise InputError(f"{path} holds another run ({named}); name another folder with --out")


def require_same_rows(path: Path, seen: Seen) -> None:
    """Refuse a run that was begun on other rows, which as many rows of another store are.

    Args:
        path: the run's folder.
        seen: what it would be trained and chosen on now.

    Raises:
        InputError: the rows differ, or the record of them is damaged.
    """
    there = read_seen(path / SEEN)
    # Runs of older versions did not tell rows of training from rows of validation.
    pairs = [(there.trained, seen.trained), (there.chosen, seen.chosen)]
    if not there.chosen:
        pairs = [(there.trained, seen.join(Seen(seen.chosen)).trained)]
    if any(_filled(old) != _filled(new) for old, new in pairs):
        raise InputError(
            f"{path} was trained on other rows than --store has now; name another folder with --out"
        )


def _filled(ties: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    return {kind: names for kind, names in ties.items() if names}


def _board(path: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "TensorBoard is not installed: pip install 'clare-features[tensorboard]'"
        ) from error
    return SummaryWriter(str(path))


def _csv(history: Sequence[Epoch]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole; it can be made again, so it need not survive a power loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f"{path.suffix}.partial")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)

"""What a person sees while `clare train-head` or `clare sweep` runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import TaskID

from clare.cli.views.console import messages, progress_bar
from clare.heads.training.run_folder import Epoch
from clare.heads.training.trainer import Observer, Plan
from clare.wording import size

LOG_SECONDS = 30
"""A log file gets a line of progress this often; a terminal has the bar."""


class TrainView(Observer):
    """Progress on standard error; use it as a context.

    Args:
        epochs: whether every epoch is printed; a sweep prints finished runs alone.
    """

    def __init__(self, *, epochs: bool = True) -> None:
        self._bar = progress_bar()
        self._epochs = epochs
        self._task: TaskID | None = None
        self._label = ""
        self._logged = time.monotonic()

    def __enter__(self) -> TrainView:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.stop()
        if kind is KeyboardInterrupt:
            again = "with --resume RUN in place of its options" if self._epochs else "again"
            messages.print(f"clare: interrupted; run the command {again} to continue")

    def busy(self, what: str) -> None:
        """Show what takes a while."""
        self._show(what, 0, None)

    def planned(self, plan: Plan) -> None:
        """Say what will be trained and where the features go, before anything is read."""
        counts = "; ".join(
            f"{split} {rows['real']} real, {rows['fake']} fake" for split, rows in plan.rows.items()
        )
        messages.print(counts)
        for field in plan.fields:
            places = {"device": "on the device", "host": "in memory", "disk": "streamed from disk"}
            messages.print(f"{field.field}: {size(field.bytes)}, {places[field.place]}")
        if plan.runs == 1:
            messages.print(f"{plan.parameters[0]:,} parameters learn")
        else:
            messages.print(f"{plan.runs} runs to train{_together(plan.together)}")
        if plan.resumed:
            messages.print(f"going on after {plan.resumed} epochs")
        for note in plan.notes:
            messages.print(note, style="bold yellow")

    def loading(self, done: int, total: int) -> None:
        """Show the mebibytes of features that are in memory."""
        self._show("reading features, MiB", done >> 20, total >> 20)

    def trained(self, done: int, total: int) -> None:
        """Show the images learnt from."""
        self._show("training", done, total)

    def testing(self, what: str, done: int, total: int) -> None:
        """Show the test rows that are scored."""
        self._show(what, done, total)

    def epoch(self, run: Path, record: Epoch) -> None:
        """Print an epoch's figures."""
        if self._epochs:
            loss = f"loss {record['train_loss']:.4f}, " if "train_loss" in record else ""
            messages.print(
                f"epoch {record['epoch']:.0f}: {loss}validation loss {record['val_loss']:.4f}, "
                f"AUC {record['val_auc']:.4f}"
            )

    def finished(self, run: Path, result: Mapping[str, Any]) -> None:
        """Say of a sweep's run that it is done."""
        if not self._epochs:
            auc = result["metrics"]["auc"]["value"]
            messages.print(f"{run}: epoch {result['epoch']}, validation AUC {auc:.4f}")

    def _show(self, label: str, done: int, total: int | None) -> None:
        if self._task is None or self._label != label:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task, self._label = self._bar.add_task(label, total=total), label
        self._bar.update(self._task, completed=done, total=total)
        if not messages.is_terminal and time.monotonic() - self._logged > LOG_SECONDS:
            self._logged = time.monotonic()
            messages.print(f"{label}: {done} of {total if total is not None else '?'}")


def _together(sizes: Sequence[int]) -> str:
    """How many runs take their steps with how many others."""
    groups = Counter(size for size in sizes if size > 1)
    parts = [f"{count} x {size} step together" for size, count in sorted(groups.items())[::-1]]
    alone = sum(size == 1 for size in sizes)
    return "".join(f", {part}" for part in [*parts, *([f"{alone} alone"] if alone else [])])

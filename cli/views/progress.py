"""What a person sees while `clare extract`, `clare train-head` or `clare sweep` runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Self

from rich.progress import TaskID

from clare.advice import Notice
from clare.cli.command import loudness
from clare.cli.views.console import console, messages, progress_bar, warn
from clare.cli.views.table import table
from clare.heads.runs.record import Epoch, Validation
from clare.heads.training import trainer
from clare.models.backbones import remark_on
from clare.pipeline.extraction import plan as extraction
from clare.pipeline.extraction.loop import ExtractReport
from clare.wording import counted, duration, name_rows, size, time_range

SHOWN_FAILURES = 20
LOG_SECONDS = 30
"""A log file gets a line of progress this often; a terminal has the bar."""


class _View:
    """Progress on standard error, a context."""

    def __init__(self, *, remaining: bool = True) -> None:
        self._bar = progress_bar(remaining=remaining)
        self._lock = Lock()
        self._task: TaskID | None = None
        self._label = ""
        self._logged = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _show(self, label: str, done: int, total: int | None, detail: str = "") -> None:
        with self._lock:  # rows are told by the thread that writes them
            if self._task is None or self._label != label:
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task, self._label = self._bar.add_task(label, total=total), label
        self._bar.update(self._task, detail=detail, completed=done, total=total)
        if not messages.is_terminal and time.monotonic() - self._logged > LOG_SECONDS:
            self._logged = time.monotonic()
            of = "" if total is None else f" {done} of {total}"
            messages.print(f"{label}{of}{detail}")


class ExtractView(_View, extraction.Observer):
    """What is seen of an extraction; its results go to standard output."""

    def __init__(self) -> None:
        super().__init__(remaining=False)
        self._pending = 0
        self._before: dict[str, int] = {}
        self._detail = ""
        self._left: tuple[float, float] | None = None
        self._began = time.monotonic()
        self._told = 0

    def indexing(self, done: int, total: int) -> None:
        """Image headers were read."""
        self._show("reading headers", done, total)

    def absent(self, protocol: str, reasons: Mapping[str, str]) -> None:
        """Say what of a protocol is not at hand."""
        if reasons:
            first = next(iter(reasons.values()))
            warn(f"{protocol} goes on without {', '.join(reasons)}: {first}")

    def noticed(self, notice: Notice) -> None:
        """Say what was taken for granted of the images, and what may spoil the experiment."""
        warn(notice)

    def loading_models(self, features: Sequence[str]) -> None:
        """Say that the models are being loaded, which takes a while."""
        self._show(f"loading models for {', '.join(features)}", 0, None)

    def reading(self, subset: str, done: int, total: int) -> None:
        """Show the files hashed."""
        self._show(f"{subset}: looking at files", done, total)

    def planned(self, plan: extraction.Plan) -> None:
        """Say what the run will cost, before it starts."""
        self._pending, self._began = plan.pending, time.monotonic()
        for name, key in plan.fingerprints.items():
            messages.print(f"{key}: micro-batches of {plan.micro_batches[name]}")
        if remark := remark_on(plan.backbone):
            warn(remark)
        if not plan.pending:
            console.print(f"{plan.rows} rows, nothing is missing")
            return
        messages.print(
            f"{plan.pending} of {plan.rows} rows to do: {size(plan.disk)} of disk "
            f"({size(plan.free)} free)"
        )

    def extracting(self, subset: str, rows: int, failures: int) -> None:
        """Show the rows that are on disk."""
        self._before[subset] = rows
        self._detail = f", {subset}" + (f", {failures} failed" if failures else "")
        if messages.is_terminal:
            self._show_rows()
        else:
            self._log_shard()

    def time_left(self, least: float, most: float) -> None:
        """Say how long it will take as soon as that is known, and mend it from then on."""
        if self._left is None:
            messages.print(f"{time_range(least, most)} to go")
        self._left = (least, most)
        if messages.is_terminal:
            self._show_rows()

    def _show_rows(self) -> None:
        self._show("extracting", self._rows, self._pending, f"{self._detail}{self._time_left()}")

    def _log_shard(self) -> None:
        """Print a line where no bar is seen, as in the file of a job, once for each shard."""
        if (rows := self._rows) > self._told:
            self._told = rows
            rate = rows / max(time.monotonic() - self._began, 1e-9)
            of = f"{rows} of {self._pending} rows, {rate:.1f} rows/s"
            messages.print(f"{of}{self._detail}{self._time_left()}")

    @property
    def _rows(self) -> int:
        return sum(self._before.values())

    def _time_left(self) -> str:
        return f", {time_range(*self._left)} left" if self._left is not None else ""

    def waiting(self, subset: str, shards: int) -> None:
        """Say that another run holds the rest."""
        self._show(f"{subset}: another run works on the last {shards} shards", 0, None)

    def finished(self, report: ExtractReport) -> None:
        """Print what was done, and every kind of failure."""
        if loudness.verbose:
            for stage, seconds in report.stage_seconds.items():
                messages.print(f"{stage}: {duration(seconds)}", style="dim")
        if self._pending and not (report.rows or report.left or report.failures):
            console.print("other runs have done what was missing")
        if report.rows:
            rate = report.rows / report.seconds if report.seconds else 0.0
            console.print(
                f"{report.rows} rows in {duration(report.seconds)} ({rate:.1f} rows/s), "
                f"{len(report.failures)} failed"
            )
        if report.unmarked:
            masks = [f"{subset} {sample}" for subset, sample in sorted(report.unmarked)]
            said = f"{counted(len(masks), 'mask')} of fakes without a mark: {name_rows(masks)}"
            console.print(said, style="yellow", soft_wrap=True)
        if not report.failures:
            return
        kinds = Counter(reason.partition(":")[0] for reason in report.failures.values())
        console.print(table("failures", ("reason", "rows"), kinds.most_common()))
        shown = list(report.failures.items())[:SHOWN_FAILURES]
        console.print(
            table(
                None,
                ("subset", "image", "view", "reason"),
                [(*key, reason) for key, reason in shown],
                left=4,
            )
        )
        if len(report.failures) > len(shown):
            console.print(
                f"… and {len(report.failures) - len(shown)} more: `clare store info` lists them all"
            )


class TrainView(_View, trainer.Observer):
    """What is seen of a training, or of a sweep.

    Args:
        epochs: whether every epoch is printed; a sweep prints finished runs alone.
    """

    def __init__(self, *, epochs: bool = True) -> None:
        super().__init__()
        self._epochs = epochs

    def busy(self, what: str) -> None:
        """Show what takes a while."""
        self._show(what, 0, None)

    def planned(self, plan: trainer.Plan) -> None:
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
            warn(note)

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
            shown = {"IoU": record.get("val_iou"), "AUC": record.get("val_auc")}
            figures = [f"{name} {one:.4f}" for name, one in shown.items() if one is not None]
            messages.print(
                f"epoch {record['epoch']:.0f}: {loss}validation loss {record['val_loss']:.4f}, "
                f"{', '.join(figures)}"
            )

    def finished(self, run: Path, result: Validation) -> None:
        """Say of a sweep's run that it is done."""
        if not self._epochs:
            name, figure = result.chief
            messages.print(f"{run}: epoch {result.epoch}, validation {name} {figure.value:.4f}")


def _together(sizes: Sequence[int]) -> str:
    """How many runs take their steps with how many others."""
    groups = Counter(size for size in sizes if size > 1)
    parts = [f"{count} x {size} step together" for size, count in sorted(groups.items())[::-1]]
    alone = sum(size == 1 for size in sizes)
    return "".join(f", {part}" for part in [*parts, *([f"{alone} alone"] if alone else [])])

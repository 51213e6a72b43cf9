"""What a person sees while `clare extract` runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.progress import TaskID

from clare.cli.views.console import console, messages, progress_bar, table
from clare.pipeline.extraction.job import Observer, Plan
from clare.pipeline.extraction.loop import ExtractReport
from clare.pipeline.models.backbones import remark_on
from clare.wording import duration, size

SHOWN_FAILURES = 20
LOG_SECONDS = 30
"""A log file gets a line of progress this often; a terminal has the bar."""


class ExtractView(Observer):
    """Progress on standard error, results on standard output; use it as a context."""

    def __init__(self) -> None:
        self._bar = progress_bar()
        self._task: TaskID | None = None
        self._label = ""
        self._pending = 0
        self._before: dict[str, int] = {}
        self._logged = time.monotonic()

    def __enter__(self) -> ExtractView:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.stop()
        if kind is KeyboardInterrupt:
            messages.print(
                "clare: interrupted; finished shards are kept, run the same command to continue"
            )

    def _show(self, label: str, done: int, total: int | None) -> None:
        if self._task is None or self._label != label:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(label, total=total)
            self._label = label
        self._bar.update(self._task, completed=done, total=total)
        if not messages.is_terminal and time.monotonic() - self._logged > LOG_SECONDS:
            self._logged = time.monotonic()
            messages.print(f"{label}: {done} of {total if total is not None else '?'}")

    def indexing(self, done: int, total: int) -> None:
        """Image headers were read."""
        self._show("reading headers", done, total)

    def absent(self, protocol: str, reasons: Mapping[str, str]) -> None:
        """Say what of a protocol is not at hand."""
        if reasons:
            first = next(iter(reasons.values()))
            messages.print(
                f"{protocol} goes on without {', '.join(reasons)}: {first}", style="yellow"
            )

    def loading_models(self, features: Sequence[str]) -> None:
        """Say that the models are being loaded, which takes a while."""
        self._show(f"loading models for {', '.join(features)}", 0, None)

    def reading(self, subset: str, done: int, total: int) -> None:
        """Show the files hashed."""
        self._show(f"{subset}: looking at files", done, total)

    def planned(self, plan: Plan) -> None:
        """Say what the run will cost, before it starts."""
        self._pending = plan.pending
        for name, key in plan.fingerprints.items():
            messages.print(f"{key}: micro-batches of {plan.micro_batches[name]}")
        if remark := remark_on(plan.backbone):
            messages.print(remark, style="bold yellow")
        if not plan.pending:
            console.print(f"{plan.rows} rows, nothing is missing")
            return
        messages.print(
            f"{plan.pending} of {plan.rows} rows to do: {size(plan.disk)} of disk "
            f"({size(plan.free)} free), about {duration(plan.seconds or 0.0)}"
        )

    def extracting(self, subset: str, rows: int, failures: int) -> None:
        """Show the rows that are on disk."""
        done = sum(self._before.values()) - self._before.get(subset, 0) + rows
        self._before[subset] = rows
        failed = f", {failures} failed" if failures else ""
        self._show("extracting", done, self._pending)
        if self._task is not None:
            self._bar.update(self._task, description=f"extracting {subset}{failed}")

    def waiting(self, subset: str, shards: int) -> None:
        """Say that another run holds the rest."""
        self._show(f"{subset}: another run works on the last {shards} shards", 0, None)

    def finished(self, report: ExtractReport) -> None:
        """Print what was done, and every kind of failure."""
        if report.rows:
            rate = report.rows / report.seconds if report.seconds else 0.0
            console.print(
                f"{report.rows} rows in {duration(report.seconds)} ({rate:.1f} rows/s), "
                f"{len(report.failures)} failed"
            )
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

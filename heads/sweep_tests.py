"""Testing the runs of a sweep: one reading of the test rows, and no test twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clare.errors import ClareError
from clare.heads.evaluation import evaluate
from clare.heads.readings import Readings
from clare.heads.report import METRICS
from clare.heads.runs import VAL_METRICS
from clare.heads.sweep_table import Figures
from clare.heads.unseen import list_rows, with_label
from clare.store.feature_store import FeatureStore

_AS_USUAL: Mapping[str, Any] = {
    "split": "test",
    "protocol": None,
    "domains": [],
    "frames": None,
    "sampling": "even",
    "skipped": {},
    "seed": 0,
    "resamples": 1000,
}
"""What the report of a test says that was made as `SweepTests` makes it, of rows without gaps."""


class SweepTests:
    """Tests finished runs, one a call.

    A test that is in the run's folder already, of the same rows, is not made again. One that fails
    leaves the others alone.

    Args:
        store: the store.
        subsets: what to test on.
        device: a torch device.
        progress: called with what is being done, rows done and rows in all.

    Attributes:
        failures: why a run could not be tested, by folder.
    """

    def __init__(
        self,
        store: FeatureStore,
        subsets: Sequence[str],
        *,
        device: str = "cpu",
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self._store, self._subsets, self._device = store, list(subsets), device
        self._progress, self._readings = progress, Readings()
        self._counts: dict[str, tuple[int, int]] = {}
        self.failures: dict[Path, str] = {}

    def __call__(self, run: Path) -> Figures:
        """The means over the subsets of a run's figures; none where it can't be tested."""
        report = self._made(run)
        if report is None:
            try:
                report = evaluate(
                    run,
                    self._store,
                    self._subsets,
                    device=self._device,
                    progress=self._named(run),
                    readings=self._readings,
                ).report
            except ClareError as error:
                self.failures[run] = str(error)
                return {}
        figures: Figures = report["macro"]["subsets"]["frame"]
        return figures

    def _named(self, run: Path) -> Callable[[str, int, int], None] | None:
        progress = self._progress
        if progress is None:
            return None
        return lambda what, done, total: progress(f"{run.name}: {what}", done, total)

    def _made(self, run: Path) -> Mapping[str, Any] | None:
        """The report of a test that would come out the same."""
        try:
            report: dict[str, Any] = json.loads((run / METRICS).read_text("utf-8"))
            late = (run / METRICS).stat().st_mtime_ns >= (run / VAL_METRICS).stat().st_mtime_ns
            usual = all(report[name] == value for name, value in _AS_USUAL.items())
            same = report["store"] == str(self._store.path) and self._rows_stay(report)
            return report if late and usual and same else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # none there, of an older version, or damaged: a new one replaces it

    def _rows_stay(self, report: Mapping[str, Any]) -> bool:
        """Whether the store has as many test rows as the report is of."""
        if sorted(report["subsets"]) != sorted(self._subsets):
            return False
        for name, found in report["subsets"].items():
            beside = found["beside"]
            real = sum(self._count(pool)[0] for pool in beside or [name])
            if (found["real"], found["fake"]) != (real, self._count(name)[1]):
                return False
        return True

    def _count(self, subset: str) -> tuple[int, int]:
        """Real and fake test rows of a subset."""
        if subset not in self._counts:
            rows = list_rows(self._store, subset, "test")
            self._counts[subset] = (len(with_label(rows, 0)), len(with_label(rows, 1)))
        return self._counts[subset]

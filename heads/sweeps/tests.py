"""Testing the runs of a sweep: one reading of the test rows, and no test twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clare.advice import Name
from clare.bootstrap import Figures
from clare.errors import ClareError, InputError
from clare.heads.config import TrainConfig
from clare.heads.data.subsets import subsets_of, take_reals
from clare.heads.evaluation.batch_cache import BatchCache
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.evaluation.record import METRICS, PREDICTIONS, EvaluationRecord, read_evaluation
from clare.heads.evaluation.wanted import Asked, Wanted, list_wanted
from clare.heads.metrics.predictions import read_predictions
from clare.heads.runs.record import VAL_METRICS, read_record
from clare.heads.runs.tower import NOWHERE_ELSE, Places
from clare.heads.sweeps.training_rows import measure_training, read_training
from clare.progress import StepProgress
from clare.store.feature_store import FeatureStore

_AS_USUAL: Mapping[str, Any] = {
    "split": "test",
    "protocol": None,
    "domains": (),
    "frames": None,
    "sampling": "even",
    "skipped": {},
    "seed": 0,
    "resamples": 1000,
}
"""What the report of a test says that was made as `SweepTests` makes it, of rows without gaps."""

_OF_MAPS = {
    "iou": "iou",
    "f1": "pixel_f1",
    "f1_oracle": "pixel_f1_oracle",
    "ap": "pixel_ap",
    "false_area": "false_area",
}
"""Figures of a localiser's maps that are taken, by what they are called beside those of scores."""


def require_tests(
    store: FeatureStore, subsets: Sequence[str], configs: Iterable[TrainConfig]
) -> None:
    """Refuse to train runs that could not be tested on some subsets afterwards.

    Args:
        store: the store.
        subsets: to be tested on.
        configs: of the runs.

    Raises:
        InputError: there is none, or a run would have nothing to be tested on.
        StoreError: a subset is not there.
    """
    if not subsets:
        raise InputError("there is no subset to test on", Name("some", "evaluate"))
    settled, _ = take_reals(store, list(configs))
    kinds = {(one.train, one.reals, _finds_pixels(one)): one for one in settled}
    for (_, _, alone), config in kinds.items():
        try:
            trained = subsets_of(store, config)
        except InputError:
            continue  # training says so, in a sweep of this run alone
        list_wanted(store, Asked(list(subsets), alone=alone), (config.reals, trained))


def _finds_pixels(config: TrainConfig) -> bool:
    """Whether a run is a localiser, which may be tested on fakes alone."""
    return bool(config.detector.decoder)


def _has_baselines(report: EvaluationRecord) -> bool:
    """Whether what needs no training was measured; of maps, where a localiser saw no reals."""
    maps = report.masks.subsets.values() if report.masks is not None else ()
    return report.baselines is not None or any(one.baselines for one in maps)


class SweepTests:
    """Tests finished runs, one a call.

    A test that is in the run's folder already, of the same rows, is not made again. One that fails
    leaves the others alone.

    Args:
        store: the store.
        subsets: what to test on.
        device: a torch device.
        progress: called with what is being done, rows done and rows in all.
        baselines: whether what needs no training is measured too.
        training: whether the rows that a run was trained on are scored too.
        command: that asked for it, word by word; it is recorded.
        settings: where the weights of tuned towers are, if not where they were.

    Attributes:
        failures: why a run could not be tested, by folder.
    """

    def __init__(
        self,
        store: FeatureStore,
        subsets: Sequence[str],
        *,
        device: str = "cpu",
        progress: StepProgress | None = None,
        baselines: bool = False,
        training: bool = False,
        command: Sequence[str] = (),
        settings: Places = NOWHERE_ELSE,
    ) -> None:
        self._settings = settings
        self._store, self._device = store, device
        self._baselines, self._command, self._training = baselines, command, training
        self._subsets = tuple(dict.fromkeys(subsets))
        self._progress, self._cache = progress, BatchCache()
        self._wanted: dict[object, Wanted] = {}
        self.failures: dict[Path, ClareError] = {}

    def __call__(self, run: Path) -> Figures:
        """The means over the subsets of a run's figures; none where it can't be tested.

        Of a localiser those of its maps too: ``iou``, ``false_area``, ``pixel_f1``, ``pixel_ap``.
        """
        report = self._made(run)
        if report is None:
            try:
                report = evaluate(
                    run,
                    self._store,
                    self._subsets,
                    device=self._device,
                    progress=self._named(run),
                    cache=self._cache,
                    baselines=self._baselines,
                    command=self._command,
                    settings=self._settings,
                ).record
            except ClareError as error:
                self.failures[run] = error
                return {}
        if self._training:
            self._score_training(run)
        means = report.macro.subsets
        figures = dict(means.frame) if means is not None else {}
        if report.masks is not None:
            mean = report.masks.mean
            figures |= {called: mean[name] for name, called in _OF_MAPS.items() if name in mean}
        return figures

    def _score_training(self, run: Path) -> None:
        try:
            if read_training(run) is None:
                measure_training(
                    run,
                    self._store,
                    device=self._device,
                    progress=self._named(run),
                    cache=self._cache,
                    settings=self._settings,
                )
        except ClareError as error:
            self.failures[run] = error

    def _named(self, run: Path) -> StepProgress | None:
        progress = self._progress
        if progress is None:
            return None
        return lambda what, done, total: progress(f"{run.name}: {what}", done, total)

    def _made(self, run: Path) -> EvaluationRecord | None:
        """The report of a test that would come out the same."""
        try:
            report = read_evaluation(run)
            late = (run / METRICS).stat().st_mtime_ns >= (run / VAL_METRICS).stat().st_mtime_ns
            usual = all(getattr(report, name) == value for name, value in _AS_USUAL.items())
            same = report.store == str(self._store.path) and self._rows_stay(run, report)
            enough = _has_baselines(report) or not self._baselines
            return report if late and usual and same and enough else None
        except (ClareError, OSError):
            return None  # none there, of an older version, or damaged: a new one replaces it

    def _rows_stay(self, run: Path, report: EvaluationRecord) -> bool:
        """Whether a test of this run would be of the report's rows, beside the same reals."""
        if sorted(report.subsets) != sorted(self._subsets):
            return False
        wanted = self._wanted_by(run)
        for name, found in report.subsets.items():
            if found.beside != tuple(sorted(wanted.beside.get(name, ()))):
                return False
        scored = read_predictions(run / PREDICTIONS)
        columns = (scored.subset, scored.sample_id, scored.label)
        return sorted(zip(*(c.tolist() for c in columns), strict=True)) == sorted(
            (group, row.sample_id, row.columns["label"])
            for group, (_, _, rows) in wanted.rows.items()
            for row in rows
        )

    def _wanted_by(self, run: Path) -> Wanted:
        """The test rows of a run; listed once for all that were trained with the same reals."""
        record = read_record(run)
        trained = (record.reals, record.subsets)
        asked = Asked(self._subsets, alone=_finds_pixels(record.config))
        if (asked, trained) not in self._wanted:
            self._wanted[asked, trained] = list_wanted(self._store, asked, trained)
        return self._wanted[asked, trained]

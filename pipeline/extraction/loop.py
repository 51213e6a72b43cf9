"""Stage one's loop: pending shards -> decoded rows -> micro-batches -> whole shards on disk.

Three things run side by side: threads decode the next shards, the main thread feeds the models,
and one thread writes finished shards. A shard is taken by a claim, so any number of runs
may work on one store; a shard is written whole and journalled, so a run may die anywhere.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clare.errors import ClareError, LostClaimError
from clare.pipeline.extraction.batching import BatchRunner, BatchTooLargeError, Launched
from clare.pipeline.extraction.claims import Work, claim_shards, not_tried, pending_shards
from clare.pipeline.extraction.loading import LoadedShard, Loader, gather
from clare.pipeline.extraction.pace import DECODE, FORWARD, WRITE, Pace, stage_of
from clare.progress import Progress
from clare.stopping import patience
from clare.store.feature import Feature
from clare.store.feature_store import FeatureStore
from clare.store.spec import SHARD_ROWS

LOOKAHEAD = 2
"""Shards that are decoded, or wait to be written, beside the one that the models work on."""

POLL_SECONDS = 0.5
"""How often to look whether another run has finished, or dropped, the shards it took."""


class StrictFailureError(ClareError):
    """A row failed while ``strict`` was asked for."""


@dataclass
class ExtractReport:
    """What an extraction did.

    Args:
        store: folder of the feature store.
        fingerprints: extractor's label to the folder of its arrays in the store.
        rows: rows that this run journalled, failed ones included.
        failures: (subset, sample id, view) to the reason, of the rows that have no features now.
        unmarked: (subset, sample id) of fakes whose mask marks nothing.
        seconds: wall-clock seconds of the loop.
        stage_seconds: busy seconds a stage: ``decode`` (summed over threads), ``write``, and
            ``forward:<extractor>``.
        max_failures: share of the rows that was allowed to fail.
        left: shards that other runs are at, and that this one did not wait for.
    """

    store: Path
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    failures: dict[tuple[str, str, int], str] = field(default_factory=dict)
    unmarked: set[tuple[str, str]] = field(default_factory=set)
    seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)
    max_failures: float = 1.0
    left: int = 0

    @property
    def too_many_failed(self) -> bool:
        """Whether more rows failed than were allowed to."""
        return len(self.failures) > self.max_failures * self.rows

    def add(self, other: ExtractReport) -> None:
        """Count another subset's report into this one."""
        self.rows += other.rows
        self.left += other.left
        self.failures |= other.failures
        self.unmarked |= other.unmarked
        self.seconds += other.seconds
        for stage, seconds in other.stage_seconds.items():
            self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + seconds


def extract_subset(
    store: FeatureStore,
    subset: str,
    slots: Collection[int],
    features: Mapping[str, Feature],
    runners: Mapping[str, BatchRunner],
    loader: Loader,
    *,
    strict: bool = False,
    progress: Progress | None = None,
    pace: Pace | None = None,
    computed: Callable[[], None] | None = None,
    waiting: Callable[[int], None] | None = None,
    leave: Callable[[int], bool] = lambda shards: False,
    turn: AbstractContextManager[Any] | None = None,
    ending: threading.Event | None = None,
    report: ExtractReport | None = None,
) -> ExtractReport:
    """Bring rows of a subset into the store, for each extractor that lacks them.

    Args:
        store: an open store whose rows are assigned.
        subset: the subset to work on.
        slots: of the rows to work on; those of earlier manifests may have no file any more.
        features: from `clare.pipeline.extraction.claims.open_features`.
        runners: extractor's label to its batch runner.
        loader: decodes; the caller closes it.
        strict: stop at the first row that fails.
        progress: called with (rows journalled, rows that failed) after each shard.
        pace: is told what every micro-batch and every shard took.
        computed: called after each micro-batch.
        waiting: called with the number of shards that another run holds, while waiting for them.
        leave: whether to end where others have all the shards that are left, given how many; asked
            again and again while they do.
        turn: entered while the models work on a shard, where they work for several such calls.
        ending: asks for the end after the shard in hand, as a scheduler's warning does.
        report: what was done is added to it, so that it tells what was done before an end that
            was asked for too; a new one if left out.

    Raises:
        StrictFailureError: ``strict`` was asked for and a row failed.
        DiskSpaceError: the disk is full; what is journalled stays.
        StopAskedError: a scheduler asked for the end, and rows are left.
    """
    report = report or ExtractReport(store.path)
    report.left = 0
    began = time.perf_counter()
    pace = pace or Pace({}, 0, 1)
    most = LOOKAHEAD * len(runners)
    tried: set[tuple[int, str]] = set()
    lost: set[tuple[int, str]] = set()  # kept apart: what is lost early is not yet among the tried
    writer = _Writer(store, subset, report, progress, pace, most, lost.add)
    waited = 0.0
    wanted = np.unique(np.fromiter(slots, np.int64))
    try:
        with patience(ending) as stop:
            computer = _Computer(features, writer, report, strict, stop.check, pace, computed)
            while pending := not_tried(pending_shards(features, wanted), tried):
                stop.end()
                queue: deque[Work] = deque()
                claimed = False
                for work in claim_shards(pending, wanted, features, runners, loader, pace.share):
                    claimed = True
                    queue.append(work)
                    if len(queue) > LOOKAHEAD:
                        tried |= computer.compute(queue.popleft(), turn)
                    if stop.asked:
                        break
                while queue and not stop.asked:
                    tried |= computer.compute(queue.popleft(), turn)
                computer.finish()
                writer.drain()
                tried -= lost
                lost.clear()
                if not claimed:
                    stop.check()
                    if leave(len(pending)):
                        report.left = len(pending)
                        break
                    if waiting is not None:
                        waiting(len(pending))
                    waited = store.layout.claims.next_look(waited, POLL_SECONDS)
                    store.layout.claims.wait(waited)
                else:
                    waited = 0.0
    finally:
        writer.close()
        for feature in features.values():
            feature.release_all()
        report.seconds += time.perf_counter() - began
        for name, runner in runners.items():
            stage = stage_of(FORWARD, name)
            report.stage_seconds[stage] = report.stage_seconds.get(stage, 0.0) + runner.seconds
            runner.seconds = 0.0
    return report


class _Shard:
    """The values of one extractor for one shard, filled batch by batch."""

    def __init__(self, work: Work, runner: BatchRunner, feature: Feature, loaded: LoadedShard):
        self.work = work
        self.feature = feature
        self.runner = runner
        lacking = set(work.lacking[runner.extractor.label])
        self.offsets = sorted(lacking & loaded.inputs.keys())
        self.failed = {o: why for o, why in loaded.failed.items() if o in lacking}
        self.changed = {o: why for o, why in loaded.changed.items() if o in lacking}
        self.thumbnails = loaded.thumbnails
        self.missing = len(self.offsets)
        self.values = {
            name: np.zeros((SHARD_ROWS, *spec.shape), spec.dtype)
            for name, spec in feature.fields.items()
        }

    def take(self, offsets: Sequence[int], launched: Launched) -> None:
        """Keep the rows of a fetched batch; a row that is not finite failed."""
        values, finite = launched.fetch()
        for name, rows in values.items():
            self.values[name][offsets] = rows
        for offset, good in zip(offsets, finite, strict=True):
            if not good:
                self.failed[offset] = "values overflow the stored type, or are not numbers"
        self.missing -= len(offsets)


class _Computer:
    """Feeds the models, one micro-batch ahead of what it fetches."""

    def __init__(
        self,
        features: Mapping[str, Feature],
        writer: _Writer,
        report: ExtractReport,
        strict: bool,
        stop_if_asked: Callable[[], None],
        pace: Pace,
        computed: Callable[[], None] | None,
    ) -> None:
        self._pace = pace
        self._computed = computed
        self._stop_if_asked = stop_if_asked
        self._features = features
        self._writer = writer
        self._report = report
        self._strict = strict
        self._in_flight: deque[tuple[Launched, list[int], _Shard]] = deque()

    def compute(self, work: Work, turn: AbstractContextManager[Any] | None) -> set[tuple[int, str]]:
        """Launch every micro-batch of a shard; it is written once the last one is fetched.

        The extractors take turns, so that what each of them costs is soon known.

        Returns:
            The shard, with each extractor that it was computed for.
        """
        loaded = gather(work.loading)
        seconds = self._report.stage_seconds
        seconds[DECODE] = seconds.get(DECODE, 0.0) + loaded.seconds
        unusable = loaded.failed | loaded.changed
        if unusable and self._strict:
            offset, reason = next(iter(unusable.items()))
            raise StrictFailureError(f"{work.rows[offset].sample_id}: {reason}")
        self._writer.note_unmarked(work.rows[offset].sample_id for offset in loaded.unmarked)
        with nullcontext() if turn is None else turn:
            launches = deque(
                self._launch(
                    _Shard(work, runner, self._features[runner.extractor.label], loaded), loaded
                )
                for runner in work.runners
            )
            while launches:
                launch = launches.popleft()
                for _ in launch:
                    launches.append(launch)
                    break
        return {(work.shard, name) for name in work.lacking}

    def _launch(self, shard: _Shard, loaded: LoadedShard) -> Iterator[None]:
        """Launch the micro-batches of one extractor, one a step."""
        runner, name = shard.runner, shard.runner.extractor.label
        waiting = shard.offsets
        self._pace.skip(stage_of(FORWARD, name), len(shard.work.lacking[name]) - len(waiting))
        if not waiting:
            self._writer.submit(shard)
        while waiting:
            self._stop_if_asked()
            offsets = waiting[: runner.micro_batch]
            try:
                launched = runner.launch([loaded.inputs[o][name] for o in offsets])
            except BatchTooLargeError:
                self._fetch(keep=0)
                # From its start: a shard is made with one size of micro-batch.
                waiting, shard.missing = shard.offsets, len(shard.offsets)
                continue
            waiting = waiting[len(offsets) :]
            self._in_flight.append((launched, offsets, shard))
            self._fetch(keep=1)
            yield

    def finish(self) -> None:
        """Fetch what is still on the device."""
        self._fetch(keep=0)

    def _fetch(self, keep: int) -> None:
        while len(self._in_flight) > keep:
            launched, offsets, shard = self._in_flight.popleft()
            began = time.perf_counter()
            shard.take(offsets, launched)
            shard.runner.seconds += time.perf_counter() - began
            name = shard.runner.extractor.label
            self._pace.add(stage_of(FORWARD, name), len(offsets), *shard.runner.cost(launched))
            if self._computed is not None:
                self._computed()
            if not shard.missing:
                self._writer.submit(shard)


class _Writer:
    """One thread that makes shards durable, at most ``most`` arrays of them behind the models."""

    def __init__(
        self,
        store: FeatureStore,
        subset: str,
        report: ExtractReport,
        progress: Progress | None,
        pace: Pace,
        most: int,
        lost: Callable[[tuple[int, str]], None],
    ) -> None:
        self._lost = lost
        self._pace = pace
        self._most = most
        self._store = store
        self._subset = subset
        self._report = report
        self._progress = progress
        self._pool = ThreadPoolExecutor(1, "clare-write")
        self._pending: deque[Future[None]] = deque()

    def submit(self, shard: _Shard) -> None:
        """Hand over a finished shard; raises what went wrong with an earlier one."""
        self._pending.append(self._pool.submit(self._write, shard))
        while len(self._pending) > self._most:
            self._pending.popleft().result()

    def note_unmarked(self, samples: Iterable[str]) -> None:
        """Report fakes whose mask marks nothing."""
        self._report.unmarked |= {(self._subset, sample) for sample in samples}

    def drain(self) -> None:
        """Wait until all that was handed over is durable."""
        while self._pending:
            self._pending.popleft().result()

    def close(self) -> None:
        """Let what was handed over be written, and stop."""
        self._pool.shutdown()

    def _write(self, shard: _Shard) -> None:
        began, cpu = time.perf_counter(), time.thread_time()
        work, report = shard.work, self._report
        complete = set(shard.offsets) - set(shard.failed)
        try:
            if shard.thumbnails:
                self._store.write_thumbnails(self._subset, work.shard, shard.thumbnails)
            if complete or shard.failed:
                made_with = shard.runner.made_with()
                shard.feature.write_shard(
                    work.shard,
                    shard.values,
                    shard.failed,
                    made_with,
                    complete,
                    thumbnails=bool(shard.thumbnails),
                )
        except LostClaimError:  # another has it: whether he ends it, the next look at it will tell
            self._lost((work.shard, shard.runner.extractor.label))
            return
        finally:
            shard.feature.release(work.shard)
        spent, seconds = time.perf_counter() - began, report.stage_seconds
        seconds[WRITE] = seconds.get(WRITE, 0.0) + spent
        name = shard.runner.extractor.label
        stage, images = stage_of(WRITE, name), len(work.lacking[name])
        self._pace.add(stage, images, spent, time.thread_time() - cpu)
        for offset, reason in (shard.failed | shard.changed).items():
            row = work.rows[offset]
            report.failures.setdefault((self._subset, row.sample_id, row.view), reason)
        work.written += 1
        if work.written == len(work.runners):
            report.rows += len(work.rows)
        if self._progress is not None:
            self._progress(report.rows, len(report.failures))

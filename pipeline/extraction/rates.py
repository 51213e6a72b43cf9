"""What an image costs in each stage, each measured alone."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import count, cycle, islice

import numpy as np

from clare.errors import InputError
from clare.pipeline.extraction.batching import BatchRunner, BatchTooLargeError
from clare.pipeline.extraction.claims import open_features
from clare.pipeline.extraction.loading import Inputs, LoadedShard, Loader, gather
from clare.pipeline.extraction.pace import DECODE, FILES, FORWARD, READ, WRITE, stage_of
from clare.pipeline.extraction.store_rows import rows_of_samples
from clare.pipeline.extractor import Extractor
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Sample
from clare.store.feature import Feature
from clare.store.feature_store import FeatureStore
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec

GROUP = 32
"""Images that are looked at, or decoded, between two looks at the clock."""

WRITTEN = 8
"""Shards of each extractor that are written at most."""

EXTRACTION = "extraction"
"""In place of a stage: all of them together, as they run."""

_SUBSET = "write"
"""Name of the subset that is written."""


@dataclass(frozen=True)
class Rate:
    """What an image costs in one stage.

    Args:
        stage: ``files``, ``decode``, ``forward:NAME``, ``write``, ``read``, or `EXTRACTION`.
        images: that were measured, after those that warmed up.
        seconds: an image, the median.
        least: of all parts that were measured, likewise.
        most: of them.
        cpu: seconds of cores an image.
        batch: images a micro-batch, of a model.
        is_computed: whether it follows from those of the stages, for want of time.
    """

    stage: str
    images: int
    seconds: float
    least: float
    most: float
    cpu: float = 0.0
    batch: int | None = None
    is_computed: bool = False


def measure_repeatedly(
    stage: str, parts: Iterator[int], seconds: float, batch: int | None = None
) -> Rate:
    """Go on until the time is up; the first part warms up and does not count.

    Args:
        stage: what is measured.
        parts: does a part of the work a step, and says how many images it was; two at least.
        seconds: that it may take.
        batch: images a micro-batch.
    """
    began = time.perf_counter()
    next(parts)
    found: list[tuple[int, float]] = []
    before, cpu = time.perf_counter(), time.process_time()
    for images in parts:
        now = time.perf_counter()
        found.append((images, (now - before) / images))
        before = now
        if now - began > seconds:
            break
    images, each = sum(count for count, _ in found), [one for _, one in found]
    spent = (time.process_time() - cpu) / images
    return Rate(stage, images, statistics.median(each), min(each), max(each), spent, batch)


def endless(rows: Sequence[Row]) -> Iterator[Row]:
    """Rows over and over, each time under other names."""
    for time_round in count():
        for row in rows:
            yield replace(row, sample_id=f"{time_round}/{row.sample_id}")


def look_at_files(
    samples: Sequence[Sample], roots: Roots, views: int, seconds: float
) -> tuple[Rate, list[Row]]:
    """Hash files, each once, as an extraction does before it decodes the first.

    Returns:
        The cost of an image, and the rows of those that were looked at.
    """
    rows: list[Row] = []

    def parts() -> Iterator[int]:
        for first in range(0, len(samples), GROUP):
            some = samples[first : first + GROUP]
            rows.extend(rows_of_samples(some, roots, [], views=views))
            yield len(some)
        yield from again()

    def again() -> Iterator[int]:  # of very few images a second look has to do
        if len(samples) <= GROUP:
            rows_of_samples(samples, roots, [], views=views)
            yield len(samples)

    rate = measure_repeatedly(FILES, parts(), seconds)
    return rate, rows


def decode(
    open_loader: Callable[[], Loader],
    rows: Sequence[Row],
    extractors: Sequence[Extractor],
    seconds: float,
) -> tuple[Rate, list[dict[str, Inputs]]]:
    """Decode rows, over and over.

    Returns:
        The cost of a row, and what the extractors get of the first rows.

    Raises:
        InputError: no image can be used.
    """
    kept: list[dict[str, Inputs]] = []
    again = endless(rows)

    def parts(loader: Loader) -> Iterator[int]:
        def begin() -> list[Future[LoadedShard]]:
            return loader.start(dict(enumerate(islice(again, GROUP))), extractors)

        ahead = deque([begin(), begin()])
        while True:
            ahead.append(begin())
            loaded = gather(ahead.popleft())
            if not loaded.inputs:
                reason = next(iter((loaded.failed | loaded.changed).values()))
                raise InputError(f"no image can be used; of the first: {reason}")
            if len(kept) < GROUP:
                kept.extend(loaded.inputs.values())
            yield GROUP

    with closing(open_loader()) as loader:
        return measure_repeatedly(DECODE, parts(loader), seconds), kept


def forward(runner: BatchRunner, inputs: Sequence[Inputs], seconds: float) -> Rate:
    """Run a model, by micro-batches that fit both memory and the time."""
    runner.fit(inputs[0])
    again = cycle(inputs)
    if not runner.on_gpu and runner.micro_batch > 1:
        trial = BatchRunner(runner.extractor, "cpu", 1)
        began = time.perf_counter()
        trial.launch([inputs[0]]).fetch()
        if (time.perf_counter() - began) * runner.micro_batch > seconds:
            runner = trial

    def parts() -> Iterator[int]:
        ahead = None
        while True:
            with suppress(BatchTooLargeError):
                launched = runner.launch(list(islice(again, runner.micro_batch)))
                if ahead is not None:
                    yield len(ahead.fetch()[1])
                ahead = launched

    stage = stage_of(FORWARD, runner.extractor.label)
    return measure_repeatedly(stage, parts(), seconds, runner.micro_batch)


def write_and_read(
    store: FeatureStore,
    rows: Sequence[Row],
    extractors: Sequence[Extractor],
    thumbnail: bytes,
    seconds: float,
) -> tuple[Rate, Rate]:
    """Write shards of all extractors, then read rows of them in any order."""
    many = list(islice(endless(rows), WRITTEN * SHARD_ROWS))
    slots = [row.slot for row in store.assign_rows(_SUBSET, many)]
    features = open_features(store, _SUBSET, extractors)
    noise = np.random.default_rng(0)
    values = {
        name: {field: _noise(spec, noise) for field, spec in feature.fields.items()}
        for name, feature in features.items()
    }
    done = 0

    def write() -> Iterator[int]:
        nonlocal done
        for shard in range(WRITTEN):
            if thumbnail:
                store.write_thumbnails(_SUBSET, shard, dict.fromkeys(range(SHARD_ROWS), thumbnail))
            for name, feature in features.items():
                feature.claim(shard)
                feature.write_shard(shard, values[name], {}, {}, thumbnails=bool(thumbnail))
                feature.release(shard)
            done += SHARD_ROWS
            yield SHARD_ROWS

    written = measure_repeatedly(WRITE, write(), seconds)
    read = _read(features, slots[:done], noise)
    return written, measure_repeatedly(READ, read, seconds / 2)


def _noise(spec: FeatureSpec, noise: np.random.Generator) -> np.ndarray:
    """Values that no disk stores in less room."""
    data = noise.bytes(SHARD_ROWS * int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize)
    return np.frombuffer(data, spec.dtype).reshape(SHARD_ROWS, *spec.shape)


def _read(
    features: Mapping[str, Feature], slots: Sequence[int], noise: np.random.Generator
) -> Iterator[int]:
    readers = [feature.reader(name) for feature in features.values() for name in feature.fields]
    while True:
        some = noise.choice(slots, SHARD_ROWS, replace=False)
        for reader in readers:
            reader.read(some)
        yield SHARD_ROWS

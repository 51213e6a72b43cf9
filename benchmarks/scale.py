"""What the store's bookkeeping costs as subsets grow: rows of tiny fields, no models.

    python -m benchmarks.scale

Bookkeeping a shard is measured on the smallest and the largest store in turn, shard by shard:
taking it (what it lacks, its lock, its rows), and recording it. Everything else runs in a process
of its own for each size: seconds, and the memory that the process took at its peak. A ratio is how
many times as long the larger store takes: 10 where it grows as the rows do. Making a store is timed
once, without waiting for the disk. What the command `clare extract` does where all is done already
is measured last, on the same rows as images that are never read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.rounds import Facts, Race, Ratio
from benchmarks.script import Parts, Script, main
from clare.own_csv import csv_text
from clare.pipeline.extraction.store_rows import sample_columns
from clare.pipeline.manifests.sample import COLUMNS, Sample
from clare.store.feature import Feature
from clare.store.feature_store import FeatureStore, create_store, open_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

FIELD = FeatureSpec("clip_cls", (8,), "float32")
FINGERPRINT = Fingerprint("clip", 1, "00", {"model": "none"})
SHARDS = 100
LEFT = SHARDS + 2
"""Shards that are left pending, to be taken one after another, one to warm up."""

TASK = "task"
PART = "open 8 shards"
TASKS = ("open", PART, "pending", "info", "table", "verify", "verify --quick", "train")
MANY = "info of many subsets"
EXTRACT = "extract, all done"
SUBSET = "faces"
MODIFIED = 1_700_000_000_000_000_000
"""When each image was changed last, in nanoseconds."""


@dataclass(frozen=True)
class Sizes:
    rows: str = "10000,100000"
    subsets: int = 1000


def parts(sizes: Sizes, folder: Path) -> Parts:
    counts = sorted(int(size) for size in sizes.rows.split(","))
    stores = {f"{count:,} rows": folder / f"{count}.zarr" for count in counts}
    sizes_of = dict(zip(stores, counts, strict=True))
    making = {name: {"s": fill(path, sizes_of[name])} for name, path in stores.items()}
    for name, path in stores.items():
        making[name]["MiB on disk"] = disk_mib(path)
    yield Facts("making", making)
    smallest, *_, largest = stores
    yield bookkeeping({name: stores[name] for name in (smallest, largest)})
    for task in TASKS:
        yield apart(task, task, stores)
    many = {name: folder / f"{count}-many.zarr" for name, count in sizes_of.items()}
    for name, path in many.items():
        fill(path, sizes_of[name], sizes.subsets)
    yield apart(MANY, "info", many)
    for name, path in stores.items():
        lay_out(path, sizes_of[name])
    yield apart(EXTRACT, EXTRACT, stores)


def apart(title: str, task: str, stores: Mapping[str, Path]) -> Race:
    """A task on each store, a process each."""
    peaks: dict[str, float] = {}

    def way(name: str, path: Path) -> Callable[[], Mapping[str, float]]:
        def turn() -> Mapping[str, float]:
            found = in_own_process(task, path)
            peaks[f"{name}, MiB"] = max(found["mib"], peaks.get(f"{name}, MiB", 0))
            return {name: found["seconds"]}

        return turn

    ways = {name: way(name, path) for name, path in stores.items()}
    grown = [Ratio(one, other) for one, other in pairwise(stores)]
    share = 1 / (len(TASKS) + 3)
    return Race(title, ways, grown, share=share, warm=False, facts=lambda: peaks)


def disk_mib(path: Path) -> float:
    """What a folder's files take, in whole blocks."""
    return sum(file.stat().st_blocks for file in path.rglob("*")) * 512 / 2**20


def fill(path: Path, size: int, subsets: int = 1) -> float:
    """Make a store of so many rows, all but a few shards of each subset complete; seconds.

    Of several subsets, each has as many rows, and no shard is left pending.
    """
    began = time.perf_counter()
    store = create_store(path)
    store.declare(FINGERPRINT, [FIELD])
    names = [SUBSET] if subsets == 1 else [f"{SUBSET}{n:06d}" for n in range(subsets)]
    with mock.patch("os.fsync"):  # the disk is not what is measured
        for name in names:
            rows = store.assign_rows(name, list(make_rows(size // subsets, name)))
            shards = -(-len(rows) // SHARD_ROWS)
            complete(store, name, shards - LEFT if subsets == 1 else shards)
        store.write_assets(FINGERPRINT.key, {})
    return time.perf_counter() - began


def complete(store: FeatureStore, subset: str, shards: int) -> None:
    """Write the shards below this one that are pending."""
    feature = store.feature(subset, "clip")
    values = {FIELD.field: np.random.default_rng(0).normal(size=(SHARD_ROWS, 8)).astype("f4")}
    for shard in range(shards):
        if feature.claim(shard):
            feature.write_shard(shard, values, {}, {})
            feature.release(shard)


def make_samples(size: int, subset: str) -> Iterator[Sample]:
    """Frames of videos, twenty each, as a large data set has them."""
    for n in range(size):
        video = n // 20
        yield Sample(
            sample_id=f"{video:06d}/{n % 20:03d}",
            path=f"{subset}/{video:06d}/{n % 20:03d}.png",
            label=video % 2,
            subset=subset,
            split=("train", "train", "train", "val", "test")[video // 2 % 5],
            video_id=f"{video:06d}",
            source_ids=f"{video // 2:06d}",
            domain="ff",
            width=256,
            height=256,
            bytes=90_000 + n % 1000,
            format="png",
        )


def make_rows(size: int, subset: str) -> Iterator[Row]:
    """The rows that an extraction makes of `make_samples`."""
    for n, sample in enumerate(make_samples(size, subset)):
        columns = {**sample_columns(sample), "mtime_ns": MODIFIED}
        yield Row(sample_id=sample.sample_id, view=0, content=f"{n:064x}", columns=columns)


def lay_out(path: Path, size: int) -> None:
    """The images of a store, without bytes, and their manifest; all shards complete."""
    store, root = open_store(path), path.with_suffix(".images")
    with mock.patch("os.fsync"):
        complete(store, SUBSET, store.index(SUBSET).shards)
    lines = [COLUMNS]
    for sample in make_samples(size, SUBSET):
        file = root / sample.path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            opened.truncate(sample.bytes)
        os.utime(file, ns=(MODIFIED, MODIFIED))
        lines.append(tuple(getattr(sample, name) for name in COLUMNS))
    (root / f"{SUBSET}.csv").write_text(csv_text(lines))


def bookkeeping(stores: Mapping[str, Path]) -> Race:
    """A shard of one store and of the other in turn; the aim is at most 1.5 times as long."""
    ways: dict[str, Callable[[], Mapping[str, float]]] = {}
    for name, path in stores.items():
        feature = open_store(path).feature(SUBSET, "clip")
        ways[name] = shard_by_shard(name, feature)
    smallest, largest = stores
    return Race("bookkeeping a shard", ways, [Ratio(largest, smallest, 1 / 1.5)], rounds=SHARDS)


def shard_by_shard(name: str, feature: Feature) -> Callable[[], Mapping[str, float]]:
    pending = feature.pending()
    wanted = np.arange(SHARD_ROWS * (max(pending) + 1))
    values = {FIELD.field: np.zeros((SHARD_ROWS, 8), "f4")}
    waiting = iter(pending)

    def turn() -> Mapping[str, float]:
        shard = next(waiting)
        with mock.patch("os.fsync"):
            began = time.perf_counter()
            take_and_record(feature, shard, wanted, values)
            return {name: time.perf_counter() - began}

    return turn


def take_and_record(
    feature: Feature, shard: int, wanted: np.ndarray, values: Mapping[str, np.ndarray]
) -> None:
    """What an extraction does of a shard beside decoding it and running the models."""
    from clare.pipeline.extraction.claims import claim_shards

    class Loader:
        def start(self, rows: Any, extractors: Any) -> list[Any]:
            return []

    class Runner:
        extractor = None

    runners: Any = {"clip": Runner()}
    loader: Any = Loader()
    for work in claim_shards({shard: ["clip"]}, wanted, {"clip": feature}, runners, loader):
        feature.write_shard(work.shard, values, {}, {})
        feature.release(work.shard)


def in_own_process(task: str, store: Path) -> dict[str, float]:
    """Seconds and peak memory of a task, of which nothing is known yet."""
    words = [sys.executable, "-m", "benchmarks.scale", TASK, task, str(store)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(task: str, path: Path) -> dict[str, float]:
    """One task in this process; the libraries it needs are imported before the clock starts."""
    work = prepare(task, path)
    before = peak_mib()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "mib": peak_mib() - before}


def peak_mib() -> float:
    """The most memory that this process ever took; getrusage would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def prepare(task: str, path: Path) -> Any:
    """The task as a function without arguments."""
    if task == "open":
        return lambda: open_store(path).rows(SUBSET)
    if task == PART:
        shards, wanted = range(8), np.arange(8 * SHARD_ROWS)
        return lambda: open_store(path).feature(SUBSET, "clip", shards=shards).lacking(wanted)
    if task == "pending":
        store = open_store(path)
        store.rows(SUBSET)
        return lambda: store.feature(SUBSET, "clip").pending()
    if task == "table":
        return lambda: open_store(path).table()
    if task == "info":
        from clare.store.info import store_info

        return lambda: store_info(open_store(path))
    if task.startswith("verify"):
        from clare.store.maintenance.verify import verify_store

        return lambda: verify_store(path, quick=task != "verify")
    return all_done(path) if task == EXTRACT else until_training(path)


def all_done(path: Path) -> Any:
    """The whole of `clare extract` where nothing is left to do, but for loading the models."""
    from clare.models.runtime import choose_runtime
    from clare.pipeline.extraction.call import read_call
    from clare.pipeline.extraction.job import run_job
    from clare.pipeline.extraction.plan import Observer
    from clare.pipeline.extractors import find_extractor

    choose_runtime("cpu", "auto")  # both bring libraries
    find_extractor("clip")
    root = path.with_suffix(".images")
    settings: dict[str, Any] = {"features": ("clip",), "device": "cpu", "micro_batch": 1}
    how, source = read_call(path, manifest=root / f"{SUBSET}.csv", root=root, **settings)

    class Loaded:
        name, fields, fingerprint = "clip", (FIELD,), FINGERPRINT

    def work() -> None:
        with mock.patch("clare.pipeline.extraction.job.create_extractors", return_value=[Loaded()]):
            report = run_job(how, source.select(Observer()), Observer())
        if report.rows:
            raise SystemExit(f"{report.rows} rows were extracted, and all should have been there")

    return work


def until_training(path: Path) -> Any:
    """From the command to the first step of a linear head."""
    from clare.heads.config import create_config
    from clare.heads.training.trainer import Observer, train_run

    class BegunError(Exception):
        """The first step is done."""

    class UntilFirstStep(Observer):
        def trained(self, done: int, total: int) -> None:
            raise BegunError

    config = create_config({"fusion": "cls", "classifier": "linear", "epochs": 1, "batch": 4096})

    def work() -> None:
        out = Path(tempfile.mkdtemp(dir=path.parent))
        try:
            train_run(config, path, out, observer=UntilFirstStep())
        except BegunError:
            return
        raise SystemExit("training never began")

    return work


SCRIPT = Script(
    "scale", __doc__, parts, Sizes(), toy=Sizes("7000,8000", 10), full=Sizes("10000,100000,1000000")
)

if __name__ == "__main__":
    if sys.argv[1:2] == [TASK]:
        _, _, task, store = sys.argv
        print(json.dumps(measure(task, Path(store))))
    else:
        main(SCRIPT)

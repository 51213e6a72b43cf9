"""What the store's bookkeeping costs as subsets grow: rows of tiny fields, no models.

    python benchmarks/scale.py [--rows 10000,100000,1000000] [--folder DIR] [--json]

Bookkeeping a shard is measured on the smallest and the largest store in turn, shard by shard:
taking it (what it lacks, its lock, its rows), and recording it. Everything else runs in a process
of its own for each size: seconds, and the memory that the process took at its peak. ``growth`` is
the exponent over the largest step in size: 1 where ten times the rows take ten times as long.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table

from clare.store.feature import Feature
from clare.store.feature_store import create_store, open_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

FIELD = FeatureSpec("clip_cls", (8,), "float32")
FINGERPRINT = Fingerprint("clip", 1, "00", {"model": "none"})
ROUNDS = 100
LEFT = ROUNDS + 1
"""Shards that are left pending, to be taken one after another."""

TASKS = ("open", "pending", "info", "table", "verify", "train")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", default="10000,100000,1000000")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(measure(options.task, options.folder)))
        return
    sizes = [int(size) for size in options.rows.split(",")]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report = run(Path(folder), sizes)
    print(json.dumps(report, indent=2)) if options.json else show(report)


def run(folder: Path, sizes: list[int]) -> dict[str, Any]:
    """All figures, each size's store made first."""
    stores = {size: folder / f"{size}.zarr" for size in sizes}
    making = {size: fill(path, size) for size, path in stores.items()}
    shard = bookkeeping(stores[min(sizes)], stores[max(sizes)])
    tasks = {
        task: {size: in_own_process(task, path) for size, path in stores.items()} for task in TASKS
    }
    return {"sizes": sizes, "making": making, "shard": shard, "tasks": tasks}


def fill(path: Path, size: int) -> float:
    """Make a store of so many rows, all but a few shards complete; seconds."""
    began = time.perf_counter()
    store = create_store(path)
    rows = store.assign_rows("faces", list(make_rows(size)))
    store.declare(FINGERPRINT, [FIELD])
    feature = store.feature("faces", "clip")
    shards = -(-len(rows) // SHARD_ROWS)
    values = {FIELD.field: np.random.default_rng(0).normal(size=(SHARD_ROWS, 8)).astype("f4")}
    with mock.patch("os.fsync"):  # the disk is not what is measured
        for shard in range(shards - LEFT):
            feature.claim(shard)
            feature.write_shard(shard, values, {}, {})
            feature.release(shard)
    return time.perf_counter() - began


def make_rows(size: int) -> Iterator[Row]:
    """Frames of videos, twenty each, as a large data set has them."""
    for n in range(size):
        video = n // 20
        columns = {
            "label": video % 2,
            "split": ("train", "train", "train", "val", "test")[video // 2 % 5],
            "subset": "faces",
            "path": f"faces/{video:06d}/{n % 20:03d}.png",
            "video_id": f"{video:06d}",
            "source_ids": f"{video // 2:06d}",
            "domain": "ff",
            "width": 256,
            "height": 256,
            "bytes": 90_000 + n % 1000,
            "format": "png",
        }
        yield Row(
            sample_id=f"{video:06d}/{n % 20:03d}", view=0, content=f"{n:064x}", columns=columns
        )


def bookkeeping(small: Path, large: Path) -> dict[str, Any]:
    """Milliseconds a shard, of one store and of the other in turn."""
    names = ("small", "large")
    features: dict[str, Feature] = {}
    for name, path in zip(names, (small, large), strict=True):
        features[name] = open_store(path).feature("faces", "clip")
    pending = {name: feature.pending() for name, feature in features.items()}
    wanted = {name: np.arange(SHARD_ROWS * (max(pending[name]) + 1)) for name in names}
    values = {FIELD.field: np.zeros((SHARD_ROWS, 8), "f4")}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with mock.patch("os.fsync"):
        for turn in range(ROUNDS):
            for name in names if turn % 2 else reversed(names):
                began = time.perf_counter()
                take_and_record(features[name], pending[name][turn], wanted[name], values)
                seconds[name].append(time.perf_counter() - began)
    middle = {name: 1000 * statistics.median(found) for name, found in seconds.items()}
    ratios = [
        large / small for small, large in zip(seconds["small"], seconds["large"], strict=True)
    ]
    low, ratio, high = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
    return {"ms": middle, "ratio": ratio, "quartiles": (low, high), "rounds": ROUNDS}


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
    words = [sys.executable, __file__, "--task", task, "--folder", str(store)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{task} {store.stem}: {found['seconds']:.2f} s", file=sys.stderr)
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
        return lambda: open_store(path).rows("faces")
    if task == "pending":
        store = open_store(path)
        store.rows("faces")
        return lambda: store.feature("faces", "clip").pending()
    if task == "table":
        return lambda: open_store(path).table()
    if task == "info":
        from clare.store.info import store_info

        return lambda: store_info(open_store(path))
    if task == "verify":
        from clare.store.maintenance.verify import verify_store

        return lambda: verify_store(path)
    return until_training(path)


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


def show(report: Mapping[str, Any]) -> None:
    """The figures as tables."""
    console = Console()
    sizes, shard = report["sizes"], report["shard"]
    low, high = shard["quartiles"]
    console.print(
        f"bookkeeping a shard: {shard['ms']['small']:.2f} ms at {min(sizes):,} rows, "
        f"{shard['ms']['large']:.2f} ms at {max(sizes):,}: {shard['ratio']:.2f} times "
        f"(quartiles {low:.2f} to {high:.2f}, {shard['rounds']} shards each; aim at most 1.5)"
    )
    table = Table("", *(f"{size:,} rows" for size in sizes), "growth")
    for task, found in report["tasks"].items():
        cells = [f"{one['seconds']:.2f} s, {one['mib']:.0f} MiB" for one in found.values()]
        *_, before, last = (one["seconds"] for one in found.values())
        growth = math.log(last / before) / math.log(sizes[-1] / sizes[-2])
        table.add_row(task, *cells, f"{growth:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()

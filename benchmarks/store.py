"""The feature store against other ways to keep features, side by side in one run.

    python benchmarks/store.py [--rows N] [--rounds N] [--folder DIR] [--json]

Rows are (256, 1024) float16, as the CLIP tokens of ViT-L/14; a batch is 256 random ones, copied
into an output that exists already. Every round runs each contestant once, in a new order. Warm:
all in the page cache. Cold: dropped from it before each batch (the folder's entries stay, which
flatters one file an image). Ratios are medians of the rounds' own ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from clare.heads.dataset import FeatureDataset
from clare.store.feature import Feature
from clare.store.feature_store import Row, create_store
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

TOKENS = FeatureSpec("clip_tokens", (256, 1024), "float16")
SMALL = (
    FeatureSpec("lare", (1, 4, 4, 32, 32), "float16"),
    FeatureSpec("clip_cls", (1024,), "float16"),
)
BATCH, SLOW_BATCH, LOADER_BATCHES, WORKERS = 256, 32, 4, 2


@dataclass
class Contestant:
    """One way to read: ``read(rows)`` brings them into memory from ``files``."""

    name: str
    read: Callable[[np.ndarray], object]
    rows: int = BATCH
    files: Sequence[Path] = ()
    cold: bool = True
    before: Callable[[bool], object] = lambda cold: None


class PtFiles(Dataset[torch.Tensor]):
    """The usual cache: one ``torch.save`` an image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, row: int) -> torch.Tensor:
        loaded: torch.Tensor = torch.load(self.folder / f"{row:06d}.pt", weights_only=True)
        return loaded


class InOrder:
    """A batch sampler that is told its batches before each epoch."""

    batches: Sequence[list[int]] = ()

    def __iter__(self) -> Any:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def main() -> None:
    options = _options()
    with _place(options.folder) as folder:
        rng = np.random.default_rng(0)
        report: dict[str, Any] = {"rows": options.rows, "rounds": options.rounds}
        feature, report["write"] = write_all(folder, options.rows, rng)
        contestants = token_contestants(folder, feature, options.rows)
        speeds = {
            "warm": race(contestants, options.rows, options.rounds, rng, cold=False),
            "cold": race(contestants, options.rows, options.rounds, rng, cold=True),
        }
        report |= {
            state: {n: spread(s) for n, s in found.items()} for state, found in speeds.items()
        }
        report["small"] = small_fields(folder, feature, options.rows, options.rounds)
        report["ratios"] = ratios(speeds, report)
    print(json.dumps(report, indent=2)) if options.json else show(report)


def write_all(folder: Path, rows: int, rng: np.random.Generator) -> tuple[Feature, dict[str, Any]]:
    """Write the same values in every form; the store and the memmap are timed, synced."""
    store = create_store(folder / "features.zarr")
    fields = (TOKENS, *SMALL)
    fingerprint = Fingerprint("bench", 1, "")
    store.declare(fingerprint, fields)
    store.assign_rows(
        "bench",
        [Row(sample_id=f"{n:06d}", view=0, content=f"{n:x}", columns={}) for n in range(rows)],
    )
    feature = store.feature("bench", "bench")
    drawn = rng.standard_normal((SHARD_ROWS, *TOKENS.shape)).astype(TOKENS.dtype)
    mapped = np.memmap(folder / "memmap", TOKENS.dtype, "w+", shape=(rows, *TOKENS.shape))
    for name in ("pt", "npy", *(f"pt_{spec.field}" for spec in SMALL)):
        (folder / name).mkdir(exist_ok=True)
    speeds: dict[str, list[float]] = {"store": [], "memmap": []}
    for shard in feature.pending():
        start = SHARD_ROWS * shard
        count = min(SHARD_ROWS, rows - start)
        values = {TOKENS.field: drawn} | {
            s.field: rng.standard_normal((SHARD_ROWS, *s.shape)).astype(s.dtype) for s in SMALL
        }
        drawn[:, 0, 0] = np.arange(start, start + SHARD_ROWS) % 2048
        size = sum(v.nbytes for v in values.values())
        assert feature.claim(shard)
        with _timed(speeds["store"], size):
            feature.write_shard(shard, values, {}, {})
        feature.release(shard)
        with _timed(speeds["memmap"], drawn[:count].nbytes):
            mapped[start : start + count] = drawn[:count]
            mapped.flush()
        for n in range(count):
            torch.save(torch.from_numpy(drawn[n].copy()), folder / "pt" / f"{start + n:06d}.pt")
            np.save(folder / "npy" / f"{start + n:06d}.npy", drawn[n])
            for spec in SMALL:
                row = torch.from_numpy(values[spec.field][n].copy())
                torch.save(row, folder / f"pt_{spec.field}" / f"{start + n:06d}.pt")
    os.sync()
    return feature, {name: spread(found) for name, found in speeds.items()}


def token_contestants(folder: Path, feature: Feature, rows: int) -> list[Contestant]:
    out = np.zeros((BATCH, *TOKENS.shape), TOKENS.dtype)
    flat = out.reshape(BATCH, -1).view(np.uint8)
    array_path = feature.array_path(TOKENS.field)
    shards = [p for p in array_path.rglob("*") if p.is_file() and p.name != "zarr.json"]
    mapped_file = folder / "memmap"
    raw = os.open(mapped_file, os.O_RDONLY)
    pool = ThreadPoolExecutor(8)
    array = zarr.open_array(array_path, mode="r")
    pt = PtFiles(folder / "pt")
    kept: dict[str, Any] = {}

    def open_memmap(cold: bool) -> None:
        if cold or "memmap" not in kept:
            shape = (rows, *TOKENS.shape)
            kept["memmap"] = np.memmap(mapped_file, TOKENS.dtype, "r", shape=shape)
        if not cold:  # a mapping faults once for each page: outside the clock
            kept["memmap"].reshape(-1).view(np.uint8)[::4096].max()

    def close_memmap(cold: bool) -> None:
        if cold:  # what is mapped can't be dropped from the cache
            kept.pop("memmap", None)

    def memmap(wanted: np.ndarray) -> None:
        mapped = kept["memmap"]
        for place, row in enumerate(wanted):
            out[place] = mapped[row]

    def pread(wanted: np.ndarray) -> None:
        def one(place: int) -> None:
            os.preadv(raw, [flat[place].data], int(wanted[place]) * TOKENS.row_bytes)

        list(pool.map(one, range(len(wanted))))

    def fresh_reader(cold: bool) -> None:
        kept["fresh"] = feature.reader(TOKENS.field)
        kept["fresh"].read([0])

    verified = feature.reader(TOKENS.field)
    for start in range(0, rows, BATCH):
        wanted = np.arange(start, min(start + BATCH, rows))
        verified.read(wanted, out[: len(wanted)])

    def pt_loop(wanted: np.ndarray) -> None:
        for place, row in enumerate(wanted):
            out[place] = pt[int(row)].numpy()

    def npy(place_and_row: tuple[int, int]) -> None:
        out[place_and_row[0]] = np.load(folder / "npy" / f"{place_and_row[1]:06d}.npy")

    pt_files, npy_files = sorted((folder / "pt").iterdir()), sorted((folder / "npy").iterdir())
    dataset = FeatureDataset(feature.store.path, [TOKENS.field])
    many = BATCH * LOADER_BATCHES
    return [
        Contestant("np.memmap", memmap, files=[mapped_file], before=open_memmap),
        Contestant("raw pread, 8 threads", pread, files=[mapped_file], before=close_memmap),
        Contestant("store, verified", lambda w: verified.read(w, out), files=shards),
        Contestant(
            "store, verifying",
            lambda w: kept["fresh"].read(w, out),
            files=shards,
            before=fresh_reader,
        ),
        Contestant("store, DataLoader", _epoch(dataset, FeatureDataset.collate), many, shards),
        Contestant("one .pt an image, loop", pt_loop, files=pt_files),
        Contestant("one .pt an image, DataLoader", _epoch(pt, None), many, pt_files),
        Contestant(
            "one .npy an image, loop", lambda w: list(map(npy, enumerate(w))), files=npy_files
        ),
        Contestant(
            "one .npy an image, 8 threads",
            lambda w: list(pool.map(npy, enumerate(w))),
            files=npy_files,
        ),
        Contestant(
            "zarr, oindex", lambda w: array.oindex[np.sort(w)], SLOW_BATCH, shards, cold=False
        ),
    ]


def _epoch(dataset: Dataset[Any], collate: Any) -> Callable[[np.ndarray], None]:
    sampler = InOrder()
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=WORKERS,
        collate_fn=collate,
        persistent_workers=True,
    )

    def read(wanted: np.ndarray) -> None:
        sampler.batches = [part.tolist() for part in np.array_split(wanted, LOADER_BATCHES)]
        for _ in loader:
            pass

    read(np.arange(LOADER_BATCHES))  # the workers start outside the clock
    return read


def race(
    contestants: Sequence[Contestant],
    rows: int,
    rounds: int,
    rng: np.random.Generator,
    *,
    cold: bool,
) -> dict[str, list[float]]:
    """MB/s of every contestant in every round."""
    speeds: dict[str, list[float]] = {c.name: [] for c in contestants if c.cold or not cold}
    for turn in range(rounds + 1):
        wanted = rng.permutation(rows)
        for number in rng.permutation(len(contestants)):
            contestant = contestants[number]
            if contestant.name not in speeds:
                continue
            batch = wanted[: contestant.rows]
            found: list[float] = []
            contestant.before(cold)
            if cold:
                drop_from_cache(contestant.files)
            with _timed(found, len(batch) * TOKENS.row_bytes):
                contestant.read(batch)
            if turn:  # the first round warms up
                speeds[contestant.name] += found
    return speeds


def small_fields(folder: Path, feature: Feature, rows: int, rounds: int) -> dict[str, Any]:
    """Seconds to load a whole small field, verified, against one ``.pt`` an image."""
    found: dict[str, Any] = {}
    for spec in SMALL:
        out = np.zeros((rows, *spec.shape), spec.dtype)
        pt = PtFiles(folder / f"pt_{spec.field}")
        seconds: dict[str, list[float]] = {"store": [], "pt": []}
        for _ in range(min(rounds, 3)):
            began = time.perf_counter()
            feature.reader(spec.field).read(np.arange(rows), out)
            seconds["store"].append(time.perf_counter() - began)
            began = time.perf_counter()
            for row in range(rows):
                out[row] = pt[row].numpy()
            seconds["pt"].append(time.perf_counter() - began)
        found[spec.field] = {name: statistics.median(s) for name, s in seconds.items()}
    return found


def ratios(speeds: dict[str, dict[str, list[float]]], report: dict[str, Any]) -> list[list[Any]]:
    """[what, against, ratio, aim] for every comparison; the aim is None where none is set."""
    pairs = [
        ("warm", "store, verified", "np.memmap", 0.9),
        ("warm", "store, verifying", "np.memmap", 0.6),
        ("warm", "store, verified", "one .pt an image, loop", None),
        ("warm", "store, DataLoader", "one .pt an image, DataLoader", None),
        ("warm", "store, verified", "one .npy an image, 8 threads", None),
        ("warm", "store, verified", "zarr, oindex", None),
        ("cold", "store, verifying", "raw pread, 8 threads", 0.8),
        ("cold", "store, verifying", "np.memmap", None),
        ("cold", "store, verifying", "one .pt an image, loop", None),
        ("cold", "store, DataLoader", "one .pt an image, DataLoader", None),
        ("cold", "store, verifying", "one .npy an image, 8 threads", None),
    ]
    found: list[list[Any]] = []
    for state, ours, theirs, aim in pairs:
        both = zip(speeds[state][ours], speeds[state][theirs], strict=True)
        ratio = statistics.median(a / b for a, b in both)
        found.append([f"{state}: {ours}", theirs, round(ratio, 2), aim])
    for field, seconds in report["small"].items():
        ratio = seconds["pt"] / seconds["store"]
        found.append([f"warm: load all {field}", "one .pt an image, loop", round(ratio, 1), None])
    written = report["write"]
    ratio = written["store"]["median"] / written["memmap"]["median"]
    return [*found, ["write, synced: store", "np.memmap", round(ratio, 2), None]]


def show(report: dict[str, Any]) -> None:
    console = Console()
    for state in ("write", "warm", "cold"):
        table = Table(title=f"{state}, MB/s, {report['rows']} rows")
        for column in ("way", "median", "lowest", "highest"):
            table.add_column(column, justify="left" if column == "way" else "right")
        for name, speed in report[state].items():
            table.add_row(name, *(f"{speed[key]:.0f}" for key in ("median", "low", "high")))
        console.print(table)
    table = Table("what", "against", title="ratios")
    table.add_column("ratio", justify="right")
    table.add_column("aim", justify="right")
    for what, against, ratio, aim in report["ratios"]:
        table.add_row(what, against, f"{ratio:g}x", "" if aim is None else f">= {aim}x")
    console.print(table)


def spread(speeds: Sequence[float]) -> dict[str, float]:
    found = {"median": statistics.median(speeds), "low": min(speeds), "high": max(speeds)}
    return {name: round(value, 1) for name, value in found.items()}


def drop_from_cache(files: Sequence[Path]) -> None:
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


@contextmanager
def _timed(speeds: list[float], size: int) -> Any:
    began = time.perf_counter()
    yield
    speeds.append(size / 1e6 / (time.perf_counter() - began))


@contextmanager
def _place(folder: Path | None) -> Any:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="clare-bench-") as temporary:
        yield Path(temporary)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2048, help="at least 1024")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where to write about 4.5 MB a row")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()

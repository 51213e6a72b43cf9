"""The ways of keeping and reading features that the store's benchmark sets side by side."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch.utils.data import DataLoader, Dataset

from clare.heads.data.dataset import FeatureDataset
from clare.store.feature import Feature
from clare.store.feature_store import create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

TOKENS = FeatureSpec("clip_tokens", (256, 1024), "float16")
SMALL = (
    FeatureSpec("lare", (1, 4, 4, 32, 32), "float16"),
    FeatureSpec("clip_cls", (1024,), "float16"),
)
BATCH, BATCHES, SLOW_BATCH, WORKERS = 256, 4, 32, 2


@dataclass
class Contestant:
    """One way to read: ``read(batch)`` brings rows into memory; a turn reads ``rows`` of them."""

    name: str
    read: Callable[[np.ndarray], object]
    rows: int = BATCH * BATCHES
    batch: int = BATCH
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


def write_all(folder: Path, rows: int, rng: np.random.Generator) -> tuple[Feature, dict[str, Any]]:
    """Write the same values in every form; the store and the memmap are timed, synced."""
    store = create_store(folder / "features.zarr")
    fields = (TOKENS, *SMALL)
    fingerprint = Fingerprint("bench", 1, "")
    store.declare(fingerprint, fields)
    store.assign_rows(
        "bench",
        [
            Row(sample_id=f"{n:06d}", view=0, content=f"{n:x}", columns={"label": 0})
            for n in range(rows)
        ],
    )
    feature = store.feature("bench", "bench")
    mapped = np.memmap(folder / "memmap", TOKENS.dtype, "w+", shape=(rows, *TOKENS.shape))
    speeds: dict[str, list[float]] = {"store": [], "memmap": []}
    for shard in feature.pending():
        part = slice(SHARD_ROWS * shard, min(SHARD_ROWS * (shard + 1), rows))
        values = {
            spec.field: rng.standard_normal((SHARD_ROWS, *spec.shape), np.float32).astype(
                spec.dtype
            )
            for spec in fields
        }
        assert feature.claim(shard)
        with timed(speeds["store"], sum(v.nbytes for v in values.values())):
            feature.write_shard(shard, values, {}, {})
        feature.release(shard)
        with timed(speeds["memmap"], mapped[part].nbytes):
            mapped[part] = values[TOKENS.field][: part.stop - part.start]
            mapped.flush()
    # The loose files last: nothing syncs them, and the clock above would pay for their pages.
    for spec in fields:
        _loose_files(folder, feature, spec, rows)
    os.sync()
    return feature, {name: spread(found) for name, found in speeds.items()}


def _loose_files(folder: Path, feature: Feature, spec: FeatureSpec, rows: int) -> None:
    reader = feature.reader(spec.field)
    (folder / f"pt_{spec.field}").mkdir()
    (folder / "npy").mkdir(exist_ok=True)
    for row in range(rows):
        values = reader.read([row])[0]
        torch.save(torch.from_numpy(values), folder / f"pt_{spec.field}" / f"{row:06d}.pt")
        if spec is TOKENS:
            np.save(folder / "npy" / f"{row:06d}.npy", values)


def token_contestants(folder: Path, feature: Feature, rows: int) -> list[Contestant]:
    out = np.zeros((BATCH, *TOKENS.shape), TOKENS.dtype)
    flat = out.reshape(BATCH, -1).view(np.uint8)
    array_path = feature.array_path(TOKENS.field)
    shards = [p for p in array_path.rglob("*") if p.is_file() and p.name != "zarr.json"]
    mapped_file = folder / "memmap"
    raw = os.open(mapped_file, os.O_RDONLY)
    pool = ThreadPoolExecutor(8)
    array = zarr.open_array(array_path, mode="r")
    pt = PtFiles(folder / f"pt_{TOKENS.field}")
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

    pt_files, npy_files = (
        sorted((folder / f"pt_{TOKENS.field}").iterdir()),
        sorted((folder / "npy").iterdir()),
    )
    dataset = FeatureDataset(feature.layout.root, [TOKENS.field])
    turn = BATCH * BATCHES  # a loader makes its own batches of it
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
        Contestant("store, DataLoader", _epoch(dataset), turn, turn, shards),
        Contestant("one .pt an image, loop", pt_loop, files=pt_files),
        Contestant("one .pt an image, DataLoader", _epoch(pt), turn, turn, pt_files),
        Contestant(
            "one .npy an image, loop", lambda w: list(map(npy, enumerate(w))), files=npy_files
        ),
        Contestant(
            "one .npy an image, 8 threads",
            lambda w: list(pool.map(npy, enumerate(w))),
            files=npy_files,
        ),
        Contestant(
            "zarr, oindex", lambda w: array.oindex[np.sort(w)], SLOW_BATCH, SLOW_BATCH, cold=False
        ),
    ]


def _epoch(dataset: Dataset[Any]) -> Callable[[np.ndarray], None]:
    sampler = InOrder()
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=WORKERS,
        persistent_workers=True,
    )

    def read(wanted: np.ndarray) -> None:
        sampler.batches = [part.tolist() for part in np.array_split(wanted, BATCHES)]
        for _ in loader:
            pass

    read(np.arange(BATCHES))  # the workers start outside the clock
    return read


@contextmanager
def timed(speeds: list[float], size: int) -> Iterator[None]:
    began = time.perf_counter()
    yield
    speeds.append(size / 1e6 / (time.perf_counter() - began))


def spread(speeds: Sequence[float]) -> dict[str, float]:
    found = {"median": statistics.median(speeds), "low": min(speeds), "high": max(speeds)}
    return {name: round(value, 1) for name, value in found.items()}

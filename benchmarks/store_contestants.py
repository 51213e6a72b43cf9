"""The ways of keeping and reading features that the store's benchmark sets side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
FIELDS = (TOKENS, *SMALL)
BATCH, BATCHES, SLOW_BATCH, WORKERS = 256, 4, 32, 2
TURN = BATCH * BATCHES


@dataclass
class Contestant:
    """One way to read: ``read(batch)`` brings rows into memory; a turn reads ``rows`` of them."""

    name: str
    read: Callable[[np.ndarray], object]
    rows: int = TURN
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


class Writing:
    """The same values written to a store and to a memmap, a shard a turn, each made durable."""

    def __init__(self, folder: Path, rows: int) -> None:
        store = create_store(folder / "features.zarr")
        fingerprint = Fingerprint("bench", 1, "")
        store.declare(fingerprint, FIELDS)
        named = [
            Row(sample_id=f"{n:06d}", view=0, content=f"{n:x}", columns={"label": 0})
            for n in range(rows)
        ]
        store.assign_rows("bench", named)
        self._feature = store.feature("bench", "bench")
        self.shards = -(-rows // SHARD_ROWS)
        self.shard_bytes = SHARD_ROWS * TOKENS.row_bytes
        shape = (self.shards * SHARD_ROWS, *TOKENS.shape)
        self._mapped = np.memmap(folder / "memmap", TOKENS.dtype, "w+", shape=shape)
        self._waiting = {name: iter(range(self.shards)) for name in ("store", "memmap")}

    def store_shard(self) -> Mapping[str, float]:
        shard = next(self._waiting["store"])
        values = {spec.field: _values(shard, spec) for spec in FIELDS}
        assert self._feature.claim(shard)
        began = time.perf_counter()
        self._feature.write_shard(shard, values, {}, {})
        seconds = time.perf_counter() - began
        self._feature.release(shard)
        # It writes the small fields too: seconds are those of as many bytes as the memmap's.
        return {"store": seconds * self.shard_bytes / sum(v.nbytes for v in values.values())}

    def memmap_shard(self) -> Mapping[str, float]:
        shard = next(self._waiting["memmap"])
        values = _values(shard, TOKENS)
        began = time.perf_counter()
        self._mapped[SHARD_ROWS * shard : SHARD_ROWS * (shard + 1)] = values
        self._mapped.flush()
        return {"np.memmap": time.perf_counter() - began}

    def finish(self) -> Feature:
        """The store's feature; what is mapped could not be dropped from the page cache."""
        del self._mapped
        return self._feature


def _values(shard: int, spec: FeatureSpec) -> np.ndarray:
    rng = np.random.default_rng(shard)
    return rng.standard_normal((SHARD_ROWS, *spec.shape), np.float32).astype(spec.dtype)


def write_loose_files(folder: Path, feature: Feature, rows: int) -> None:
    """One file an image, after what is timed: nothing syncs them before, so its clock would pay."""
    for spec in FIELDS:
        _loose_files(folder, feature, spec, rows)
    os.sync()


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
            shape = (-(-rows // SHARD_ROWS) * SHARD_ROWS, *TOKENS.shape)
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
        Contestant("store, DataLoader", _epoch(dataset), TURN, TURN, shards),
        Contestant("one .pt an image, loop", pt_loop, files=pt_files),
        Contestant("one .pt an image, DataLoader", _epoch(pt), TURN, TURN, pt_files),
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

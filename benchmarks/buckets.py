"""Stores and images in a bucket against plain requests by obstore, and against a store on the disk.

    python -m benchmarks.buckets --url s3://bucket/bench

Rows are CLIP's tokens, 256 x 1024 in float16; values are noise. The server is the one that the URL
and the environment lead to; without a URL a bucket in memory, which tells what our own work takes.

- warm: random batches of 64 rows from a copy that is whole, against the store on the disk;
- cold: every row once in random batches, through a copy that is empty, against as many range reads
  of single rows by obstore, 16 at once, whose bytes nobody checks or keeps;
- push, pull: a store carried, against puts and gets of its shards, 8 at once, without a check or a
  file that is durable; pull also against gets whose bytes are not copied before they are written,
  and against the same into files that are durable;
- images: files of 100 KB as an extraction reads them ahead, so many at once, against gets by
  obstore, 32 at once, and against the same reading with one request at a time.

What it puts at URL, URL-plain and URL-images is deleted in the end; nothing may be there before.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.rounds import Race, Ratio
from benchmarks.script import Parts, Script, main
from clare.files import write_durably
from clare.pipeline.extraction.reading import WIDTH, ReadAhead
from clare.pipeline.images.decode import read_content
from clare.store.bucket.files import file_place
from clare.store.bucket.mirror import mirror_of
from clare.store.bucket.objects import Objects, in_flight
from clare.store.bucket.places import CACHE, copy_of
from clare.store.feature_store import FeatureStore, create_store, open_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint
from clare.store.transfer import pull_store, push_store
from clare.store.zarr_shards import cell_bytes

FINGERPRINT = Fingerprint("clip", 1, "0" * 64, {})
PUTS = 8
RANGES = 16
PASSES = 8
IMAGE = 100_000


@dataclass(frozen=True)
class Sizes:
    rows: int = 512
    patches: int = 256
    batch: int = 64
    url: str = "memory://bench/store"
    images: int = 256
    width: int = WIDTH


def parts(sizes: Sizes, folder: Path) -> Parts:
    places = [Objects(f"{sizes.url}{end}") for end in ("", "-plain", "-images")]
    for one in places:
        if one.holds_any():
            raise SystemExit(
                f"{one.url} is not empty: name another place, for all of it is deleted"
            )
    try:
        yield from _races(sizes, folder)
    finally:
        for one in places:
            clear(one)


def _races(sizes: Sizes, folder: Path) -> Parts:
    spec = FeatureSpec("tokens", (sizes.patches, 1024), "float16")
    local = make_store(folder / "local.zarr", sizes.rows, spec)
    os.environ[CACHE] = str(folder / "cache")
    bench = _Bench(sizes, spec, local, folder)
    push_store(local.path, sizes.url)
    yield Race(
        "warm",
        {"copy": bench.often(open_store(sizes.url)), "disk": bench.often(local)},
        [Ratio("copy", "disk", 0.9)],
        share=0.2,
    )
    yield Race(
        "cold",
        {"store": bench.cold, "ranges": bench.ranges},
        [Ratio("store", "ranges", 0.8)],
        share=0.25,
        warm=False,
    )
    yield Race(
        "push",
        {"push": bench.push, "puts": bench.puts},
        [Ratio("push", "puts", 0.8)],
        share=0.3,
        warm=False,
    )
    get, view = bench.objects.get, bench.objects.view
    yield Race(
        "pull",
        {
            "pull": bench.pull,
            "gets": lambda: bench.gets("gets", lambda path, key: path.write_bytes(get(key))),
            "uncopied": lambda: bench.gets(
                "uncopied", lambda path, key: path.write_bytes(view(key))
            ),
            "durable": lambda: bench.gets(
                "durable", lambda path, key: write_durably(path, view(key))
            ),
        },
        [Ratio("pull", "gets", 0.8), Ratio("pull", "uncopied"), Ratio("pull", "durable", 0.8)],
        share=0.15,
        warm=False,
    )
    images = _Images(sizes)
    yield Race(
        "images",
        {
            "ahead": lambda: images.ahead(sizes.width),
            "gets": images.gets,
            "one by one": lambda: images.ahead(1),
        },
        [Ratio("ahead", "gets", 0.8), Ratio("ahead", "one by one")],
        share=0.1,
    )


class _Bench:
    def __init__(self, sizes: Sizes, spec: FeatureSpec, local: FeatureStore, folder: Path) -> None:
        self.sizes, self.spec, self.local, self.folder = sizes, spec, local, folder
        self.objects = Objects(sizes.url)
        self.plain = Objects(f"{sizes.url}-plain")
        order = np.random.default_rng(0).permutation(sizes.rows)
        self.batches = np.split(order, range(sizes.batch, sizes.rows, sizes.batch))
        paths = sorted(local.path.glob("arrays/**/c/*/*/*"))
        self.shards = {path.relative_to(local.path).as_posix(): path for path in paths}

    def reading(self, store: FeatureStore) -> Callable[[], None]:
        reader = store.feature("all", "clip").reader("tokens")

        def read() -> None:
            for batch in self.batches:
                reader.read(batch)

        return read

    def often(self, store: FeatureStore) -> Callable[[], None]:
        """Several passes: one is over in a tenth of a second."""
        read = self.reading(store)

        def reads() -> None:
            for _ in range(PASSES):
                read()

        return reads

    def cold(self) -> Mapping[str, float]:
        copy = copy_of(self.sizes.url)
        mirror = mirror_of(self.sizes.url)
        shutil.rmtree(mirror.root / "arrays", ignore_errors=True)
        assert copy == mirror.folder
        began = time.perf_counter()
        self.reading(open_store(self.sizes.url))()
        return {"store": time.perf_counter() - began}

    def ranges(self) -> None:
        (array,) = {key.partition("/c/")[0] for key in self.shards}
        cell = cell_bytes(self.spec)

        def row(slot: int) -> bytes:
            shard, offset = divmod(slot, SHARD_ROWS)
            start = offset * cell
            return self.objects.get_range(f"{array}/c/{shard}/0/0", start, start + cell)

        for _ in in_flight(row, [int(slot) for batch in self.batches for slot in batch], RANGES):
            pass

    def push(self) -> Mapping[str, float]:
        clear(self.objects)
        began = time.perf_counter()
        push_store(self.local.path, self.sizes.url)
        return {"push": time.perf_counter() - began}

    def puts(self) -> None:
        def put(key: str) -> None:
            self.plain.put(key, self.shards[key].read_bytes())

        for _ in in_flight(put, self.shards, PUTS):
            pass

    def pull(self) -> Mapping[str, float]:
        target = self.folder / "pulled.zarr"
        shutil.rmtree(target, ignore_errors=True)
        began = time.perf_counter()
        pull_store(self.sizes.url, target)
        return {"pull": time.perf_counter() - began}

    def gets(self, name: str, fetch: Callable[[Path, str], object]) -> Mapping[str, float]:
        target = self.folder / "got"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        began = time.perf_counter()
        for _ in in_flight(
            lambda key: fetch(target / key.replace("/", "-"), key), self.shards, PUTS
        ):
            pass
        return {name: time.perf_counter() - began}


class _Images:
    def __init__(self, sizes: Sizes) -> None:
        self.objects = Objects(f"{sizes.url}-images")
        noise = np.random.default_rng(0)
        self.keys = [f"{number:06d}.jpg" for number in range(sizes.images)]
        for key in self.keys:
            self.objects.put(key, noise.bytes(IMAGE))

    def ahead(self, width: int) -> None:
        folder = file_place(self.objects.url)
        reading = ReadAhead(read_content, width=width)
        asked = [(folder / key, reading.ask([(folder / key, IMAGE)])) for key in self.keys]
        for path, reads in asked:
            with reads:
                reads.get(path)
        reading.close()

    def gets(self) -> None:
        for _ in in_flight(self.objects.get, self.keys, WIDTH):
            pass


def clear(objects: Objects) -> None:
    """Delete all that is there."""
    for _ in in_flight(objects.delete, [found.key for found in objects.list()]):
        pass


def make_store(path: Path, count: int, spec: FeatureSpec) -> FeatureStore:
    """A store of noise."""
    store = create_store(path)
    rows = [
        Row(sample_id=f"{n:06d}", view=0, content=f"{n:064x}", columns={"label": n % 2})
        for n in range(count)
    ]
    store.assign_rows("all", rows)
    store.declare(FINGERPRINT, [spec])
    store.write_assets(FINGERPRINT.key, {})
    feature = store.feature("all", "clip")
    chance = np.random.default_rng(0)
    for shard in feature.pending():
        assert feature.claim(shard)
        values = chance.random((SHARD_ROWS, *spec.shape), np.float32).astype(np.float16)
        feature.write_shard(shard, {"tokens": values}, {}, {})
        feature.release(shard)
    return store


SCRIPT = Script("buckets", __doc__, parts, Sizes(), toy=Sizes(128, 4, images=16), full=Sizes(2048))

if __name__ == "__main__":
    main(SCRIPT)

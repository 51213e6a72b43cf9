"""The feature store against other ways to keep features, side by side in one run.

    python -m benchmarks.store

Rows are (256, 1024) float16, as the CLIP tokens of ViT-L/14; a batch is 256 random ones, copied
into an output that exists already, and a turn is four of them. Warm: all in the page cache. Cold:
dropped from it before each turn (the folder's entries stay, which flatters one file an image).
It writes about 2 MB a row, four times over.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.rounds import Race, Ratio
from benchmarks.script import Parts, Script, main
from benchmarks.store_contestants import (
    SMALL,
    TOKENS,
    TURN,
    Contestant,
    PtFiles,
    Writing,
    token_contestants,
    write_loose_files,
)
from clare.store.feature import Feature
from clare.store.spec import FeatureSpec

TURN_SIZE = (TURN * TOKENS.row_bytes / 1e6, "MB/s")

WARM = [
    Ratio("store, verified", "np.memmap", 0.9),
    Ratio("store, verifying", "np.memmap", 0.6),
    Ratio("store, verified", "one .pt an image, loop"),
    Ratio("store, DataLoader", "one .pt an image, DataLoader", 5.0),
    Ratio("store, verified", "one .npy an image, 8 threads"),
    Ratio("store, verified", "zarr, oindex"),
]
COLD = [
    Ratio("store, verifying", "raw pread, 8 threads", 0.8),
    Ratio("store, verifying", "np.memmap"),
    Ratio("store, verifying", "one .pt an image, loop"),
    Ratio("store, DataLoader", "one .pt an image, DataLoader"),
    Ratio("store, verifying", "one .npy an image, 8 threads"),
]


@dataclass(frozen=True)
class Sizes:
    rows: int = 1280


def parts(sizes: Sizes, folder: Path) -> Parts:
    writing = Writing(folder, sizes.rows)
    yield Race(
        "write, synced",
        {"store": writing.store_shard, "np.memmap": writing.memmap_shard},
        [Ratio("store", "np.memmap")],
        rounds=writing.shards,
        warm=False,
        rate=(writing.shard_bytes / 1e6, "MB/s"),
    )
    feature = writing.finish()
    write_loose_files(folder, feature, sizes.rows)
    for spec in SMALL:
        yield small_field(folder, feature, spec, sizes.rows)
    contestants = token_contestants(folder, feature, sizes.rows)
    for state, ratios in (("warm", WARM), ("cold", COLD)):
        cold = state == "cold"
        ways = {
            one.name: turns(one, sizes.rows, cold=cold) for one in contestants if one.cold >= cold
        }
        yield Race(f"read, {state}", ways, ratios, share=0.35, rate=TURN_SIZE)


def turns(contestant: Contestant, rows: int, *, cold: bool) -> Callable[[], Mapping[str, float]]:
    """Turns of one way; in a round all ways read the same rows."""
    rng = np.random.default_rng(0)

    def turn() -> Mapping[str, float]:
        wanted = rng.permutation(rows)[: contestant.rows]
        batches = np.split(wanted, contestant.rows // contestant.batch)
        contestant.before(cold)
        if cold:
            drop_from_cache(contestant.files)
        began = time.perf_counter()
        for batch in batches:
            contestant.read(batch)
        # A way that is slow reads fewer rows: seconds are those of a whole turn.
        return {contestant.name: (time.perf_counter() - began) * TURN / contestant.rows}

    return turn


def small_field(folder: Path, feature: Feature, spec: FeatureSpec, rows: int) -> Race:
    """A whole small field, verified, against one ``.pt`` an image; warm."""
    out, pt = np.zeros((rows, *spec.shape), spec.dtype), PtFiles(folder / f"pt_{spec.field}")

    def loop() -> None:
        for row in range(rows):
            out[row] = pt[row].numpy()

    def store() -> None:
        feature.reader(spec.field).read(np.arange(rows), out)

    plain = "one .pt an image, loop"
    ways = {"store": store, plain: loop}
    return Race(f"load all {spec.field}, warm", ways, [Ratio("store", plain)], share=0.1)


def drop_from_cache(files: Sequence[Path]) -> None:
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


SCRIPT = Script("store", __doc__, parts, Sizes(), toy=Sizes(1024), full=Sizes(2048))

if __name__ == "__main__":
    main(SCRIPT)

"""The feature store against other ways to keep features, side by side in one run.

    python benchmarks/store.py [--rows N] [--rounds N] [--folder DIR] [--json]

Rows are (256, 1024) float16, as the CLIP tokens of ViT-L/14; a batch is 256 random ones, copied
into an output that exists already. In every round each contestant has one turn of four batches, in
a new order. Warm: all in the page cache. Cold: dropped from it before each turn (the folder's
entries stay, which flatters one file an image). Ratios are medians of the rounds' own ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from store_contestants import (  # type: ignore[import-not-found]  # stands beside this script
    SMALL,
    TOKENS,
    Contestant,
    PtFiles,
    spread,
    timed,
    token_contestants,
    write_all,
)

from clare.store.feature import Feature


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
            batches = np.split(wanted[: contestant.rows], contestant.rows // contestant.batch)
            found: list[float] = []
            contestant.before(cold)
            if cold:
                drop_from_cache(contestant.files)
            with timed(found, contestant.rows * TOKENS.row_bytes):
                for batch in batches:
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


def drop_from_cache(files: Sequence[Path]) -> None:
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
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

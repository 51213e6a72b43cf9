"""Building the manifests of a DF40-like tree, against a plain walk that opens each file.

    python benchmarks/discovery.py [--files N] [--rounds N] [--folder DIR] [--json]

The tree is drawn first: swaps and whole images, 32 frames a folder, 64-pixel PNG. Ours lists,
places, indexes, reads headers and writes the manifests; the plain way is os.walk and Pillow's
`open`, one file after the other, and writes nothing. Every round each has one turn, in a new
order, over a tree that the disk's cache holds. The aim is 100,000 files in well under a minute.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from clare.pipeline.checks.check import check_manifests
from clare.pipeline.datasets.build import build_dataset, write_dataset
from clare.pipeline.datasets.registry import load_registry

FRAMES = 32
METHODS = ("simswap", "blendface", "fomm", "pixart", "DiT")
STILLS = ("pixart", "DiT")


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        files = draw(folder / "DF40_train", options.files)
        report = measure(folder, files, options.rounds)
    print(json.dumps(report, indent=2)) if options.json else show(report)


def draw(root: Path, files: int) -> int:
    """Write the tree; the number of files in it."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).save(data, "PNG")
    folders = -(-files // (FRAMES * len(METHODS)))
    for method in METHODS:
        for one in range(folders):
            video = f"{one % 1000:03d}" if method in STILLS else f"frames/{one:03d}_{one + 1:03d}"
            folder = root / method / video
            folder.mkdir(parents=True, exist_ok=True)
            for frame in range(FRAMES):
                (folder / f"{frame:03d}.png").write_bytes(data.getvalue())
    return sum(len(names) for _, _, names in os.walk(root))


def measure(folder: Path, files: int, rounds: int) -> dict[str, Any]:
    """Seconds of both ways, of each round, and of a check of what was written."""
    registry = load_registry()
    root, manifests = folder / "DF40_train", folder / "manifests"
    rng = np.random.default_rng(0)

    def ours() -> int:
        built = build_dataset(registry, "df40", {"df40_train": root})
        write_dataset(built, "df40", manifests)
        return built.rows

    def plain() -> int:
        seen = 0
        for place, _, names in os.walk(root):
            for name in names:
                with Image.open(os.path.join(place, name)) as image:  # noqa: PTH118
                    seen += image.width > 0
        return seen

    ways = {"ours": ours, "plain": plain}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in rng.permutation(list(ways)):
            start = time.perf_counter()
            assert ways[way]() == files
            seconds[way].append(time.perf_counter() - start)
    start = time.perf_counter()
    check_manifests(manifests)
    ratios = [p / o for p, o in zip(seconds["plain"], seconds["ours"], strict=True)]
    return {
        "files": files,
        "rounds": rounds,
        "seconds": {way: statistics.median(found) for way, found in seconds.items()},
        "slowest": {way: max(found) for way, found in seconds.items()},
        "files_per_second": files / statistics.median(seconds["ours"]),
        "plain_over_ours": {
            "ratio": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
        },
        "check_seconds": time.perf_counter() - start,
    }


def show(report: dict[str, Any]) -> None:
    table = Table(title=f"{report['files']:,} files, {report['rounds']} rounds")
    for column in ("way", "seconds", "slowest"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for way, seconds in report["seconds"].items():
        table.add_row(way, f"{seconds:.1f}", f"{report['slowest'][way]:.1f}")
    console = Console()
    console.print(table)
    ratio = report["plain_over_ours"]
    console.print(
        f"{report['files_per_second']:,.0f} files/s with manifests written; the plain walk takes "
        f"{ratio['ratio']:.2f} times as long ({ratio['low']:.2f}-{ratio['high']:.2f}); "
        f"checking them: {report['check_seconds']:.1f} s"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the tree is drawn [default: temporary]")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()

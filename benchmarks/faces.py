"""Finding a face: milliseconds an image and a megapixel, and what turns and small faces cost.

    python benchmarks/faces.py [--rounds N] [--json]

MTCNN on one core, on pictures with one drawn face of 60 % of their shorter side. ``upright`` looks
at a picture as it is, ``turned`` at its other turns too, as `clare faces` does where doubt is left,
and ``small`` at it as it is for faces from 20 pixels on, whatever its size. Every round each way
has one turn, in a new order; ratios are of one round, their quartiles are over the rounds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

from clare.foreign import read_bytes
from clare.pipeline.faces.face import Face
from clare.pipeline.faces.mtcnn import SMALLEST, Mtcnn
from clare.pipeline.faces.self_check import PICTURE
from clare.pipeline.faces.turns import find_turned
from clare.pipeline.images.decode import decode_rgb

SIZES = ((256, 256), (512, 512), (1280, 720), (1024, 1024), (4000, 3000))
FACE = (7, 2, 190, 185)
"""Of the package's drawn picture."""

Way = Callable[[Image.Image], list[Face]]


def main() -> None:
    options = _options()
    small, usual = Mtcnn(SMALLEST), Mtcnn()
    ways: dict[str, Way] = {
        "upright": usual.find,
        "turned": lambda image: find_turned(usual, image),
        "small": small.find,
    }
    report = {"rounds": options.rounds, "sizes": [_measure(s, ways, options.rounds) for s in SIZES]}
    if options.json:
        print(json.dumps(report, indent=2))
        return
    table = Table("pixels", "ms", "ms a megapixel", "four turns", "faces from 20 pixels")
    for row in report["sizes"]:
        table.add_row(*map(str, _cells(row)))
    Console().print(table)


def draw(size: tuple[int, int]) -> Image.Image:
    """One face on a plain ground."""
    picture = Image.new("RGB", size, (120, 140, 150))
    side = round(0.6 * min(size))
    face = decode_rgb(read_bytes(PICTURE)).crop(FACE).resize((side, side))
    picture.paste(face, ((size[0] - side) // 2, (size[1] - side) // 2))
    return picture


def _measure(size: tuple[int, int], ways: dict[str, Way], rounds: int) -> dict[str, Any]:
    picture = draw(size)
    times: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for number in range(rounds + 1):
        random.Random(number).shuffle(order)
        for name in order:
            began = time.perf_counter()
            faces = ways[name](picture)
            taken = time.perf_counter() - began
            assert faces, f"{name} finds no face in {size}"
            if number:  # the first round warms up
                times[name].append(taken)
    ratios = {
        name: statistics.quantiles(
            [a / b for a, b in zip(times[name], times["upright"], strict=True)], n=4
        )
        for name in ("turned", "small")
    }
    return {"size": size, "upright_ms": 1000 * statistics.median(times["upright"]), **ratios}


def _cells(row: dict[str, Any]) -> list[str]:
    width, height = row["size"]
    megapixels = width * height / 1e6
    shown = [f"{width} x {height}", f"{row['upright_ms']:.0f}"]
    shown.append(f"{row['upright_ms'] / megapixels:.0f}")
    for name in ("turned", "small"):
        low, middle, high = row[name]
        shown.append(f"{middle:.1f} x  {low:.1f}–{high:.1f}")
    return shown


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()

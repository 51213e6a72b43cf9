"""Building the manifests of a DF40-like tree, against a plain walk that opens each file.

    python -m benchmarks.discovery

The tree is drawn first: swaps and whole images, 32 frames a folder, 64-pixel PNG. Ours lists,
places, indexes, reads headers and writes the manifests; the plain way is os.walk and Pillow's
`open`, one file after the other, and writes nothing. The disk's cache holds the tree. The aim is
100,000 files in well under a minute.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.rounds import Race, Ratio
from benchmarks.script import Parts, Script, main
from clare.pipeline.checks.check import check_manifests
from clare.pipeline.datasets.build import build_dataset, write_dataset
from clare.pipeline.datasets.registry import load_registry

FRAMES = 32
METHODS = ("simswap", "blendface", "fomm", "pixart", "DiT")
STILLS = ("pixart", "DiT")


@dataclass(frozen=True)
class Sizes:
    files: int = 10_000


def parts(sizes: Sizes, folder: Path) -> Parts:
    files = draw(folder / "DF40_train", sizes.files)
    registry = load_registry()
    root, manifests = folder / "DF40_train", folder / "manifests"

    def ours() -> None:
        built = build_dataset(registry, "df40", {"df40_train": root})
        write_dataset(built, "df40", manifests)
        assert built.rows == files

    def plain() -> None:
        seen = 0
        for place, _, names in os.walk(root):
            for name in names:
                with Image.open(os.path.join(place, name)) as image:  # noqa: PTH118
                    seen += image.width > 0
        assert seen == files

    rate = (files, "files/s")
    mine, theirs = "ours, manifests written", "plain walk"
    ways = {mine: ours, theirs: plain}
    yield Race("manifests", ways, [Ratio(mine, theirs)], share=0.7, rate=rate)
    yield Race("check of manifests", {"ours": lambda: check(manifests)}, share=0.1, rate=rate)


def check(manifests: Path) -> None:
    check_manifests(manifests)


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


SCRIPT = Script("discovery", __doc__, parts, Sizes(), toy=Sizes(320), full=Sizes(100_000))

if __name__ == "__main__":
    main(SCRIPT)

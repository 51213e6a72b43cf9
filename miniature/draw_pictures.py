"""Draw the pictures that the miniature's models are trained on, as arrays on disk."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from clare.models.mini import SIZE
from clare.pipeline.synthetic.camera import develop, finish
from clare.pipeline.synthetic.faces import FIRST_TRAINING_IDENTITY, list_faces, write_captions
from clare.pipeline.synthetic.painting import paint

SHOTS = 6
BLOCK = 600


def main() -> None:
    """Write pictures.npy (N, 32, 32, 3) uint8 and captions.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="scratch folder, shared by all scripts here")
    parser.add_argument("--count", type=int, default=60_000)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    pictures = np.lib.format.open_memmap(
        options.folder / "pictures.npy", "w+", np.uint8, (options.count, SIZE, SIZE, 3)
    )
    captions: list[str] = []
    for start in range(0, options.count, BLOCK):
        numbers = np.arange(start, min(start + BLOCK, options.count))
        faces = list_faces(FIRST_TRAINING_IDENTITY + numbers // SHOTS, numbers % SHOTS)
        seen = develop(finish(paint(faces), (0, start)))
        # Half of them are compressed twice, as on the web, and as those that LaRE is measured on.
        twice = numbers % 2 == 1
        seen[twice] = develop(finish(seen[twice], (1, start)))
        pictures[start : start + len(numbers)] = seen
        captions += write_captions(faces, seed=start)
        print(f"{start + len(numbers)} of {options.count} pictures", flush=True)
    pictures.flush()
    (options.folder / "captions.json").write_text(json.dumps(captions), encoding="utf-8")


if __name__ == "__main__":
    main()

"""How good the miniature is: what tells its fakes from its photographs, for people it never saw.

Laplacian energy and compressed size should hardly tell them apart; then the mean of the LaRE map is
worth a look.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from clare.bootstrap import Resampling, interval, resample
from clare.image_statistics import jpeg_size, laplacian_energy
from clare.models.mini import SIZE
from clare.models.runtime import Runtime
from clare.pipeline.extractor import Extractor
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.synthetic.camera import develop
from clare.pipeline.synthetic.faces import list_faces
from clare.pipeline.synthetic.fakes import KINDS, create_kind, draw_reals

BATCH = 64


def main() -> None:
    """Print a table, and write it to a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, help="folder that export.py wrote")
    parser.add_argument("out", type=Path, help="the JSON file")
    parser.add_argument("--count", type=int, default=300, help="pictures of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--timesteps", default="200")
    parser.add_argument("--draws", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps = tuple(int(step) for step in options.timesteps.split(","))
    settings = {
        "model": str(options.models / "diffusion"),
        "size": SIZE,
        "timesteps": steps,
        "draws": options.draws,
    }
    extractor = create_extractor("lare", settings, ImageSettings(), Runtime())
    # Other people for the fakes than for the reals: nothing but their being fake may tell.
    reals = list_faces(np.arange(options.count), np.zeros(options.count, int))
    people = list_faces(10_000 + np.arange(options.count), np.zeros(options.count, int))
    real = describe(extractor, draw_reals(reals).files, steps)
    print(f"{'real':10}", {name: round(float(np.mean(v)), 4) for name, v in real.items()})
    table = {}
    for kind in options.kinds.split(","):
        fake = describe(extractor, create_kind(kind, options.models)(people, 0).files, steps)
        table[kind] = {name: auc(real[name], fake[name]) for name in real}
        cells = [f"{n} {a:.3f} ({lo:.3f} to {hi:.3f})" for n, (a, lo, hi) in table[kind].items()]
        print(f"{kind:10}", "; ".join(cells), flush=True)
    record = {"count": options.count, "draws": options.draws, "auc": table}
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def describe(
    extractor: Extractor, files: list[bytes], steps: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """One number a picture (N,): two shortcuts, and the mean of the map at each step."""
    pictures = develop(files)
    found = {
        "laplacian": np.array([laplacian_energy(picture) for picture in pictures]),
        "jpeg_size": np.array([float(jpeg_size(picture)) for picture in pictures]),
    }
    maps = np.concatenate(
        [maps_of(extractor, files[start : start + BATCH]) for start in range(0, len(files), BATCH)]
    )
    means = maps.mean((2, 3, 4, 5))
    return found | {f"lare t={step}": means[:, k] for k, step in enumerate(steps)}


def maps_of(extractor: Extractor, files: list[bytes]) -> np.ndarray:
    """LaRE (B, T, D, 4, h, w) of files, as `clare extract` makes it."""
    found: np.ndarray = extractor.forward(inputs_of(extractor, files))["lare"].float().numpy()
    return found


def inputs_of(extractor: Extractor, files: list[bytes]) -> dict[str, np.ndarray]:
    """What the extractor's `forward` takes, of files."""
    rows = []
    for file in files:
        content = hashlib.sha256(file).hexdigest()
        (image,) = load_views(file, ImageSettings(), [0], content=content)
        rows.append(extractor.prepare(image))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def auc(real: np.ndarray, fake: np.ndarray) -> tuple[float, float, float]:
    """AUC of "the fake has more of it", with a 95 % interval over people."""
    values = np.concatenate([real, fake])
    label = np.r_[np.zeros(len(real), np.int64), np.ones(len(fake), np.int64)]
    above = (fake[:, None] > real).astype(float) + 0.5 * (fake[:, None] == real)
    draws = []
    cluster = np.arange(len(values)).astype(str)
    for weights in resample(label, cluster, Resampling(500)):
        left, right = weights[:, len(real) :], weights[:, : len(real)]
        mean = np.einsum("bf,fr,br->b", left, above, right, optimize=True)
        draws.append(mean / (left.sum(1) * right.sum(1)))
    low, high = interval(np.concatenate(draws))
    return float(above.mean()), float(low or 0), float(high or 1)


if __name__ == "__main__":
    main()

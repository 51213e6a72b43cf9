"""What decides how well LaRE separates: the step, the draws, their noise, the prompt.

Two scores of a picture of the split test: the mean of its map, which says in which direction fakes
differ, and a logistic regression on the map, fitted on people of the split train, which says how
much is in it. All settings measure the same pictures, so differences are paired.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import BATCH, inputs_of
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clare.bootstrap import Resampling
from clare.heads.metrics.measure import Measured, difference_of, measure_draws
from clare.heads.metrics.predictions import Predictions
from clare.models.mini import WEIGHTS, mini_overrides
from clare.models.runtime import Runtime
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.csv_io import read_manifest
from clare.pipeline.synthetic.dataset import REALS
from clare.typed_json import to_json

KINDS = ("roundtrip", "image30", "image60", "sampled", "unseen", "swap")
PROMPTS = ("a photo of a face", "", "a photo of a dog", "a face with long black hair and glasses")
STEPS = (25, 50, 100, 200, 400, 700)
MOST_DRAWS = 16
SEED = 0
CELLS = 4
"""Side of the map that the regression sees: the means of its parts."""


@dataclass(frozen=True)
class Setting:
    """One way of measuring.

    Args:
        steps: of the diffusion; of several, the regression sees each map.
        draws: noise draws a step, whose mean counts.
        noise: each ``image`` has its own, or one is ``shared`` by all; ``antithetic``: of every two
            draws of a picture the second is the negative of the first.
        prompt: the constant prompt.
    """

    steps: tuple[int, ...] = (200,)
    draws: int = 4
    noise: str = "image"
    prompt: str = PROMPTS[0]


USUAL = Setting()
SETTINGS = (
    *(Setting(draws=draws) for draws in (1, 2, 4, 8, MOST_DRAWS)),
    *(Setting(steps=(step,)) for step in STEPS if step != 200),
    *(Setting(noise="shared", draws=draws) for draws in (1, 2, 4)),
    *(Setting(noise="antithetic", draws=draws) for draws in (2, 4)),
    *(Setting(prompt=prompt) for prompt in PROMPTS[1:]),
    Setting(steps=(50, 400), draws=1),
    Setting(steps=(50, 100, 200, 400), draws=1),
)


def main() -> None:
    """Write study.json: both scores' AUC of each kind against reals, by setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path, help="folder that `clare draw --mini` wrote")
    parser.add_argument("out", type=Path, help="the JSON file")
    parser.add_argument("--maps", type=Path, required=True, help="folder that keeps what is slow")
    parser.add_argument("--models", type=Path, default=WEIGHTS)
    parser.add_argument("--fit", type=int, default=300, help="people the regression is fitted on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = {name: read_files(options.pictures, name, options.fit) for name in (REALS, *KINDS)}
    maps = {name: read_maps(found, options.models, options.maps) for name, found in files.items()}
    usual: dict[tuple[str, str], Measured] = {}
    rows: list[dict[str, Any]] = []
    for setting in (USUAL, *(one for one in SETTINGS if one != USUAL)):
        for kind in KINDS:
            pair = [select(maps[name], setting) for name in (REALS, kind)]
            for score, margins in scores(pair, options.fit).items():
                found = measure_draws(predictions(margins), None, Resampling(seed=SEED))
                first = usual.setdefault((kind, score), found)
                rows.append(
                    asdict(setting)
                    | {"kind": kind, "score": score, "auc": to_json(found.figures["auc"])}
                    | {"against_usual": to_json(difference_of(first, found).figures["auc"])}
                )
    record = {
        "fit": options.fit,
        "test": len(files[REALS]) - options.fit,
        "usual": asdict(USUAL),
        "rows": rows,
    }
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{len(rows)} figures in {options.out}")


def read_files(pictures: Path, name: str, fit: int) -> list[bytes]:
    """Pictures of a subset: so many of the split train, then all of the split test."""
    samples = read_manifest(pictures / "manifests" / f"{name}.csv").samples
    train = [one for one in samples if one.split == "train"][:fit]
    if len(train) < fit:
        raise SystemExit(f"{name} has only {len(train)} people of the split train: lower --fit")
    test = [one for one in samples if one.split == "test"]
    return [(pictures / one.path).read_bytes() for one in (*train, *test)]


def read_maps(files: list[bytes], models: Path, folder: Path) -> dict[str, np.ndarray]:
    """By `_name`, maps float32 (N, D, 4, CELLS, CELLS) for every way of measuring."""
    weights = [file.read_bytes() for file in sorted(models.glob("diffusion/*/*.safetensors"))]
    made_of = hashlib.sha256(b"".join(hashlib.sha256(b).digest() for b in (*weights, *files)))
    kept = folder / f"{made_of.hexdigest()[:16]}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    found = dict(np.load(kept)) if kept.is_file() else {}
    begun = time.monotonic()
    for way in measured():
        if _name(way) not in found or found[_name(way)].shape[1] < way.draws:
            found[_name(way)] = measure(way, models, files)
            partial = kept.with_suffix(".partial.npz")
            np.savez(partial, **found)
            partial.replace(kept)
    print(f"{kept.name}: {time.monotonic() - begun:.0f} s", flush=True)
    return found


def measured() -> Iterator[Setting]:
    """What has to be measured for `SETTINGS`: one step each, as many draws as anyone wants."""
    most: dict[Setting, int] = {}
    for setting in SETTINGS:
        for step in setting.steps:
            way = replace(setting, steps=(step,), draws=1)
            most[way] = max(most.get(way, 0), setting.draws)
    return (replace(way, draws=draws) for way, draws in most.items())


def measure(way: Setting, models: Path, files: list[bytes]) -> np.ndarray:
    """The maps (N, D, 4, CELLS, CELLS) of pictures, one step's, every draw by itself."""
    settings = mini_overrides(models)["lare"] | {
        "timesteps": way.steps,
        "draws": way.draws,
        "prompt": way.prompt,
        "noise": "shared" if way.noise == "shared" else "image",
    }
    extractor = create_extractor("lare", settings, ImageSettings(), Runtime())
    found = []
    for start in range(0, len(files), BATCH):
        inputs = inputs_of(extractor, files[start : start + BATCH])
        if way.noise == "antithetic":
            noise = inputs["noise"]  # (B, 1, D, 4, h, w)
            noise[:, :, 1::2] = -noise[:, :, ::2]
        error = extractor.forward(inputs)["lare"].float()[:, 0]
        found.append(torch.nn.functional.adaptive_avg_pool3d(error, (4, CELLS, CELLS)).numpy())
    return np.concatenate(found)


def select(maps: dict[str, np.ndarray], setting: Setting) -> np.ndarray:
    """The maps (N, T, 4, CELLS, CELLS) of a setting, its draws averaged."""
    steps = [
        maps[_name(replace(setting, steps=(step,)))][:, : setting.draws].mean(1)
        for step in setting.steps
    ]
    return np.stack(steps, 1)


def _name(way: Setting) -> str:
    return f"{way.steps[0]} {way.noise} {way.prompt}"


def scores(pair: list[np.ndarray], fit: int) -> dict[str, list[np.ndarray]]:
    """Margins of the test people's real and fake pictures, by score."""
    logs = [np.log(maps.reshape(len(maps), -1)) for maps in pair]  # errors scatter by factors
    label = np.repeat([0, 1], fit)
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    regression.fit(np.concatenate([values[:fit] for values in logs]), label)
    return {
        "mean": [maps[fit:].mean((1, 2, 3, 4)) for maps in pair],
        "regression": [regression.decision_function(values[fit:]) for values in logs],
    }


def predictions(margins: list[np.ndarray]) -> Predictions:
    """Margins of reals and of fakes of the same people, a cluster each."""
    count = len(margins[0])
    people = np.tile(np.arange(count).astype(str), 2)
    nothing = np.full(2 * count, "")
    return Predictions(
        sample_id=np.array([f"{k} {person}" for k, person in enumerate(people)]),
        subset=nothing,
        category=nothing,
        label=np.repeat([0, 1], count),
        margin=np.concatenate(margins).astype(np.float64),
        video=nothing,
        cluster=people,
    )


if __name__ == "__main__":
    main()

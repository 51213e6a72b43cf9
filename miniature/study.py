"""What decides how well LaRE separates: the step, the draws, their noise, the prompt.

People that the models never saw; the score of a picture is the mean of its map.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import BATCH, auc, inputs_of

from clare.pipeline.extractor import Runtime
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images import ImageSettings
from clare.pipeline.mini.faces import list_faces
from clare.pipeline.mini.fakes import create_kind, draw_reals
from clare.pipeline.mini.painting import SIZE

KINDS = ("roundtrip", "image30", "image60", "sampled", "unseen")
STEPS = (50, 100, 200, 400, 700)
DRAWS = 16
COUNTS = (1, 2, 4, 8, 16)
PROMPTS = ("a photo of a face", "", "a photo of a dog", "a face with long black hair and glasses")


@dataclass(frozen=True)
class Setting:
    """One way of measuring.

    Args:
        noise: ``independent`` for every picture, ``shared`` by all, or ``antithetic``: of every
            two draws of a picture the second is the negative of the first.
        prompt: the constant prompt.
        step: of the diffusion.
        draws: noise draws.
    """

    noise: str = "independent"
    prompt: str = PROMPTS[0]
    step: int = 200
    draws: int = DRAWS


SETTINGS = (
    *(Setting(step=step, draws=DRAWS if step == 200 else 8) for step in STEPS),
    Setting(noise="shared", draws=8),
    Setting(noise="antithetic", draws=8),
    *(Setting(prompt=prompt, draws=4) for prompt in PROMPTS[1:]),
)


def main() -> None:
    """Write study.json: AUC of each kind against reals, by setting and number of draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, help="folder that export.py wrote")
    parser.add_argument("out", type=Path, help="the JSON file")
    parser.add_argument("--count", type=int, default=150, help="pictures of each kind")
    options = parser.parse_args()
    torch.set_num_threads(1)
    zeros = np.zeros(options.count, int)
    people = list_faces(20_000 + np.arange(options.count), zeros)
    files = {"real": draw_reals(list_faces(30_000 + np.arange(options.count), zeros), 5).files}
    for kind in KINDS:
        files[kind] = create_kind(kind, options.models)(people, 5).files
    print("pictures drawn", flush=True)
    rows: list[dict[str, Any]] = []
    for setting in SETTINGS:
        scores = {kind: measure(setting, options.models, files[kind]) for kind in files}
        for draws in (count for count in COUNTS if count <= setting.draws):
            means = {kind: values[:, :draws].mean(1) for kind, values in scores.items()}
            found = {kind: auc(means["real"], means[kind]) for kind in KINDS}
            rows.append({**vars(setting), "draws": draws, "auc": found})
        said = ", ".join(f"{kind} {value[0]:.3f}" for kind, value in found.items())
        print(setting, said, flush=True)
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measure(setting: Setting, models: Path, files: list[bytes]) -> np.ndarray:
    """Mean of the map (N, draws) of each picture and draw."""
    settings = {
        "model": str(models / "diffusion"),
        "size": SIZE,
        "timesteps": (setting.step,),
        "draws": setting.draws,
        "prompt": setting.prompt,
    }
    extractor = create_extractor("lare", settings, ImageSettings(), Runtime())
    found = []
    for start in range(0, len(files), BATCH):
        inputs = inputs_of(extractor, files[start : start + BATCH])
        noise = inputs["noise"]  # (B, 1, D, 4, h, w)
        if setting.noise == "shared":
            dice = np.random.default_rng(6)
            noise[:] = dice.standard_normal(noise.shape[1:], np.float32)
        elif setting.noise == "antithetic":
            noise[:, :, 1::2] = -noise[:, :, ::2]
        found.append(extractor.forward(inputs)["lare"].float().mean((1, 3, 4, 5)).numpy())
    return np.concatenate(found)


if __name__ == "__main__":
    main()

"""How good the miniature's CLIP is: naming what is seen of people whom it never saw."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import open_clip
import torch
from train_autoencoder import to_pixels
from train_clip import CONTEXT

from clare.pipeline.synthetic import faces as known
from clare.pipeline.synthetic.faces import list_faces
from clare.pipeline.synthetic.fakes import take_photographs


def main() -> None:
    """Print, for each trait, how often the caption of the right value is the nearest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, help="folder that export.py wrote")
    parser.add_argument("--count", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{options.models / 'clip'}")
    model.float().eval()
    tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT)
    people = list_faces(50_000 + np.arange(options.count), np.zeros(options.count, int))
    hair = people.hair_style > 0
    asked = {
        "skin": ([f"a face with {s} skin" for s in known.SKINS], people.skin, None),
        "hair": (
            [f"a face with short {h} hair" for h in known.HAIR_COLOURS],
            people.hair_colour,
            hair,
        ),
        "background": (
            [f"a photo of a face on a {b} background" for b in known.BACKGROUNDS],
            people.background,
            None,
        ),
        "eyes": ([f"a face with {e} eyes" for e in known.EYES], people.eyes, None),
        "glasses": (["a face", "a face with glasses"], people.glasses.astype(int), None),
    }
    with torch.inference_mode():
        images = model.encode_image(to_pixels(take_photographs(people)), normalize=True)
        for name, (captions, truth, rows) in asked.items():
            texts = model.encode_text(tokenizer(captions), normalize=True)
            right = (images @ texts.T).argmax(1).numpy() == truth
            right = right if rows is None else right[rows]
            print(f"{name}: {right.mean():.2f} (chance {1 / len(captions):.2f}), n {len(right)}")


if __name__ == "__main__":
    main()

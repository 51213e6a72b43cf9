"""Train a CLIP on the drawn faces and their captions: which caption belongs to which picture."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from loop import Plan, train
from torch import nn
from torch.nn import functional
from train_autoencoder import to_pixels

BATCH = 96
CONTEXT = 40

CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 4,
        "width": 96,
        "layers": 4,
        "head_width": 32,
    },
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": 49408,
        "width": 48,  # most of the file are the 49,408 rows of open_clip's vocabulary
        "heads": 4,
        "layers": 2,
    },
}


def main() -> None:
    """Train; the checkpoint is what export.py reads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="scratch folder with the pictures")
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    pictures = np.load(options.folder / "pictures.npy", mmap_mode="r")
    captions = json.loads((options.folder / "captions.json").read_text(encoding="utf-8"))
    tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT)
    used, flat = tokenizer(captions).unique(return_inverse=True)
    tokens = flat.view(len(captions), CONTEXT)  # the end of text stays the highest number
    run = options.folder / "clip_run"
    run.mkdir(exist_ok=True)
    (run / "used.json").write_text(json.dumps(used.tolist()))
    config = json.loads(json.dumps(CONFIG))
    config["text_cfg"]["vocab_size"] = len(used)
    torch.manual_seed(3)
    model = open_clip.CLIP(**config)

    def loss(generator: torch.Generator) -> dict[str, torch.Tensor]:
        rows = torch.randint(len(pictures), (BATCH,), generator=generator).sort().values
        with torch.autocast("cpu", torch.bfloat16):
            images = model.encode_image(to_pixels(pictures[rows.numpy()]), normalize=True)
        texts = model.encode_text(tokens[rows], normalize=True)
        scale = model.logit_scale.clamp(max=math.log(100)).exp()
        logits = scale * images.float() @ texts.float().T
        # Pictures with one caption share it: none of them is the others' wrong answer.
        same = (tokens[rows][:, None] == tokens[rows][None]).all(-1).float()
        target = same / same.sum(1, keepdim=True)
        both = functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
        hits = same.gather(1, logits.argmax(1, keepdim=True)).mean()
        return {"loss": both / 2, "right": hits, "scale": scale.detach()}

    plan = Plan(steps=options.steps, rate=1e-3, seed=3)
    train(nn.ModuleDict({"clip": model}), loss, plan, run)


if __name__ == "__main__":
    main()

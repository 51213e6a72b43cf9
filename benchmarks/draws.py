"""What a noise draw costs: the arithmetic of one image's LaRE, by model and number of draws.

    python -m benchmarks.draws

Counts operations of the full-size configurations on tensors without memory, so it takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch

from benchmarks.arithmetic import count_tflop
from benchmarks.full_models import TEXT, UNET, VAE
from benchmarks.rounds import Facts
from benchmarks.script import Parts, Script, main

DRAWS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Sizes:
    pixels: int = 256


def parts(sizes: Sizes, folder: Path) -> Parts:
    size = sizes.pixels
    with torch.device("meta"), torch.inference_mode():
        vae, unet = diffusers.AutoencoderKL(**VAE), diffusers.UNet2DConditionModel(**UNET)
        pixels, latent = torch.empty(1, 3, size, size), torch.empty(1, 4, size // 8, size // 8)
        text = torch.empty(1, 77, TEXT["hidden_size"])
        encode = count_tflop(lambda: vae.encode(pixels))
        predict = count_tflop(lambda: unet(latent, 200, encoder_hidden_states=text))
    cost = {"VAE encoder": {"TFLOP": encode}, "UNet, a draw": {"TFLOP": predict}}
    yield Facts(f"an image of {size} x {size}", cost)
    totals = {draws: encode + draws * predict for draws in DRAWS}
    images = "images, against four draws"
    rows = {
        f"{draws} draws": {"TFLOP": total, images: totals[4] / total}
        for draws, total in totals.items()
    }
    yield Facts("an image by draws", rows)


SCRIPT = Script("draws", __doc__, parts, Sizes(), toy=Sizes(64), full=Sizes())

if __name__ == "__main__":
    main(SCRIPT)

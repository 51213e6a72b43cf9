"""What a noise draw costs: the arithmetic of one image's LaRE, by model and number of draws.

    python benchmarks/draws.py [--size 256]

Counts operations of the full-size configurations on tensors without memory, so it takes seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import diffusers
import torch
from full_models import UNET, VAE  # type: ignore[import-not-found]  # stands beside this script
from torch.utils.flop_counter import FlopCounterMode

DRAWS = (1, 2, 4, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    size = parser.parse_args().size
    with torch.device("meta"), torch.inference_mode():
        vae, unet = diffusers.AutoencoderKL(**VAE), diffusers.UNet2DConditionModel(**UNET)
        pixels, latent = torch.empty(1, 3, size, size), torch.empty(1, 4, size // 8, size // 8)
        text = torch.empty(1, 77, UNET["cross_attention_dim"])
        encode = tflop(lambda: vae.encode(pixels))
        predict = tflop(lambda: unet(latent, 200, encoder_hidden_states=text))
    print(f"VAE encoder {encode:.3f} TFLOP, UNet {predict:.3f} a draw, image of {size} x {size}")
    for draws in DRAWS:
        total = encode + draws * predict
        share = (encode + 4 * predict) / total
        print(f"{draws} draws: {total:.3f} TFLOP an image, {share:.2f}x the images of four draws")


def tflop(call: Callable[[], object]) -> float:
    """Operations of a call, in units of 1e12."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops()) / 1e12


if __name__ == "__main__":
    main()

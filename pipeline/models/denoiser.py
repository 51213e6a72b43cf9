"""Stable Diffusion's UNet as a sampler in few steps, plain or for inpainting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clare.errors import InputError
from clare.models.hub import quiet, weights_sha256
from clare.models.runtime import Runtime, enough_memory
from clare.pipeline.models.diffusion_files import find_diffusion
from clare.pipeline.models.diffusion_parts import build_scheduler
from clare.pipeline.models.stable_diffusion import build, encode_prompt

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Denoiser:
    """A UNet with a prompt and a sampler without further noise (DDIM).

    Args:
        unet: the ``UNet2DConditionModel``.
        scheduler: a ``DDIMScheduler`` with the model's own noise schedule.
        text: the prompt's hidden states (1, L, C).
        runtime: where and how it runs.
        inpaints: whether the UNet takes a mask and the rest of the picture beside a latent.
        weights: sha256 over all files of the model.
    """

    unet: Any
    scheduler: Any
    text: torch.Tensor
    runtime: Runtime
    inpaints: bool
    weights: str

    def times(self, steps: int, strength: float) -> torch.Tensor:
        """The steps to be taken, falling, of so many for the whole way, from a share of it on."""
        self.scheduler.set_timesteps(steps, device=self.runtime.device)
        taken: torch.Tensor = self.scheduler.timesteps[-max(1, round(steps * strength)) :]
        return taken

    def add_noise(
        self, latents: torch.Tensor, noise: torch.Tensor, time: torch.Tensor
    ) -> torch.Tensor:
        """Scaled latents (B, C, h, w) noised as far as a step."""
        noised: torch.Tensor = self.scheduler.add_noise(latents, noise, time.expand(len(latents)))
        return noised

    def step(
        self, latents: torch.Tensor, time: torch.Tensor, beside: torch.Tensor | None
    ) -> torch.Tensor:
        """One step less noise.

        Args:
            latents: (B, C, h, w) float32, scaled.
            time: the step that they are at, of `times`.
            beside: (B, 1 + C, h, w) mask and the rest's latent, of a model for inpainting.
        """
        import torch

        runtime = self.runtime
        given = latents if beside is None else torch.cat([latents, beside], 1)
        predicted = self.unet(
            given.to(runtime.torch_dtype, memory_format=runtime.memory_format),
            time,
            encoder_hidden_states=self.text.expand(len(latents), -1, -1),
        ).sample
        found: torch.Tensor = self.scheduler.step(predicted.float(), time, latents).prev_sample
        return found


def load_denoiser(
    model: str,
    revision: str | None,
    prompt: str,
    runtime: Runtime,
    model_config: str | None = None,
) -> Denoiser:
    """Load a model's UNet, and run its text encoder once; arguments as of `load_diffusion`.

    Raises:
        InputError: the folder is not such a model, or its UNet takes something else.
        WeightsError: the weights are not on disk and can't be fetched.
    """
    import diffusers
    import transformers

    files = find_diffusion(model, revision, model_config)
    unet_config, vae_config = files.configs["unet"], files.configs["vae"]
    latent = vae_config.get("latent_channels", 4)
    taken = unet_config.get("in_channels", 4)
    if taken not in (latent, 2 * latent + 1):
        raise InputError(
            f"the UNet of {model} takes {taken} channels: a plain one takes {latent}, one for "
            f"inpainting {2 * latent + 1}"
        )
    if unet_config.get("addition_embed_type") or unet_config.get("class_embed_type"):
        raise InputError(f"the UNet of {model} needs more than an image and a prompt")
    with quiet(diffusers, transformers), enough_memory(model):
        text, _ = encode_prompt(files, prompt)
        unet = runtime.place(build(files, "unet"))
        schedule = build_scheduler(files.configs["scheduler"], model)
        sampler = diffusers.DDIMScheduler.from_config(schedule.config, clip_sample=False)
    return Denoiser(
        unet=unet,
        scheduler=sampler,
        text=text.to(runtime.device, runtime.torch_dtype),
        runtime=runtime,
        inpaints=taken != latent,
        weights=weights_sha256(files.weights),
    )

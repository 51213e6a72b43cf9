"""A region made anew by a diffusion model, within the photograph.

With a model for inpainting, whose UNet is also given the mask and the rest of the picture, as
Guillaro et al., "A Bias-Free Training Paradigm for More General AI-generated Image Detection" (CVPR
2025) have it. With a plain one by masked denoising: after each step the latent outside of the
region is that of the photograph, noised as far (Avrahami et al., "Blended Latent Diffusion", 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clare.errors import InputError
from clare.models.backbones import remark_on
from clare.models.runtime import Runtime
from clare.pipeline.models.denoiser import load_denoiser
from clare.pipeline.models.stable_diffusion import (
    load_autoencoder,
    scale_latents,
    unscale_latents,
)
from clare.pipeline.pair import Draft, ModelPairKind, Photo, Pixels
from clare.pipeline.pairs._region import draw_region, keep_of


@dataclass(frozen=True)
class InpaintSettings:
    """Settings of `inpaint`.

    Args:
        model: short name, hub id, local folder or single file of a Stable Diffusion model, for
            inpainting or plain.
        revision: of the hub repository; None means the pinned one.
        model_config: of a single file: sd1.5, sd2.1-base, sd2.1, or a folder in the diffusers
            layout.
        region: what is made anew: the ``face``, a ``rectangle`` somewhere, what the manifest's
            ``mask`` marks, or the ``whole`` image.
        paste: lay the photograph's own background back over what the model made.
        steps: of the sampler (DDIM).
        strength: how much of the way a region is noised first, above 0 to 1.
        prompt: the one prompt, the same for every image.

    Raises:
        InputError: a value is out of its range.
    """

    model: str = "sd2.1-base"
    revision: str | None = None
    model_config: str | None = None
    region: Literal["face", "rectangle", "mask", "whole"] = "face"
    paste: bool = True
    steps: int = 10
    strength: float = 0.6
    prompt: str = "a photo of a face"

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 1000:
            raise InputError(f"inpaint's steps must be 1 to 1000, not {self.steps}")
        if not 0 < self.strength <= 1:
            raise InputError(
                f"inpaint's strength must be above 0 and at most 1, not {self.strength}"
            )


class Inpaint(ModelPairKind):
    """The real member is the photograph; without pasting, all of the fake is the model's."""

    Settings = InpaintSettings
    VERSION = 2

    def __init__(self, settings: InpaintSettings, runtime: Runtime | None, seed: int) -> None:
        assert runtime is not None
        super().__init__(settings, runtime, seed)
        place = (settings.model, settings.revision)
        self._coder = load_autoencoder(*place, runtime, settings.model_config)
        self._denoiser = load_denoiser(*place, settings.prompt, runtime, settings.model_config)
        self._runtime = runtime
        self.needs_face = settings.region == "face"
        self.factor = self._coder.factor
        self.weights, self.origin = self._denoiser.weights, self._coder.origin

    @property
    def remarks(self) -> Sequence[str]:
        """What is known of the small models, and how a plain model fills a region."""
        remark = remark_on(self._coder.backbone or "")
        told = [remark.replace("features", "fakes")] if remark else []
        if not self._denoiser.inpaints:
            own = self._coder.backbone
            model = f"the {own} backbone" if own else self.settings.model
            told.append(
                f"{model} is no model for inpainting: regions are filled by masked denoising in "
                f"{self.settings.steps} steps"
            )
        return told

    def prepare(self, photo: Photo, partner: Photo | None) -> Draft:
        """``pixels``, ``mask`` (1, h, w) on the latent's grid, and ``noise`` (C, h, w)."""
        settings: InpaintSettings = self.settings
        region = draw_region(photo, settings.region, self.dice(photo, "region"))
        factor = self.factor
        high, wide = (side // factor for side in photo.pixels.shape[:2])
        # A position of the latent is made anew where any pixel of it is.
        grid = region.reshape(high, factor, wide, factor).max((1, 3)) > 0
        shape = (self._coder.vae.config.latent_channels, high, wide)
        inputs: dict[str, NDArray[Any]] = {
            "pixels": photo.pixels,
            "mask": grid[None].astype(np.float32),
            "noise": self.dice(photo, "noise").standard_normal(shape, np.float32),
        }
        if settings.paste:
            return Draft(photo.pixels, region, keep=keep_of(region), inputs=inputs)
        return Draft(photo.pixels, np.full_like(region, 255), inputs=inputs)

    def forward(self, inputs: Mapping[str, NDArray[Any]]) -> Pixels:
        """Noise a batch, denoise the regions, decode."""
        import torch

        settings: InpaintSettings = self.settings
        runtime, denoiser, coder = self._runtime, self._denoiser, self._coder
        with torch.inference_mode():
            mask, noise = runtime.tensor(inputs["mask"]), runtime.tensor(inputs["noise"])
            clean = scale_latents(coder.vae, coder.encode(inputs["pixels"]))
            beside = None
            if denoiser.inpaints:
                seen = _without(inputs["pixels"], inputs["mask"], self.factor)
                beside = torch.cat([mask, scale_latents(coder.vae, coder.encode(seen))], 1)
            latents = clean
            times = denoiser.times(settings.steps, settings.strength)
            for number, time in enumerate(times):
                if number == 0:
                    latents = denoiser.add_noise(clean, noise, time)
                latents = denoiser.step(latents, time, beside)
                if beside is not None:
                    continue  # such a model was trained to keep the rest by itself
                after = times[number + 1] if number + 1 < len(times) else None
                rest = clean if after is None else denoiser.add_noise(clean, noise, after)
                latents = mask * latents + (1 - mask) * rest
            return coder.decode(unscale_latents(coder.vae, latents))


def _without(pixels: Pixels, mask: NDArray[np.float32], factor: int) -> Pixels:
    """Pictures (B, H, W, 3) with grey in the place of their regions."""
    whole = mask[:, 0].repeat(factor, 1).repeat(factor, 2)[..., None]
    return np.where(whole > 0, np.uint8(128), pixels)

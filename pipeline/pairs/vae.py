"""Round trips through the VAE of a latent diffusion model: the real image as its decoder draws it.

Method: Chen et al., "Dual Data Alignment Makes AI-Generated Image Detector Easier Generalizable"
(NeurIPS 2025), and Rajan et al., "Aligned Datasets Improve Detection of Latent Diffusion-Generated
Images" (ICLR 2025). No noise is added and nothing is denoised: what is fake is the decoder's trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clare.models.backbones import remark_on
from clare.models.runtime import Runtime
from clare.pipeline.models.stable_diffusion import load_autoencoder
from clare.pipeline.pair import Draft, ModelPairKind, Photo, Pixels
from clare.pipeline.pairs._region import Region, draw_region, keep_of


@dataclass(frozen=True)
class VaeSettings:
    """Settings of `vae`.

    Args:
        model: short name, hub id, local folder or single file of a Stable Diffusion model.
        revision: of the hub repository; None means the pinned one.
        model_config: of a single file: sd1.5, sd2.1-base, sd2.1, or a folder in the diffusers
            layout.
        latent: ``mean`` of the VAE's distribution, or a seeded ``sample``.
        region: what is replaced: the ``whole`` image, the ``face``, a ``rectangle`` somewhere, or
            what the manifest's ``mask`` marks.
    """

    model: str = "sd2.1-base"
    revision: str | None = None
    model_config: str | None = None
    latent: Literal["mean", "sample"] = "mean"
    region: Region = "whole"


class Vae(ModelPairKind):
    """The real member is the photograph as it is."""

    Settings = VaeSettings

    def __init__(self, settings: VaeSettings, runtime: Runtime | None, seed: int) -> None:
        assert runtime is not None
        super().__init__(settings, runtime, seed)
        self._coder = load_autoencoder(
            settings.model, settings.revision, runtime, settings.model_config
        )
        self.needs_face = settings.region == "face"
        self.factor, self.weights = self._coder.factor, self._coder.weights
        self.origin = self._coder.origin

    @property
    def remarks(self) -> Sequence[str]:
        """What is known of the small models."""
        remark = remark_on(self._coder.backbone or "")
        return [remark.replace("features", "fakes")] if remark else []

    def prepare(self, photo: Photo, partner: Photo | None) -> Draft:
        """``pixels``, and ``noise`` for sampled latents."""
        settings: VaeSettings = self.settings
        mask = draw_region(photo, settings.region, self.dice(photo, "region"))
        inputs: dict[str, NDArray[Any]] = {"pixels": photo.pixels}
        if settings.latent == "sample":
            high, wide = (side // self.factor for side in photo.pixels.shape[:2])
            shape = (self._coder.vae.config.latent_channels, high, wide)
            inputs["noise"] = self.dice(photo, "latent").standard_normal(shape, np.float32)
        return Draft(photo.pixels, mask, keep=keep_of(mask), inputs=inputs)

    def forward(self, inputs: Mapping[str, NDArray[Any]]) -> Pixels:
        """One pass through encoder and decoder."""
        import torch

        with torch.inference_mode():
            return self._coder.decode(self._coder.encode(inputs["pixels"], inputs.get("noise")))

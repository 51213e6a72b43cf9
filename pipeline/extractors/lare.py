"""LaRE: the error of a diffusion model's noise prediction on an image's latent, one step.

Method: Luo et al., "LaRE²: Latent Reconstruction Error Based Method for Diffusion-Generated Image
Detection" (CVPR 2024). With latent z, noise e, step t and alpha_bar a::

    x_t = sqrt(a) z + sqrt(1 - a) e        map = (prediction(x_t, t, prompt) - e)^2

A model that predicts v = sqrt(a) e - sqrt(1 - a) z has e = sqrt(a) v + sqrt(1 - a) x_t, so its
v-error times sqrt(a) is its e-error, exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from clare.errors import InputError
from clare.models.extraction_cost import ExtractionCost
from clare.models.runtime import Runtime
from clare.pipeline.extractor import Extractor
from clare.store.spec import FeatureSpec

if TYPE_CHECKING:
    import numpy as np
    import torch

    from clare.pipeline.images.prepare import PreparedImage
    from clare.pipeline.images.settings import ImageSettings


@dataclass(frozen=True)
class LareSettings:
    """Settings of `lare`.

    Args:
        model: short name, hub id, local folder or single file of a Stable Diffusion model.
        revision: of the hub repository; None means the pinned one.
        model_config: of a single file: sd1.5, sd2.1-base, sd2.1, or a folder in the diffusers
            layout.
        size: side of the square that the image is squashed to, in pixels.
        timesteps: diffusion steps, zero-based.
        draws: noise draws a step; each is kept.
        prompt: the one prompt, the same for every image.
        latent: ``mean`` of the VAE's distribution, or a seeded ``sample``.
        error: ``squared`` or ``absolute``.
        noise: each ``image`` has its own, or all have one ``shared``: then maps differ by their
            images alone, position by position.
        seed: of the noise.

    Raises:
        InputError: a value is out of its range.
    """

    model: str = "sd2.1-base"
    revision: str | None = None
    model_config: str | None = None
    size: int = 256
    timesteps: tuple[int, ...] = (200,)
    draws: int = 4
    prompt: str = "a photo of a face"
    latent: Literal["mean", "sample"] = "mean"
    error: Literal["squared", "absolute"] = "squared"
    noise: Literal["image", "shared"] = "image"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise InputError(f"lare's draws must be at least 1, not {self.draws}")
        if not self.timesteps or len(set(self.timesteps)) != len(self.timesteps):
            raise InputError("lare's timesteps must be at least one, none of them twice")
        if "{" in self.prompt:
            raise InputError(
                f"lare's prompt {self.prompt!r} looks like a template, but one constant prompt "
                "serves all images, so that no label can leak through it"
            )


class LareExtractor(Extractor):
    """Field ``lare``: float16 ``(steps, draws, channels, h, w)``, every draw of every step."""

    Settings = LareSettings

    def __init__(self, settings: LareSettings, images: ImageSettings, runtime: Runtime) -> None:
        import torch

        from clare.pipeline.models.stable_diffusion import load_diffusion

        self._settings, self._runtime = settings, runtime
        parts = load_diffusion(
            settings.model, settings.revision, settings.prompt, runtime, settings.model_config
        )
        self._vae, self._unet, self._scheduler = parts.vae, parts.unet, parts.scheduler
        self._text = parts.text
        side, rest = divmod(settings.size, parts.factor)
        if rest or side < 1:
            raise InputError(
                f"lare's size must be a multiple of {parts.factor} for this model, "
                f"not {settings.size}"
            )
        steps = parts.scheduler.config.num_train_timesteps
        if not all(0 <= t < steps for t in settings.timesteps):
            raise InputError(
                f"lare's timesteps must lie in 0 to {steps - 1}, not {list(settings.timesteps)}"
            )
        self._latent_shape = (parts.vae.config.latent_channels, side, side)
        self._steps = torch.tensor(settings.timesteps, device=runtime.device)
        self._scale = self._error_scale().to(runtime.device)
        if runtime.compile:
            self._unet = torch.compile(self._unet, dynamic=False)
            self._vae.encoder = torch.compile(self._vae.encoder, dynamic=False)

        shape = (len(settings.timesteps), settings.draws, *self._latent_shape)
        self.fields = (FeatureSpec("lare", shape, "float16", channel_axis=-3),)
        self.origin = parts.origin
        values = asdict(settings)
        for name in ("model", "revision", "model_config"):
            del values[name]  # where weights came from decides no value
        if settings.noise == "image":
            del values["noise"]  # stores that were made before there was a choice stay valid
        self.fingerprint = self.sign(
            parts.weights,
            values,
            images,
            config=parts.config,
            dtype=runtime.dtype,
            backbone=parts.backbone,
        )

    def prepare(self, image: PreparedImage) -> dict[str, np.ndarray]:
        """``pixels`` uint8 (S, S, 3) and ``noise`` float32 (T, D, C, h, w).

        For sampled latents also ``latent_noise`` float32 (C, h, w).
        """
        import numpy as np

        settings, shape = self._settings, self._latent_shape
        key = b"shared" if settings.noise == "shared" else image.noise_key
        noise = [
            [
                seeded_noise(key, settings.seed, f"{t} {draw}", shape)
                for draw in range(settings.draws)
            ]
            for t in settings.timesteps
        ]
        inputs = {"pixels": image.pixels(settings.size), "noise": np.array(noise)}
        if settings.latent == "sample":
            inputs["latent_noise"] = seeded_noise(image.noise_key, settings.seed, "latent", shape)
        return inputs

    def forward(self, inputs: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """``lare`` (B, T, D, C, h, w); one UNet call over all B * T * D noisy latents."""
        import torch

        runtime = self._runtime
        with torch.inference_mode():
            noise = runtime.tensor(inputs["noise"])
            latents = self._latents(inputs)[:, None, None].expand_as(noise)
            steps = self._steps[:, None].expand(noise.shape[:3]).flatten()
            clean, flat = latents.flatten(0, 2), noise.flatten(0, 2)
            noisy = self._scheduler.add_noise(clean, flat, steps)
            predicted = self._unet(
                noisy.to(runtime.torch_dtype, memory_format=runtime.memory_format),
                steps,
                encoder_hidden_states=self._text.expand(len(flat), -1, -1),
            ).sample
            if self._scheduler.config.prediction_type == "v_prediction":
                flat = self._scheduler.get_velocity(clean, flat, steps)
            error = (predicted.float() - flat).view(noise.shape) * self._scale
            maps = error.square() if self._settings.error == "squared" else error.abs()
            return {"lare": maps.half()}

    def cost(self) -> ExtractionCost:
        """The VAE's encoder once, the UNet for each draw of each step."""
        import numpy as np
        import torch

        from clare.models.extraction_cost import count_operations
        from clare.pipeline.models.stable_diffusion import encode_pixels

        runtime, settings = self._runtime, self._settings
        blank = np.zeros((1, settings.size, settings.size, 3), np.uint8)
        latent = torch.zeros(1, *self._latent_shape).to(runtime.device, runtime.torch_dtype)
        with torch.compiler.set_stance("force_eager"):  # what is compiled can't be counted
            encoder = count_operations(lambda: encode_pixels(self._vae, runtime, blank, None))
            draw = count_operations(
                lambda: self._unet(latent, self._steps[:1], encoder_hidden_states=self._text)
            )
        return ExtractionCost(encoder + len(settings.timesteps) * settings.draws * draw, encoder)

    def _latents(self, inputs: Mapping[str, np.ndarray]) -> torch.Tensor:
        """Scaled latents (B, C, h, w) in float32."""
        from clare.pipeline.models.stable_diffusion import encode_pixels, scale_latents

        noise = inputs["latent_noise"] if self._settings.latent == "sample" else None
        latents = encode_pixels(self._vae, self._runtime, inputs["pixels"], noise)
        return scale_latents(self._vae, latents)

    def _error_scale(self) -> torch.Tensor:
        """Factor (T, 1, 1, 1, 1) that brings the prediction's error to noise space."""
        import torch

        if self._scheduler.config.prediction_type == "epsilon":
            return torch.ones(len(self._settings.timesteps), 1, 1, 1, 1)
        alpha_bar = self._scheduler.alphas_cumprod[list(self._settings.timesteps)]
        return alpha_bar.sqrt().view(-1, 1, 1, 1, 1)


def seeded_noise(key: bytes, seed: int, what: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal float32 noise that depends on its arguments alone.

    Args:
        key: the image's content and view, or what all images share.
        seed: the user's seed.
        what: which noise of this image, for example step and draw.
        shape: of the noise.
    """
    import numpy as np

    digest = hashlib.sha256(b"\0".join((key, str(seed).encode(), what.encode()))).digest()
    bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    return np.random.Generator(bits).standard_normal(shape, np.float32)

"""The ways of running both extractors' models that the GPU's benchmark sets side by side.

Each way runs some images and gives the seconds of one, transfers to and from the device included.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import open_clip
import torch
from transformers import CLIPTextModel

from clare.models.runtime import Runtime
from clare.pipeline.extraction.batching import BatchRunner
from clare.pipeline.extractor import Extractor
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.prepare import PreparedImage
from clare.pipeline.images.settings import ImageSettings

Inputs = list[dict[str, np.ndarray]]
Turn = Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Contiguous(Runtime):
    """A runtime whose images do not lie channels last."""

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.contiguous_format


@dataclass(frozen=True)
class Work:
    """One extractor's models, and the images that it is timed with.

    Args:
        name: of the extractor.
        settings: that name its models.
        images: prepared by decoding; an extractor takes of them what it needs.
        batch: images at once.
        device: a torch device.
        few: images that the published loop runs, as it is slow.
    """

    name: str
    settings: Mapping[str, Any]
    images: list[PreparedImage]
    batch: int
    device: str
    few: int
    _made: dict[Runtime, Extractor] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return Path(self.settings["model"])

    def extractor(self, runtime: Runtime) -> Extractor:
        """One for each runtime: several gigabytes are read for it."""
        if runtime not in self._made:
            made = create_extractor(self.name, self.settings, ImageSettings(), runtime)
            self._made[runtime] = made
        return self._made[runtime]

    def inputs(self, extractor: Extractor) -> Inputs:
        return [extractor.prepare(image) for image in self.images]


def stack(rows: Inputs) -> dict[str, np.ndarray]:
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def ours(work: Work, way: str, runtime: Runtime, batch: int | None = None) -> Turn:
    """The product's own runner: one micro-batch ahead of what is fetched."""
    extractor = work.extractor(runtime)
    inputs = work.inputs(extractor)
    runner = BatchRunner(extractor, work.device, batch or work.batch)

    def turn() -> Mapping[str, float]:
        began = time.perf_counter()
        waiting = None
        for first in range(0, len(inputs), runner.micro_batch):
            launched = runner.launch(inputs[first : first + runner.micro_batch])
            if waiting is not None:
                waiting.fetch()
            waiting = launched
        assert waiting is not None
        waiting.fetch()
        return {way: (time.perf_counter() - began) / len(inputs)}

    return turn


def published(work: Work, way: str) -> Turn:
    """One image at a time, float32; of LaRE the text encoder too for each."""
    extractor = work.extractor(Runtime(work.device, "float32"))
    inputs = work.inputs(extractor)[: work.few]
    text, tokens = None, None
    if work.name == "lare":
        text = CLIPTextModel.from_pretrained(
            work.folder, subfolder="text_encoder", local_files_only=True, use_safetensors=True
        ).to(work.device)
        tokens = torch.zeros((1, 77), dtype=torch.long, device=work.device)

    def turn() -> Mapping[str, float]:
        began = time.perf_counter()
        for row in inputs:
            if text is not None:
                with torch.inference_mode():
                    text(tokens)
            for value in extractor.forward(stack([row])).values():
                value.cpu()
        return {way: (time.perf_counter() - began) / len(inputs)}

    return turn


def plain(work: Work, way: str) -> Turn:
    """Batches in bfloat16 with the libraries' own models: what a careful script does."""
    inputs = work.inputs(work.extractor(Runtime(work.device, "bfloat16")))
    forward = plain_lare(work) if work.name == "lare" else plain_clip(work)

    def turn() -> Mapping[str, float]:
        began = time.perf_counter()
        for first in range(0, len(inputs), work.batch):
            with torch.inference_mode():
                forward(stack(inputs[first : first + work.batch])).cpu()
        return {way: (time.perf_counter() - began) / len(inputs)}

    return turn


Plain = Callable[[Mapping[str, np.ndarray]], torch.Tensor]


def plain_lare(work: Work) -> Plain:
    """The VAE, then the UNet once a draw."""
    half = torch.bfloat16
    kept: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "torch_dtype": half}
    vae = diffusers.AutoencoderKL.from_pretrained(work.folder, subfolder="vae", **kept)
    unet = diffusers.UNet2DConditionModel.from_pretrained(work.folder, subfolder="unet", **kept)
    vae, unet = vae.to(work.device).eval(), unet.to(work.device).eval()
    scheduler = diffusers.DDPMScheduler(beta_schedule="scaled_linear", beta_end=0.012)
    text = torch.randn(1, 77, unet.config.cross_attention_dim).to(work.device, half)

    def forward(inputs: Mapping[str, np.ndarray]) -> torch.Tensor:
        images = torch.from_numpy(inputs["pixels"]).to(work.device).permute(0, 3, 1, 2)
        latents = vae.encode(images.to(half) / 127.5 - 1).latent_dist.mean * 0.18215
        noise = torch.from_numpy(inputs["noise"]).to(work.device, half)[:, 0]
        steps = torch.full((len(images),), 200, device=work.device)
        maps = []
        for draw in noise.unbind(1):
            noisy = scheduler.add_noise(latents, draw, steps)
            states = text.expand(len(images), -1, -1)
            predicted = unet(noisy, steps, encoder_hidden_states=states).sample
            maps.append((predicted - draw).square())
        return torch.stack(maps, 1)

    return forward


def plain_clip(work: Work) -> Plain:
    """open_clip's tower, and the last block's tokens by a hook."""
    config = json.loads((work.folder / "open_clip_config.json").read_text())["model_cfg"]
    tower: Any = open_clip.CLIP(**config).visual.to(work.device, torch.bfloat16).eval()
    kept: list[torch.Tensor] = []
    tower.transformer.resblocks[-1].register_forward_hook(
        lambda _module, _inputs, output: kept.append(output)
    )

    def forward(inputs: Mapping[str, np.ndarray]) -> torch.Tensor:
        images = torch.from_numpy(inputs["pixels"]).to(work.device).permute(0, 3, 1, 2)
        vectors = tower(images.to(torch.bfloat16) / 127.5 - 1)
        tokens = kept.pop()[:, 1:]
        return torch.cat([vectors.flatten(), tokens.flatten()])

    return forward

"""CLIPping the Deception's adapter: two layers that move the class token towards a prompt."""

from __future__ import annotations

import re

from clare.heads.checkpoints._clipping import about
from clare.heads.config import read_preset
from clare.heads.published import (
    CLIP_IMAGES,
    OPENAI,
    VIT_L14,
    CheckpointFormat,
    Need,
    PublishedHead,
    require_tensors,
)
from clare.models.checkpoint import Checkpoint

WIDTH = 768


class ClippingAdapter(CheckpointFormat):
    """``fc.0.weight`` (384, 768) and ``fc.2.weight`` (768, 384), without bias."""

    about = about(
        "adapter network",
        "clip_adapter/model.pth.tar-2 of clipadapter_100k_real_fake_04_best or "
        "clipadapter_…_real_fake_04",
        "100k images of either kind",
        84.2,
        93.2,
        "clip_cls and the text side of OpenAI's ViT-L/14; the square in the middle",
    )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """Numbered layers without biases."""
        return all(re.fullmatch(r"fc\.\d+\.weight", name) for name in checkpoint.tensors)

    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The two layers, for `adapter` over the class token."""
        shapes = {"fc.0.weight": (WIDTH // 2, WIDTH), "fc.2.weight": (WIDTH, WIDTH // 2)}
        found = require_tensors(checkpoint, shapes)
        return PublishedHead(
            config=read_preset("clipping-adapter").detector,
            specs={"clip_cls": (WIDTH,)},
            tensors={f"classifier.{name}": value for name, value in found.items()},
            needs={
                "clip_cls": Need("clip", {**OPENAI, "size": 224}, CLIP_IMAGES, VIT_L14, "openai")
            },
        )

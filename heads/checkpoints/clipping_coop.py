"""CLIPping the Deception's prompts: contexts that were learned around the class names."""

from __future__ import annotations

from dataclasses import replace

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
POSITIONS = 77
"""Of a text of CLIP's."""


class ClippingCoOp(CheckpointFormat):
    """``ctx`` (n, 768), beside it CLIP's own vectors of what stands before and after."""

    about = about(
        "prompt tuning",
        "prompt_learner/model.pth.tar-2 of 100000_16context_best_until_now, 100000_8context or "
        "100000_4context",
        "100k images of either kind and 16 contexts",
        85.9,
        96.6,
        "clip_cls and the text side of OpenAI's ViT-L/14; the square in the middle",
    )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """``ctx``, and nothing else that learns."""
        names = set(checkpoint.tensors)
        return "ctx" in names and not any(name.startswith("meta_net.") for name in names)

    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The contexts, for `coop` over the class token."""
        context = checkpoint.tensors["ctx"]
        count = len(context) if context.dim() == 2 else 1
        fixed = {
            "token_prefix": (2, 1, WIDTH),
            "token_suffix": (2, max(0, POSITIONS - 1 - count), WIDTH),
        }
        there = {name: shape for name, shape in fixed.items() if name in checkpoint.tensors}
        found = require_tensors(checkpoint, {"ctx": (count, WIDTH), **there})
        config = read_preset("clip-prompt").detector
        return PublishedHead(
            config=replace(
                config, classifier_settings={**config.classifier_settings, "n_ctx": count}
            ),
            specs={"clip_cls": (WIDTH,)},
            tensors={"classifier.prompts.ctx": found["ctx"]},
            needs={
                "clip_cls": Need("clip", {**OPENAI, "size": 224}, CLIP_IMAGES, VIT_L14, "openai")
            },
            remarks=(
                "the class names stand before the contexts, as its code tests; the file does not "
                "tell",
            ),
        )

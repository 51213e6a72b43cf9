"""CLaRE: LaRE asks CLIP's patches, and learned prompts answer for the fused vector.

Facts of 2t2c/CLaRE at c12fe2a, class ``FusionCLIP``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from clare.heads.checkpoints._guided import (
    LARE,
    LARE_NEED,
    NAMES,
    UNUSED,
    grid_sizes,
    guided_shapes,
)
from clare.heads.config import DetectorConfig
from clare.heads.published import (
    VIT_L14,
    About,
    CheckpointFormat,
    Need,
    PublishedHead,
    require_tensors,
)
from clare.models.checkpoint import Checkpoint

SPREAD = (8, 32, 64, 128, 256)
"""Channels between LaRE's and the tokens', of the attention that its code calls v2."""

FROZEN = ("clip_model.", "text_encoder.", "prompt_learner.token_", "logit_scale", UNUSED)
"""Beginnings of names that are CLIP's own, or unused."""

QUERY, KEYS, SHARED = (
    f"attn_pool.{name}" for name in ("pos_embed_q", "pos_embed_kv", "positional_embedding")
)
"""Position embeddings: of v2 for what asks and what answers, of v1 for both."""

META = {"linear1": 0, "linear2": 2}
"""Layers of the network that shifts the contexts, and where they stand in ours."""

OWN = {
    **{f"image_proj.{kind}": f"fusion.image.{kind}" for kind in ("weight", "bias")},
    **{f"text_proj.{kind}": f"classifier.text_proj.{kind}" for kind in ("weight", "bias")},
    "prompt_learner.ctx": "classifier.prompts.ctx",
    **{
        f"prompt_learner.meta_net.{old}.{kind}": f"classifier.prompts.meta_net.{new}.{kind}"
        for old, new in META.items()
        for kind in ("weight", "bias")
    },
    **{f"conv.{kind}": f"fusion.spread.{kind}" for kind in ("weight", "bias")},
    SHARED: "fusion.attend.position",
}
"""Further names, and those of the fusion `esa` with `coop` or `cocoop`."""

OWN_V2 = {
    **OWN,
    QUERY: "fusion.position",
    KEYS: "fusion.attend.position",
    **{f"conv.{kind}": f"fusion.spread.0.{kind}" for kind in ("weight", "bias")},
    **{
        f"attn_pool.projection_loss_map_{k}.{kind}": f"fusion.spread.{k}.{kind}"
        for k in range(1, len(SPREAD) + 1)
        for kind in ("weight", "bias")
    },
}
"""The same of the fusion `cross_attn`."""


class Clare(CheckpointFormat):
    """``state_dict`` of the whole detector; CLIP in it is OpenAI's, frozen.

    The attention is `cross_attn` with the mean as its query (v2), or `esa` (v1); the image shifts
    the prompts (`cocoop`) or does not (`coop`).
    """

    about = About(
        title="CLaRE",
        url="https://github.com/2t2c/CLaRE",
        weights="none is published; best.pth of a training of one's own",
        licence="none is stated",
        trained_on="what its owner trained it on; as published fakes of DF40",
        figure="",
        needs="clip_cls and clip_tokens of OpenAI's ViT-L/14, images squashed, 0.5 as mean and "
        "deviation; LaRE of Stable Diffusion 1.5",
    )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """The prompts' contexts and the attention."""
        names = set(checkpoint.tensors)
        return {"prompt_learner.ctx", "attn_pool.attention.fc_q.weight"} <= names

    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The head, whichever attention and prompts it has."""
        is_v2 = QUERY in checkpoint.tensors
        positions, width = grid_sizes(checkpoint, QUERY if is_v2 else SHARED)
        shapes, settings = _prompt_shapes(checkpoint, width)
        embedding = shapes["text_proj.weight"][1]
        shapes |= guided_shapes(width) | _attention_shapes(positions, width, is_v2)
        shapes |= {"image_proj.weight": (width, embedding), "image_proj.bias": (width,)}
        found = require_tensors(checkpoint, shapes, beside=FROZEN)
        names = {**NAMES, **(OWN_V2 if is_v2 else OWN)}
        need = Need(
            "clip", {"mean_std": "half", "quick_gelu": True, "size": 224}, {}, VIT_L14, "openai"
        )
        is_shifted = any(name.startswith("prompt_learner.meta_net.") for name in found)
        return PublishedHead(
            config=DetectorConfig(
                fusion="cross_attn" if is_v2 else "esa",
                fusion_settings={"query": "mean"} if is_v2 else {},
                classifier="cocoop" if is_shifted else "coop",
                classifier_settings=settings,
                standardize=False,
            ),
            specs={
                "clip_cls": (embedding,),
                "clip_tokens": (positions, width),
                "lare": LARE,
            },
            tensors={names[name]: _as_linear(value) for name, value in found.items()},
            needs={"clip_cls": need, "clip_tokens": need, "lare": LARE_NEED},
            remarks=(
                "its code encodes PNG images as JPEG 95 first, which is not done here",
                "its last published extraction of LaRE had a word for real or fake in the prompt, "
                "by the image's path; a store has one prompt for all",
                "its published training moves the prompts alone: the fusion keeps its random start",
            ),
        )


def _prompt_shapes(
    checkpoint: Checkpoint, width: int
) -> tuple[dict[str, tuple[int, ...]], Mapping[str, Any]]:
    """Shapes of the prompts and the text projection, and the classifier's settings."""
    tensors = checkpoint.tensors
    context = tensors["prompt_learner.ctx"]
    count, channels = context.shape[-2:] if context.ndim == 2 else (1, 1)
    text = tensors.get("text_proj.weight")
    embedding = 1 if text is None or text.ndim != 2 else text.shape[1]
    shapes: dict[str, tuple[int, ...]] = {
        "prompt_learner.ctx": (count, channels),
        "text_proj.weight": (3 * width, embedding),
        "text_proj.bias": (3 * width,),
    }
    if any(name.startswith("prompt_learner.meta_net.") for name in tensors):
        hidden = 3 * width // 16
        shapes |= {
            "prompt_learner.meta_net.linear1.weight": (hidden, 3 * width),
            "prompt_learner.meta_net.linear1.bias": (hidden,),
            "prompt_learner.meta_net.linear2.weight": (channels, hidden),
            "prompt_learner.meta_net.linear2.bias": (channels,),
        }
    return shapes, {"n_ctx": count}


def _attention_shapes(positions: int, width: int, is_v2: bool) -> dict[str, tuple[int, ...]]:
    """Shapes of what the two kinds of attention do not share."""
    if not is_v2:
        return {SHARED: (positions + 1, width)}
    steps = zip(SPREAD, (*SPREAD[1:], width), strict=True)
    layers: dict[str, tuple[int, ...]] = {}
    for k, (before, after) in enumerate(steps, 1):
        layers[f"attn_pool.projection_loss_map_{k}.weight"] = (after, before, 1, 1)
        layers[f"attn_pool.projection_loss_map_{k}.bias"] = (after,)
    return {QUERY: (positions + 1, width), KEYS: (positions + 1, width), **layers}


def _as_linear(value: torch.Tensor) -> torch.Tensor:
    """A 1 x 1 convolution's weight as a linear layer's; others as they are."""
    return value.flatten(1) if value.ndim == 4 else value

"""A whole CLIP that a published detector brings along, both towers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clare.models.carried import (
    HEAD_WIDTH,
    CarriedModel,
    count_blocks,
    require_tensor,
    sound_shapes,
)

if TYPE_CHECKING:
    import torch

RESNET_REDUCTION = 32
"""Of an image's side to that of a ResNet's last layer."""


@sound_shapes()
def clip_model(tensors: Mapping[str, torch.Tensor]) -> CarriedModel:
    """A CLIP of OpenAI's, a vision transformer or a ResNet, by its own tensors.

    Args:
        tensors: under OpenAI's names, which are open_clip's too.

    Raises:
        WeightsError: a tensor is missing that tells the sizes, or shapes do not fit together.
    """
    words, width = require_tensor(tensors, "token_embedding.weight").shape
    config = {
        "embed_dim": require_tensor(tensors, "text_projection").shape[1],
        "quick_gelu": True,
        "vision_cfg": _vision(tensors),
        "text_cfg": {
            "context_length": len(require_tensor(tensors, "positional_embedding")),
            "vocab_size": words,
            "width": width,
            "heads": max(1, width // HEAD_WIDTH),
            "layers": count_blocks(tensors, "transformer.resblocks."),
        },
    }
    return CarriedModel("clip", {"model_cfg": config}, tensors)


def _vision(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    first = require_tensor(tensors, "visual.conv1.weight")
    if "visual.proj" in tensors:
        width, _, _, patch = first.shape
        positions = len(require_tensor(tensors, "visual.positional_embedding"))
        return {
            "image_size": round((positions - 1) ** 0.5) * patch,
            "layers": count_blocks(tensors, "visual.transformer.resblocks."),
            "width": width,
            "patch_size": patch,
            "head_width": HEAD_WIDTH,
        }
    positions = len(require_tensor(tensors, "visual.attnpool.positional_embedding"))
    return {
        "image_size": round((positions - 1) ** 0.5) * RESNET_REDUCTION,
        "layers": [count_blocks(tensors, f"visual.layer{k}.") for k in (1, 2, 3, 4)],
        "width": require_tensor(tensors, "visual.layer1.0.conv1.weight").shape[0],
        "patch_size": None,
        "head_width": HEAD_WIDTH,
    }

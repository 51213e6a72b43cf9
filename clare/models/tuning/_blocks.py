"""The blocks of vision transformers, by the names that their kinds give them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from torch import nn

from clare.advice import Set
from clare.errors import InputError
from clare.models.image_tower import Tower


def refuse_prompts(tower: Tower, why: str) -> None:
    """Refuse a tower that was tuned with visual prompts.

    Args:
        tower: that is to be tuned.
        why: they and the way of tuning do not go together.

    Raises:
        InputError: it has some.
    """
    if tower.has_prompts:
        raise InputError(
            f"this tower was tuned with visual prompts, and {why}",
            Set("tune", "ln", "tunes its LayerNorms"),
            Set("tune", "full", "moves all of it"),
        )


def transformer_blocks(tower: Tower, what: str) -> tuple[str, list[nn.Module]]:
    """The name in the tower that its blocks are numbered under, and the blocks.

    Args:
        tower: the tower.
        what: is wanted of it, as ``adapters stand``.

    Raises:
        InputError: it is no vision transformer of open_clip or timm.
    """
    from open_clip.transformer import VisionTransformer as OpenClipTransformer
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    visual: Any = tower.visual
    inside = getattr(visual, "trunk", visual)
    if isinstance(inside, OpenClipTransformer):
        return "visual.transformer.resblocks", tower.blocks
    if not isinstance(inside, Eva | VisionTransformer):
        raise InputError(
            f"{what} in the blocks of vision transformers, and this tower is a "
            f"{type(inside).__name__}",
            Set("tune", "full", "moves all of it"),
        )
    return "visual.trunk.blocks" if inside is not visual else "visual.blocks", tower.blocks


_POOLING = ("ln_post", "attn_pool", "attnpool", "norm", "fc_norm", "head")
_BEHIND_CLS = ("attn_pool", "fc_norm", "head")
"""Modules of a tower that make the image's vector of what its blocks gave, and those of timm that
its class token does not go through."""


def read_alone(names: Sequence[str], fields: Collection[str]) -> list[str]:
    """The parameters that may change one of the fields: the decay would shrink the others.

    Tokens, and class tokens after a block, are what blocks gave; the pooling comes after.

    Args:
        names: of the parameters of a tower.
        fields: of it that are read.
    """
    pooled = {name for name in fields if "_tokens" not in name and not name[-1].isdigit()}
    idle = _BEHIND_CLS if pooled == {"tower_cls"} else () if pooled else _POOLING
    places = [f"{inside}.{name}." for inside in ("visual", "visual.trunk") for name in idle]
    if not pooled and "clip_tokens_layer4" not in fields:
        places.append("visual.layer4.")  # of a ResNet, whose tokens are of the layer before
    left = () if "clip_cls" in fields else ("projection",)
    return [name for name in names if name not in left and not name.startswith(tuple(places))]

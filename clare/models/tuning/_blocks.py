"""The blocks of vision transformers, by the names that their kinds give them."""

from __future__ import annotations

from collections.abc import Collection
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


def transformer_blocks(
    tower: Tower, what: str, fields: Collection[str]
) -> tuple[str, list[nn.Module]]:
    """The name in the tower that its blocks are numbered under, and the blocks that are read.

    Args:
        tower: the tower.
        what: is wanted of it, as ``adapters stand``.
        fields: of it that are read: none depends on the blocks after those that are given.

    Raises:
        InputError: it is no vision transformer of open_clip or timm.
    """
    from open_clip.transformer import VisionTransformer as OpenClipTransformer
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    visual: Any = tower.visual
    inside = getattr(visual, "trunk", visual)
    if isinstance(inside, OpenClipTransformer):
        place = "visual.transformer.resblocks"
    elif isinstance(inside, Eva | VisionTransformer):
        place = "visual.trunk.blocks" if inside is not visual else "visual.blocks"
    else:
        raise InputError(
            f"{what} in the blocks of vision transformers, and this tower is a "
            f"{type(inside).__name__}",
            Set("tune", "full", "moves all of it"),
        )
    read = tower.read_by(fields)
    return place, [
        block
        for number, block in enumerate(tower.blocks)
        if any(name.startswith(f"{place}.{number}.") for name in read)
    ]

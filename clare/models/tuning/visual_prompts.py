"""Visual prompts: learned tokens beside the patches, and nothing of the tower moves."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from clare.advice import Set
from clare.errors import InputError
from clare.models.image_tower import Tower
from clare.models.tuned import Moving, Tuning
from clare.models.tuning._blocks import refuse_prompts, transformer_blocks
from clare.wording import counted


@dataclass(frozen=True)
class VisualPromptsSettings:
    """Settings of `visual_prompts`.

    Args:
        count: learned tokens.
        deep: whether every block has its own, in the place of what the block before made of its;
            otherwise those of the first block go through all of them.
    """

    count: int = 8
    deep: bool = True

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"at least one token is learned, not {self.count}")


class VisualPromptsTuning(Tuning):
    """Visual prompt tuning, deep or shallow (Jia et al. 2022, arXiv 2203.12119).

    The tokens join the first block's input, after CLIP's ``ln_pre``, without a position, and are
    dropped before the output of the last block that is read, so that tokens handed on are patches.
    They start uniform as published (Xavier's bound of patch and width) from the run's seed, so the
    first output is not that of the tower without them. Nothing is drawn at evaluation.
    """

    Settings = VisualPromptsSettings
    begins_as_it_was = False

    def begin(self, tower: Tower, fields: Collection[str]) -> Moving:
        """The learned tokens of the first block, or of every one that is read.

        Raises:
            InputError: the tower is no vision transformer, turns its tokens by their place, or has
                visual prompts already.
        """
        refuse_prompts(tower, "further ones would take their place")
        place, blocks = transformer_blocks(tower, "visual prompts stand", fields)
        inside: Any = getattr(tower.visual, "trunk", tower.visual)
        if getattr(inside, "rope", None) is not None:
            raise InputError(
                "visual prompts have no place in the image, and this tower "
                f"({type(inside).__name__}) turns its tokens by their place",
                Set("tune", "ln", "tunes its LayerNorms"),
            )
        count, deep = self.settings.count, self.settings.deep
        width, side = _width_and_side(inside)
        bound = math.sqrt(6 / (3 * side**2 + width))
        for number, block in enumerate(blocks):
            first, last = number == 0, number == len(blocks) - 1
            if first or deep:
                device = next(block.parameters()).device
                prompts = torch.empty(1, count, width, device=device).uniform_(-bound, bound)
                block.register_parameter("prompts", nn.Parameter(prompts))
                block.register_forward_pre_hook(_add if first else _replace)
            if last:
                block.register_forward_hook(_Drop(count))
        tower.has_prompts = True
        numbers = range(len(blocks)) if deep else range(1)
        return Moving(
            tuple(f"{place}.{number}.prompts" for number in numbers),
            told=f"{counted(count, 'visual prompt')} of {counted(len(numbers), 'block')}",
        )


def _width_and_side(inside: Any) -> tuple[int, int]:
    """Width of a transformer's tokens, and the side of its patches in pixels."""
    embed: Any = getattr(getattr(inside, "patch_embed", None), "proj", getattr(inside, "conv1", 0))
    return embed.out_channels, embed.kernel_size[0]


# What is hung onto a block takes all that it needs from the block, which may be a copy.


def _add(block: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    stream, *others = given
    prompts = block.prompts.expand(len(stream), -1, -1)
    return (torch.cat([stream, prompts.to(stream.dtype)], 1), *others)


def _replace(block: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    stream, *others = given
    return _add(block, (stream[:, : -block.prompts.shape[1]], *others))


@dataclass(frozen=True)
class _Drop:
    """Leaves the learned tokens behind."""

    count: int

    def __call__(self, block: Any, given: Any, output: torch.Tensor) -> torch.Tensor:
        return output[:, : -self.count]

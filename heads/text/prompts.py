"""Learned prompts for the classes "real" and "fake"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from clare.errors import InputError
from clare.heads.base import TextTower
from clare.heads.layers.cosine import unit
from clare.heads.text.prompt_tree import Slot, Symbol

CLASS_NAMES = ("real", "fake")
"""By label."""

Position = Literal["front", "middle", "end"]
"""Where the class name stands among the context vectors."""


@dataclass(frozen=True)
class PromptSettings:
    """Settings of learned prompts.

    Args:
        n_ctx: number of context vectors, where no words are given.
        ctx_init: words whose token embeddings the contexts start from; random if empty.
        position: where the class name stands: before, amid or after the contexts.
    """

    n_ctx: int = 16
    ctx_init: str = ""
    position: Position = "end"

    def __post_init__(self) -> None:
        if self.n_ctx < 1:
            raise InputError(
                f"n_ctx, the number of context vectors, can't be {self.n_ctx}: it is 1 or more"
            )


class PromptLearner(nn.Module):
    """Context vectors around the class names (CoOp), shifted by the image or not (CoCoOp).

    The prompt of a class is its contexts, its name, a full stop and the end of text; with the name
    in the middle the second half of the contexts follows it. Sources: Zhou et al., "Learning to
    Prompt for Vision-Language Models" and "Conditional Prompt Learning for Vision-Language Models".

    Args:
        text: the frozen tower that will read them; not kept.
        settings: of the prompts.
        class_specific: whether each class has contexts of its own.
        meta: (D, hidden), sizes of the network that shifts the contexts; None for no network.

    Raises:
        InputError: the prompts do not fit into the tower's context.
    """

    def __init__(
        self,
        text: TextTower,
        settings: PromptSettings,
        class_specific: bool = False,
        meta: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        start = _start(text, settings)
        count, groups = len(start), len(CLASS_NAMES) if class_specific else 1
        if class_specific:
            start = torch.stack([start, *(_start(text, settings) for _ in CLASS_NAMES[1:])])
        prompts = [
            _prompt(
                [Slot(label % groups * count + n) for n in range(count)],
                text.tokens(f"{name}."),
                settings.position,
            )
            for label, name in enumerate(CLASS_NAMES)
        ]
        self.tree = text.lay_out(prompts)
        self.ctx = nn.Parameter(start)
        self.meta_net = None if meta is None else _meta_net(*meta, text.width)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """What fills the slots: (B or, where images play no part, 1, slots, width)."""
        contexts = self.ctx.flatten(0, -2)[None]
        if self.meta_net is None:
            return contexts
        return contexts + self.meta_net(unit(vectors))[:, None]


def _start(text: TextTower, settings: PromptSettings) -> torch.Tensor:
    """Initial contexts of one class, (count, width)."""
    if settings.ctx_init:
        return text.embed(text.tokens(settings.ctx_init)[:-1])
    return nn.init.normal_(torch.empty(settings.n_ctx, text.width), std=0.02)


def _prompt(slots: Sequence[Slot], name: Sequence[int], position: Position) -> list[Symbol]:
    """Slots around a name, whose tokens end in a full stop and the end of text."""
    before = {"front": 0, "middle": len(slots) // 2, "end": len(slots)}[position]
    return [*slots[:before], *name[:-2], *slots[before:], *name[-2:]]


def _meta_net(width: int, hidden: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))

"""What decoders have in common: inputs laid over one grid, and how their weights begin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torch.nn import functional

from clare.advice import Name
from clare.errors import InputError
from clare.heads.base import MAP, Decoder, Inputs, Role, Shapes

Start = Literal["torch", "declip"]
"""How weights begin: as PyTorch has it, or N(0, 0.02) with the scales of BatchNorm too."""


Grid = Literal["first", "finest"]
"""Whose grid the inputs are laid over: the first one's, or that of most positions."""


@dataclass(frozen=True)
class DecoderSettings:
    """Settings of a decoder without others.

    Args:
        start: of the weights: torch's own, or N(0, 0.02) as in DeCLIP, BatchNorm's scales included.
        grid: that the inputs are laid over: the first one's as in DeCLIP, where tokens come before
            LaRE, or the finest.
    """

    start: Start = "torch"
    grid: Grid = "first"


class GridDecoder(Decoder):
    """A decoder whose inputs are one stack of channels over one grid.

    What has another grid is scaled to it: bilinear, or averaged over its cells where they are
    larger. Its settings have ``grid``.

    Attributes:
        side: of the grid.
        channels: of the stack, in the order tokens, tokens_2, lare.

    Raises:
        InputError: the tokens of an input form no square.
    """

    Settings: ClassVar[type] = DecoderSettings

    def __init__(self, settings: Any, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        sides = [_side(role, shape) for role, shape in self.shapes.items()]
        self.side = max(sides) if settings.grid == "finest" else sides[0]
        self.channels = sum(
            shape[0] if role == "lare" else shape[1] for role, shape in self.shapes.items()
        )

    def stack(self, inputs: Inputs) -> torch.Tensor:
        """The inputs as one stack, (B, channels, side, side)."""
        maps = []
        for role, shape in self.shapes.items():
            side = _side(role, shape)
            grid = inputs[role] if role == "lare" else inputs[role].mT.unflatten(2, (side, side))
            if side > self.side:
                grid = functional.adaptive_avg_pool2d(grid, self.side)
            elif side < self.side:
                grid = functional.interpolate(grid, size=(self.side, self.side), mode="bilinear")
            maps.append(grid)
        return torch.cat(maps, 1)


def begin_as(start: Start, modules: nn.Module) -> None:
    """Start every weight, biases of convolutions and linear layers left as PyTorch has them."""
    if start == "torch":
        return
    for module in modules.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter):
            nn.init.normal_(weight, 0.0, 0.02)


def scale_up(grid: torch.Tensor) -> torch.Tensor:
    """Logits of a grid (B, s, s) to (B, 256, 256), bicubic."""
    scaled = functional.interpolate(grid[:, None], size=(MAP, MAP), mode="bicubic")
    return scaled[:, 0]


def _side(role: Role, shape: tuple[int, ...]) -> int:
    if role == "lare":
        return shape[-1]
    side = math.isqrt(shape[0])
    if side**2 != shape[0]:
        raise InputError(
            f"{shape[0]} tokens form no square, over which a decoder works",
            Name("a field of an image's tokens", "tokens"),
        )
    return side

"""Adapters: a small bottleneck beside the MLP of every block moves, and nothing of the tower."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from clare.models.image_tower import Tower
from clare.models.tuned import Moving, Tuning
from clare.models.tuning._blocks import transformer_blocks
from clare.wording import counted


@dataclass(frozen=True)
class AdapterSettings:
    """Settings of `adapter`.

    Args:
        width: of the bottleneck.
        scale: what its output is multiplied with.
    """

    width: int = 64
    scale: float = 0.1

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"an adapter is at least 1 wide, not {self.width}")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"an adapter's scale is above 0, not {self.scale}")


class AdapterTuning(Tuning):
    """AdaptFormer (Chen et al. 2022, arXiv 2205.13535): MLP(LN(x)) + s Up(ReLU(Down(LN(x)))).

    Beside the MLP of every block, not behind it as the adapters of Houlsby et al. (2019). ``Up``
    and the biases start at zero: the first output is the tower's own. Where a block scales what its
    MLP gives (LayerScale), it scales both.
    """

    Settings = AdapterSettings

    def begin(self, tower: Tower, fields: Collection[str]) -> Moving:
        """The adapters of all blocks that are read.

        Raises:
            InputError: the tower is no vision transformer.
        """
        place, blocks = transformer_blocks(tower, "adapters stand", fields)
        settings, count = self.settings, 0
        names: list[str] = []
        for number, block in enumerate(blocks):
            inside: Any = block
            norm = inside.ln_2 if hasattr(inside, "ln_2") else inside.norm2
            inside.mlp = _Adapted(inside.mlp, norm.weight, settings.width, settings.scale)
            own = (f"{place}.{number}.mlp.{name}" for name in _OWN)
            names, count = [*names, *own], count + 1
        return Moving(tuple(names), told=f"{counted(count, 'adapter')} of width {settings.width}")


_OWN = ("down.weight", "down.bias", "up.weight", "up.bias")


class _Adapted(nn.Module):
    """An MLP and the adapter beside it.

    Args:
        mlp: of a block.
        like: a parameter of the tower's width D, where it is.
        width: of the bottleneck.
        scale: of its output.
    """

    def __init__(self, mlp: nn.Module, like: torch.Tensor, width: int, scale: float) -> None:
        super().__init__()
        self.mlp, self.scale = mlp, scale
        (size,) = like.shape
        self.down = nn.Linear(size, width, device=like.device)
        self.up = nn.Linear(width, size, device=like.device)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, D) to the same."""
        beside: torch.Tensor = self.up(torch.relu(self.down(x)))
        found: torch.Tensor = self.mlp(x) + self.scale * beside
        return found

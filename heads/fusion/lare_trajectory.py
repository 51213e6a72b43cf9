"""How LaRE goes on from noise step to noise step, and from draw to draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from clare.errors import InputError
from clare.heads.base import Fusion, Inputs, Role, Shapes
from clare.heads.layers.steps import CHANNELS, count_steps, describe_steps

STATISTICS = 4
"""Of each channel at each step: see `describe_steps`."""


@dataclass(frozen=True)
class LareTrajectorySettings:
    """Settings of `lare_trajectory`.

    Args:
        hidden: channels of the convolutions over the steps.
        width: D.
    """

    hidden: int = 32
    width: int = 128

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.width < 1:
            raise InputError("fusion lare_trajectory needs hidden and width of at least 1")


class LareTrajectoryFusion(Fusion):
    """Statistics of each step's map, two convolutions over the steps, one linear layer.

    Steps stand in the order in which they were extracted.
    """

    Settings = LareTrajectorySettings
    roles: ClassVar[tuple[Role, ...]] = ("lare_steps",)
    follows_steps: ClassVar[bool] = True

    def __init__(self, settings: Any, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        steps = count_steps(self.shapes["lare_steps"][0], "lare_trajectory")
        self.width = settings.width
        self.over_steps = nn.Sequential(
            nn.Conv1d(STATISTICS * CHANNELS, settings.hidden, 3, padding=1),
            nn.GELU(),
            nn.Conv1d(settings.hidden, settings.hidden, 3, padding=1),
            nn.GELU(),
        )
        self.out = nn.Linear(settings.hidden * steps, self.width)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 4 T, D, h, w) to (B, D)."""
        found: torch.Tensor = self.out(
            self.over_steps(describe_steps(inputs["lare_steps"])).flatten(1)
        )
        return found

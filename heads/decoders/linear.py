"""One linear layer over every position, scaled up: DeCLIP's smallest decoder."""

from __future__ import annotations

import torch
from torch import nn

from clare.heads.base import Inputs, Shapes
from clare.heads.layers.grid import DecoderSettings, GridDecoder, begin_as, scale_up


class LinearDecoder(GridDecoder):
    """A logit a position, then bicubic to 256 x 256; 1,025 parameters on ViT-L/14."""

    def __init__(self, settings: DecoderSettings, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        self.fc = nn.Sequential(nn.Linear(self.channels, 1))
        begin_as(settings.start, self.fc)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 256, 256)."""
        return scale_up(self.fc(self.stack(inputs).movedim(1, -1))[..., 0])

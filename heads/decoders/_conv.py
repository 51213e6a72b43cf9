"""DeCLIP's convolutional decoders, which differ in their depth alone."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import nn

from clare.heads.base import MAP, Inputs, Shapes
from clare.heads.layers.grid import DecoderSettings, GridDecoder, begin_as

_WIDTHS = (512, 256, 128, 64)
"""Channels after each stage."""


class ConvDecoder(GridDecoder):
    """Four stages of 5 x 5 convolutions with BatchNorm and ReLU, the sides doubled after each.

    A doubling that would lead beyond 256 is left out, the first ones first, as DeCLIP does with the
    large maps of a ResNet's first layers; what does not end at 256 is scaled to it (bilinear).
    The modules' names are DeCLIP's, so that its checkpoints fit; of a ViT and a ResNet together the
    last convolution has the number before its own there.

    Attributes:
        depth: convolutions in all but the last, a multiple of four.
    """

    depth: ClassVar[int]

    def __init__(self, settings: DecoderSettings, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        doublings = next(n for n in range(4, -1, -1) if self.side * 2**n <= MAP or n == 0)
        layers: list[nn.Module] = []
        before = self.channels
        for stage, width in enumerate(_WIDTHS):
            for _ in range(self.depth // len(_WIDTHS)):
                layers += [nn.Conv2d(before, width, 5, padding=2), nn.BatchNorm2d(width), nn.ReLU()]
                before = width
            if stage >= len(_WIDTHS) - doublings:
                layers.append(nn.Upsample(scale_factor=2, mode="bilinear"))
        if self.side * 2**doublings != MAP:
            layers.append(nn.Upsample(size=(MAP, MAP), mode="bilinear"))
        layers.append(nn.Conv2d(before, 1, 5, padding=2))
        self.fc = nn.Sequential(*layers)
        begin_as(settings.start, self.fc)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 256, 256)."""
        return cast(torch.Tensor, self.fc(self.stack(inputs))[:, 0])

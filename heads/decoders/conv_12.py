"""DeCLIP's decoder of 12 convolutions."""

from __future__ import annotations

from typing import ClassVar

from clare.heads.decoders._conv import ConvDecoder


class Conv12Decoder(ConvDecoder):
    """Twelve convolutions in four stages, and one to a logit; 34,826,241 parameters on ViT-L/14."""

    depth: ClassVar[int] = 12

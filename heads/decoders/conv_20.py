"""DeCLIP's decoder of 20 convolutions."""

from __future__ import annotations

from typing import ClassVar

from clare.heads.decoders._conv import ConvDecoder


class Conv20Decoder(ConvDecoder):
    """Twenty convolutions in four stages, and one to a logit; 52,240,001 parameters on ViT-L/14."""

    depth: ClassVar[int] = 20

"""DeCLIP's decoder of 4 convolutions."""

from __future__ import annotations

from typing import ClassVar

from clare.heads.decoders._conv import ConvDecoder


class Conv4Decoder(ConvDecoder):
    """Four convolutions in four stages, and one to a logit; 17,412,481 parameters on ViT-L/14."""

    depth: ClassVar[int] = 4

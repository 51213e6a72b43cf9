"""Two transformer blocks over the positions, then a linear layer, after DeCLIP."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from clare.errors import InputError
from clare.heads.base import Inputs, Shapes
from clare.heads.layers.grid import Grid, GridDecoder, Start, begin_as, scale_up


@dataclass(frozen=True)
class AttentionSettings:
    """Settings of `attention`.

    Args:
        heads: of each block's attention, at most: as many as divide both it and the channels.
        causal: whether a position sees only those above it and to its left, as published, where
            CLIP's text mask is laid over the picture.
        train: what learns: every part, or as published the first layer of each block's perceptron
            and the last linear layer alone.
        start: of the last layer's weights: torch's own, or N(0, 0.02) as in DeCLIP.
        grid: that the inputs are laid over, the first one's or the finest.
    """

    heads: int = 16
    causal: bool = False
    train: Literal["all", "published"] = "all"
    start: Start = "torch"
    grid: Grid = "first"


class AttentionDecoder(GridDecoder):
    """Two of CLIP's residual attention blocks, a logit a position, then bicubic to 256 x 256.

    Otherwise than published the class token of the layer, which the store does not hold, takes no
    part. 25,193,473 parameters on ViT-L/14, of which 8,397,825 learn as published.
    """

    Settings: ClassVar[type] = AttentionSettings
    mask: torch.Tensor | None

    def __init__(self, settings: AttentionSettings, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        if settings.heads < 1:
            raise InputError(f"attention can't have {settings.heads} heads: it is 1 or more")
        heads = math.gcd(settings.heads, self.channels)
        self.att1 = _Block(self.channels, heads)
        self.att2 = _Block(self.channels, heads)
        self.fc = nn.Sequential(nn.Linear(self.channels, 1))
        begin_as(settings.start, self.fc)
        positions = self.side**2
        mask = torch.full((positions, positions), float("-inf")).triu(1)
        self.register_buffer("mask", mask if settings.causal else None, persistent=False)
        if settings.train == "published":
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name.startswith("fc.") or ".mlp.c_fc." in name)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 256, 256)."""
        tokens = self.stack(inputs).flatten(2).mT
        for block in (self.att1, self.att2):
            tokens = block(tokens, self.mask)
        return scale_up(self.fc(tokens)[..., 0].unflatten(1, (self.side, self.side)))


class _Block(nn.Module):
    """CLIP's residual attention block, its modules under CLIP's names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", _QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, P, C) to the same."""
        normed = self.ln_1(tokens)
        seen, _ = self.attn(normed, normed, normed, attn_mask=mask, need_weights=False)
        tokens = tokens + seen
        found: torch.Tensor = tokens + self.mlp(self.ln_2(tokens))
        return found


class _QuickGELU(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """x sigmoid(1.702 x), as OpenAI's CLIP has it."""
        return values * torch.sigmoid(1.702 * values)

"""Attention over the tokens, led by LaRE of all noise steps at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch

from clare.heads.base import Fusion, Inputs, Role, Shapes
from clare.heads.fusion.cross_attn import CrossAttnFusion, CrossAttnSettings
from clare.heads.fusion.esa import EsaFusion
from clare.heads.layers.attention import AttentionSettings
from clare.heads.layers.steps import count_steps


@dataclass(frozen=True)
class LareTokensTSettings(AttentionSettings):
    """Settings of `lare_tokens_t`.

    Args:
        heads: how many there are.
        head_dim: width of each.
        dropout: of the attention weights, and of what the attention gives.
        attention: ``esa``: LaRE biases the scores of the mean token's question; ``cross_attn``:
            every LaRE position asks.
    """

    attention: Literal["esa", "cross_attn"] = "esa"


class LareTokensTFusion(Fusion):
    """[x_g, x_s, x_c], 3C: `esa` or `cross_attn` over maps of 4 T channels, those of T steps.

    Draws are averaged.
    """

    Settings = LareTokensTSettings
    roles: ClassVar[tuple[Role, ...]] = ("cls", "tokens", "lare_steps")
    follows_steps: ClassVar[bool] = True

    def __init__(self, settings: Any, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        channels, _, *sides = self.shapes["lare_steps"]
        count_steps(channels, "lare_tokens_t")
        joined: Shapes = {**self.shapes, "lare": (channels, *sides)}
        given = asdict(settings)
        by_cross_attention = given.pop("attention") == "cross_attn"
        self.over_tokens: Fusion = (
            CrossAttnFusion(CrossAttnSettings(**given), joined)
            if by_cross_attention
            else EsaFusion(AttentionSettings(**given), joined)
        )
        self.width = self.over_tokens.width

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 3C)."""
        found: torch.Tensor = self.over_tokens(_joined(inputs))
        return found

    def attention(self, inputs: Inputs) -> torch.Tensor | None:
        """(B, P), of the attention inside."""
        return self.over_tokens.attention(_joined(inputs))


def _joined(inputs: Inputs) -> Inputs:
    """With the maps of all steps in the place of one step's."""
    return {**inputs, "lare": inputs["lare_steps"].mean(2)}

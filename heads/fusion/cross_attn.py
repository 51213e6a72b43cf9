"""LaRE asks, the tokens answer (CLaRE's cross-attention)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

import torch
from torch import nn
from torch.nn import functional

from clare.heads.base import Fusion, Inputs, Role, Shapes
from clare.heads.layers.attention import Affine, AttentionSettings, TokenAttention
from clare.heads.layers.branches import ChannelBranch, grid_side, pool_to_grid, project_image

_WIDTHS = (8, 32, 64, 128, 256)
"""Channels that LaRE is spread to, one 1x1 convolution after another, before the tokens' width."""


@dataclass(frozen=True)
class CrossAttnSettings(AttentionSettings):
    """Settings of `cross_attn`.

    Args:
        heads: how many there are.
        head_dim: width of each.
        dropout: of the attention weights, and of what the attention gives.
        query: ``all``: every LaRE position asks, and the answers are averaged, as the paper's
            figure draws; ``mean``: their mean asks, as the published code does, which sees no more
            of LaRE than its four means.
    """

    query: Literal["all", "mean"] = "all"


class CrossAttnFusion(Fusion):
    """[x_g, x_s, x_c], 3C, as in CLaRE (`attention_type` v2).

    The convolutions have no activation between them, so they are one affine map; their weights are
    multiplied before they meet LaRE, and for ``all`` once more with W_q.
    """

    Settings = CrossAttnSettings
    roles: ClassVar[tuple[Role, ...]] = ("cls", "tokens", "lare")

    def __init__(self, settings: Any, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        positions, width = self.shapes["tokens"]
        channels = self.shapes["lare"][0]
        self._side = grid_side(positions)
        self.width = 3 * width
        self.image = project_image(self.shapes["cls"][0], width)
        steps = pairwise((channels, *_WIDTHS, width))
        self.spread = nn.ModuleList(nn.Linear(before, after) for before, after in steps)
        self.position = nn.Parameter(torch.randn(positions + 1, width) / width**0.5)
        self.attend = TokenAttention(settings, positions, width)
        self.channel = ChannelBranch(width, channels)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 3C)."""
        tokens = inputs["tokens"]
        if self.settings.query == "mean":
            spatial = self.attend.attend(self._mean_query(inputs), tokens)
        else:
            spatial = self._attend_all(inputs)
        parts = [
            self.image(inputs["cls"]),
            spatial,
            self.channel(tokens.mean(1), inputs["lare"]),
        ]
        return torch.cat(parts, -1)

    def attention(self, inputs: Inputs) -> torch.Tensor:
        """(B, P), heads and queries averaged; what the mean token receives is shared by all."""
        if self.settings.query == "mean":
            return self.attend.look(self._mean_query(inputs), inputs["tokens"])
        lare, _, projected = self._all_queries(inputs)
        return self.attend.look_all(lare, projected, inputs["tokens"])

    def _mean_query(self, inputs: Inputs) -> torch.Tensor:
        """(B, C)."""
        weight, bias = self._affine()
        means = pool_to_grid(inputs["lare"], self._side).mean(1)
        return functional.linear(means, weight, bias) + self.position[0]

    def _all_queries(self, inputs: Inputs) -> tuple[torch.Tensor, Affine, Affine]:
        """LaRE (B, P, 4), what makes queries of it, and what makes the same through W_q.

        LaRE has four channels, so W_q is applied to the affine map and the positions, once for the
        batch, instead of to every query.
        """
        weight, bias = self._affine()
        constant = bias + self.position[1:]
        project = self.attend.query
        projected = Affine(project.weight @ weight, project(constant))
        return pool_to_grid(inputs["lare"], self._side), Affine(weight, constant), projected

    def _affine(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The convolutions as one: weight (C, 4) and bias (C,)."""
        first, *rest = cast(list[nn.Linear], list(self.spread))
        weight: torch.Tensor = first.weight
        bias: torch.Tensor = first.bias
        for step in rest:
            weight, bias = step.weight @ weight, functional.linear(bias, step.weight, step.bias)
        return weight, bias

    def _attend_all(self, inputs: Inputs) -> torch.Tensor:
        return self.attend.attend_all(*self._all_queries(inputs), inputs["tokens"])

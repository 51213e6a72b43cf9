"""LaRE as a bias of attention over the tokens (error-guided spatial attention, LaRE² ESR)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from clare.heads.base import Fusion, Inputs, Role, Shapes
from clare.heads.layers.attention import AttentionSettings, TokenAttention
from clare.heads.layers.branches import ChannelBranch, grid_side, pool_to_grid, project_image


class EsaFusion(Fusion):
    """[x_g, x_s, x_c], 3C: the mean token asks all tokens, LaRE biases every head's scores.

    LaRE² (arXiv 2403.17465), over a transformer's tokens as in CLaRE.
    """

    Settings = AttentionSettings
    roles: ClassVar[tuple[Role, ...]] = ("cls", "tokens", "lare")

    def __init__(self, settings: Any, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        positions, width = self.shapes["tokens"]
        channels = self.shapes["lare"][0]
        self._side = grid_side(positions)
        self.width = 3 * width
        self.image = project_image(self.shapes["cls"][0], width)
        self.spread = nn.Linear(channels, settings.heads)
        self.attend = TokenAttention(settings, positions, width)
        self.channel = ChannelBranch(width, channels)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 3C)."""
        tokens, mean_token = inputs["tokens"], inputs["tokens"].mean(1)
        parts = [
            self.image(inputs["cls"]),
            self.attend.attend(self._query(mean_token), tokens, self._bias(inputs)),
            self.channel(mean_token, inputs["lare"]),
        ]
        return torch.cat(parts, -1)

    def attention(self, inputs: Inputs) -> torch.Tensor:
        """(B, P), heads averaged; what the mean token receives is shared by all."""
        tokens = inputs["tokens"]
        return self.attend.look(self._query(tokens.mean(1)), tokens, self._bias(inputs))

    def _query(self, mean_token: torch.Tensor) -> torch.Tensor:
        return mean_token + self.attend.position[0]

    def _bias(self, inputs: Inputs) -> torch.Tensor:
        """(B, H, P + 1), the map's mean first."""
        maps = self.spread(pool_to_grid(inputs["lare"], self._side)).mT
        return torch.cat([maps.mean(-1, keepdim=True), maps], -1)

"""Prompts laid out as a tree, so that what they begin with in common is there once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Slot:
    """A place in a prompt that a learned vector fills.

    Args:
        index: which of the vectors.
    """

    index: int


Symbol = int | Slot
"""What stands at one position of a prompt: a token's id or a learned vector."""


class PromptTree(nn.Module):
    """Where each position of several prompts stands, and which positions it sees.

    In a causal transformer a position depends on what comes before it alone. So prompts that begin
    alike have the same values there, and one row of T nodes with a mask holds them all: a node
    sees itself and its ancestors. The start token is not among the nodes; all of them see it.

    Args:
        prompts: symbols of each prompt, from after the start token up to the end-of-text token.
        token_embedding: (vocabulary, width).
        positional_embedding: (context length, width).

    Attributes:
        fixed: (F, width), embeddings of the tokens in the prompts.
        order: (T,), each node's place in the fixed embeddings followed by the learned vectors.
        positions: (T, width), each node's positional embedding.
        mask: (T, 1 + T), added to attention scores: 0 where a node sees the start token or a node.
        ends: (prompts,), the nodes of the end-of-text tokens.
    """

    fixed: torch.Tensor
    order: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    ends: torch.Tensor

    def __init__(
        self,
        prompts: Sequence[Sequence[Symbol]],
        token_embedding: torch.Tensor,
        positional_embedding: torch.Tensor,
    ) -> None:
        super().__init__()
        nodes: dict[tuple[Symbol, ...], int] = {}
        for prompt in prompts:
            for length in range(1, len(prompt) + 1):
                nodes.setdefault(tuple(prompt[:length]), len(nodes))
        sees = torch.zeros(len(nodes), 1 + len(nodes), dtype=torch.bool)
        sees[:, 0] = True
        for path, node in nodes.items():
            sees[node, [1 + nodes[path[:length]] for length in range(1, len(path) + 1)]] = True
        tokens = list(dict.fromkeys(p[-1] for p in nodes if not isinstance(p[-1], Slot)))
        place = {token: number for number, token in enumerate(tokens)}
        order = [
            len(tokens) + last.index if isinstance(last := path[-1], Slot) else place[last]
            for path in nodes
        ]
        for name, value in {
            "fixed": token_embedding[tokens],
            "order": torch.tensor(order),
            "positions": positional_embedding[[len(path) for path in nodes]],
            "mask": torch.zeros(sees.shape).masked_fill(~sees, -torch.inf),
            "ends": torch.tensor([nodes[tuple(prompt)] for prompt in prompts]),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def embeddings(self, vectors: torch.Tensor) -> torch.Tensor:
        """The nodes' embeddings, (B, T, width), for the learned vectors (B, slots, width)."""
        fixed = self.fixed.expand(vectors.shape[0], -1, -1)
        return torch.cat([fixed, vectors], 1)[:, self.order] + self.positions

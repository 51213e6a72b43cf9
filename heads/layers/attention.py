"""Attention over an image's tokens and their mean, with no more arithmetic than it takes.

The tokens are X = [mean(F); F] + position, F being features that nothing learns. With one query q a
head, exactly:

- q . (W_k x + b_k) = (W_k^T q) . x + constant, and the softmax drops the constant;
- sum_j a_j (W_v x_j + b_v) = W_v (sum_j a_j x_j) + b_v sum_j a_j, where dropout may have made the
  weights' sum other than one;
- u . mean(F) is the mean of the u . F_j, and position enters both sums by itself.

So the query goes through W_k, the weighted sum of raw tokens through W_v, and no key, no value and
no copy of the tokens is ever made. b_k, which decides nothing, stays as a constant, so that weights
made elsewhere fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from clare.errors import InputError

FEW = 4
"""Images whose queries a processor answers together in training: what is written for them stays in
its caches, and is memory that the next ones use again."""


@dataclass(frozen=True)
class AttentionSettings:
    """Settings of multi-head attention.

    Args:
        heads: how many there are.
        head_dim: width of each.
        dropout: of the attention weights, and of what the attention gives.
    """

    heads: int = 8
    head_dim: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.heads < 1 or self.head_dim < 1:
            raise InputError("attention needs heads and head_dim of at least 1")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout {self.dropout} is not a share from 0 to below 1")


class Affine(NamedTuple):
    """A map of few numbers to a query: weight (C, few), constant (Q, C), one for each position."""

    weight: torch.Tensor
    constant: torch.Tensor

    def of(self, seeds: torch.Tensor) -> torch.Tensor:
        """(B, Q, few) to (B, Q, C)."""
        return functional.linear(seeds, self.weight) + self.constant


class TokenAttention(nn.Module):
    """Multi-head attention whose keys and values are an image's tokens and their mean.

    Residual and LayerNorm come after it (post-norm), as in LaRE². Projections start by Glorot's
    uniform rule with biases of zero, positions normal with variance 1/C.

    Args:
        settings: heads and dropout.
        positions: P, tokens of an image.
        width: C, of a token, a query and an output.
    """

    def __init__(self, settings: AttentionSettings, positions: int, width: int) -> None:
        super().__init__()
        self.heads, self.head_dim = settings.heads, settings.head_dim
        inner = self.heads * self.head_dim
        self.position = nn.Parameter(torch.randn(positions + 1, width) / width**0.5)
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)
        for projection in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)
        self.key.bias.requires_grad_(False)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(settings.dropout)

    def attend(
        self, query: torch.Tensor, tokens: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What one query an image finds, added to it and normalised.

        Args:
            query: (B, C).
            tokens: F, (B, P, C).
            bias: (B, H, P + 1) added to the scores, the mean token's first.

        Returns:
            (B, C).
        """
        weights = self.dropout(self._weights(query, tokens, bias))
        # The mean token is its share of every token.
        gathered = self._onto_patches(weights) @ tokens + weights @ self.position
        per_head = self.value.weight.unflatten(0, (self.heads, self.head_dim))
        values = torch.einsum("bhc,hdc->bhd", gathered, per_head)
        values = values + self._per_head(self.value.bias) * weights.sum(-1, keepdim=True)
        found: torch.Tensor = self.norm(query + self.dropout(self.out(values.flatten(1))))
        return found

    def look(
        self, query: torch.Tensor, tokens: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Where the query of `attend` looks: (B, P), heads averaged, each row summing to one."""
        return self._onto_patches(self._weights(query, tokens, bias)).mean(1)

    def attend_all(
        self, seeds: torch.Tensor, raw: Affine, projected: Affine, tokens: torch.Tensor
    ) -> torch.Tensor:
        """What every position's query finds, added to it, normalised, and averaged.

        Args:
            seeds: what queries are made of, (B, Q, few).
            raw: makes a query of C.
            projected: makes the same through W_q, H d.
            tokens: F, (B, P, C).

        Returns:
            (B, C).
        """
        dropout = self.dropout.p if self.training else 0.0
        shared = self._keys_values_shared()
        # With dropout, a processor's attention writes all of its weights, several times over: a
        # few images at a time stay in its cache. In an export, to split would fix the batch.
        pieces = [(seeds, tokens)]
        if dropout and tokens.device.type == "cpu":
            pieces = list(zip(seeds.split(FEW), tokens.split(FEW), strict=True))
        averaged = []
        for seed, some in pieces:
            keys, values = self._keys_values(some, *shared)
            answers = functional.scaled_dot_product_attention(
                self._split(projected.of(seed)), keys, values, dropout_p=dropout
            )
            found = self.dropout(self.out(answers.transpose(1, 2).flatten(2)))
            averaged.append(self.norm(raw.of(seed) + found).mean(1))
        return torch.cat(averaged)

    def look_all(
        self, seeds: torch.Tensor, projected: Affine, tokens: torch.Tensor
    ) -> torch.Tensor:
        """Where the queries of `attend_all` look: (B, P), heads and queries averaged."""
        keys, _ = self._keys_values(tokens, *self._keys_values_shared())
        scores = self._split(projected.of(seeds)) @ keys.mT * self.head_dim**-0.5
        return self._onto_patches(torch.softmax(scores, -1)).mean((1, 2))

    def _keys_values_shared(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What keys and values of all images share: weight (2 H d, C), constant (P + 1, 2 H d)."""
        weight = torch.cat([self.key.weight, self.value.weight])
        bias = torch.cat([torch.zeros_like(self.value.bias), self.value.bias])
        return weight, functional.linear(self.position, weight, bias)

    def _keys_values(
        self, tokens: torch.Tensor, weight: torch.Tensor, constant: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys (less b_k) and values of the tokens' mean and of every token, (B, H, P + 1, d) each.

        The mean and the positions are projected by themselves, so that neither a copy of the
        tokens nor a gradient towards them is made.
        """
        patches = functional.linear(tokens, weight)
        summed = torch.cat([patches.mean(1, keepdim=True), patches], 1) + constant
        keys, values = summed.chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def _weights(
        self, query: torch.Tensor, tokens: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """(B, H, P + 1), the mean token's first."""
        asked = self._per_head(self.query(query)) * self.head_dim**-0.5
        per_head = self.key.weight.unflatten(0, (self.heads, self.head_dim))
        carried = torch.einsum("bhd,hdc->bhc", asked, per_head)
        patches = carried @ tokens.mT
        scores = torch.cat([patches.mean(-1, keepdim=True), patches], -1)
        scores = scores + carried @ self.position.mT
        return torch.softmax(scores if bias is None else scores + bias, dim=-1)

    @staticmethod
    def _onto_patches(weights: torch.Tensor) -> torch.Tensor:
        return weights[..., 1:] + weights[..., :1] / (weights.shape[-1] - 1)

    def _per_head(self, values: torch.Tensor) -> torch.Tensor:
        return values.unflatten(-1, (self.heads, self.head_dim))

    def _split(self, values: torch.Tensor) -> torch.Tensor:
        return self._per_head(values).transpose(1, 2)

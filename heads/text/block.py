"""One block of CLIP's frozen text tower."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional


class Affine(nn.Module):
    """A weight and a bias that are not learned and not saved."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().float(), persistent=False)
        bias = None if bias is None else bias.detach().float()
        self.register_buffer("bias", bias, persistent=False)

    def linear(self, x: torch.Tensor) -> torch.Tensor:
        """As ``nn.Linear``."""
        return functional.linear(x, self.weight, self.bias)

    def norm(self, x: torch.Tensor, eps: float) -> torch.Tensor:
        """As ``nn.LayerNorm``."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, eps)


BLOCK_TENSORS = (
    *("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"),
    *("attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "attn.out_proj.bias"),
    *("mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias"),
)
"""What a block is made of, by the names of open_clip's ``ResidualAttentionBlock``."""


class Block(nn.Module):
    """One residual block: attention to the start token and the nodes seen, then an MLP.

    Args:
        tensors: by the names of open_clip's ``ResidualAttentionBlock``.
        heads: of the attention.
        eps: of the norms.
        quick_gelu: whether the activation is ``x * sigmoid(1.702 x)``.
    """

    start: torch.Tensor

    def __init__(
        self, tensors: Mapping[str, torch.Tensor], heads: int, eps: float, quick_gelu: bool
    ) -> None:
        super().__init__()
        self.heads, self.eps = heads, eps
        self.ln_1 = Affine(tensors["ln_1.weight"], tensors["ln_1.bias"])
        weights, biases = (
            tensors[f"attn.in_proj_{kind}"].tensor_split(3) for kind in ("weight", "bias")
        )
        self.query = Affine(weights[0], biases[0])
        self.key_value = Affine(torch.cat(weights[1:]), torch.cat(biases[1:]))
        self.out = Affine(tensors["attn.out_proj.weight"], tensors["attn.out_proj.bias"])
        self.ln_2 = Affine(tensors["ln_2.weight"], tensors["ln_2.bias"])
        # QuickGELU is silu(1.702 x) / 1.702; its factors go into the weights on both sides.
        factor = 1.702 if quick_gelu else 1.0
        self.activation = functional.silu if quick_gelu else functional.gelu
        self.fc = Affine(tensors["mlp.c_fc.weight"] * factor, tensors["mlp.c_fc.bias"] * factor)
        self.proj = Affine(tensors["mlp.c_proj.weight"] / factor, tensors["mlp.c_proj.bias"])
        self.register_buffer("start", None, persistent=False)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor, asking: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, T, width) to the same.

        Args:
            x: the residual stream of the nodes.
            mask: (T, 1 + T), added to the scores.
            asking: the nodes whose values are wanted; all if left out.
        """
        normed = self.ln_1.norm(x, self.eps)
        key, value = self._heads(self.key_value.linear(normed), 2)
        if asking is not None:
            x, normed, mask = x[:, asking], normed[:, asking], mask[asking]
        (query,) = self._heads(self.query.linear(normed), 1)
        start = self.start.to(key.dtype).expand(-1, x.shape[0], -1, -1, -1)
        key, value = torch.cat([start[0], key], 2), torch.cat([start[1], value], 2)
        # As fast as the fused attention for so few positions, and torch.func can batch it.
        scores = query @ key.mT * query.shape[-1] ** -0.5 + mask
        found = scores.softmax(-1).to(value.dtype) @ value
        return self._finish(x, found.transpose(1, 2).flatten(2))

    def keep_start(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the keys and values of the start token (1, 1, width), which sees itself alone."""
        joint = self.key_value.linear(self.ln_1.norm(x, self.eps))
        self.start = self._heads(joint, 2)
        return self._finish(x, joint[..., x.shape[-1] :])

    def _heads(self, joint: torch.Tensor, parts: int) -> torch.Tensor:
        """(B, T, parts * width) to (parts, B, heads, T, width of a head)."""
        return joint.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def _finish(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        x = x + self.out.linear(attended)
        hidden = self.activation(self.fc.linear(self.ln_2.norm(x, self.eps)))
        return x + self.proj.linear(hidden)

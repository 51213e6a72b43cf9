"""DINOv3 in transformers' format, as timm has it: the tensors' names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SIGN = "embeddings.register_tokens"
"""A name that such files have."""

_UNUSED = "embeddings.mask_token"
"""Of the training alone."""

_OUTSIDE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.patch_embeddings.": "patch_embed.proj.",
}

_INSIDE = {
    "attention.q_proj.weight": "attn.qkv.weight",
    "attention.q_proj.bias": "attn.q_bias",
    "attention.v_proj.bias": "attn.v_bias",
    "attention.o_proj.": "attn.proj.",
    "layer_scale1.lambda1": "gamma_1",
    "layer_scale2.lambda1": "gamma_2",
    "mlp.up_proj.": "mlp.fc1.",
    "mlp.down_proj.": "mlp.fc2.",
}
"""Names within a block; the weights of attention's three inputs are one tensor in timm."""


def timm_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a tower under timm's names; unknown names stay as they are."""
    import torch

    # transformers names the blocks so in memory, since 5.0.
    given = {name.removeprefix("model."): value for name, value in tensors.items()}
    found = {}
    for name, value in given.items():
        if name.endswith(".attention.q_proj.weight"):
            others = (name.replace(".q_proj.", f".{other}_proj.") for other in "kv")
            parts = [value, *(given[key] for key in others if key in given)]
            found[_rename(name)] = torch.cat(parts)
        elif name != _UNUSED and not name.endswith(
            (".attention.k_proj.weight", ".attention.v_proj.weight")
        ):
            found[_rename(name)] = value
    return found


def _rename(name: str) -> str:
    table = _OUTSIDE
    begin, inner = "", name
    if name.startswith("layer."):
        _, number, inner = name.split(".", 2)
        begin, table = f"blocks.{number}.", _INSIDE
    for old, new in table.items():
        inner = new + inner.removeprefix(old) if inner.startswith(old) else inner
    return begin + inner

"""What a stored text tower says of itself, and which tensors such a tower has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from clare.errors import InputError
from clare.heads.text.block import BLOCK_TENSORS
from clare.typed_json import from_json

CANT = "the text tower of this store's CLIP can't be run here"
INSTEAD = "choose a classifier without text, linear or knn, or extract with another CLIP"

_PLAIN = {
    "proj_type": "linear",
    "block_type": "default",
    "hf_proj_type": "mlp",
    "hf_pooler_type": "mean_pooler",
    "hf_model_pretrained": True,
}
"""Further values of a text configuration that leave the tower as it is read here."""

_NO_VALUE = ("hf_tokenizer_name", "pad_id", "output_tokens")
"""Keys of a text configuration that touch no value."""


@dataclass(frozen=True)
class TextConfig:
    """What is read of open_clip's text configuration, with its defaults.

    Args:
        context_length: positions.
        vocab_size: tokens.
        width: of the residual stream.
        heads: of the attention.
        layers: blocks.
        mlp_ratio: width of a block's hidden layer over that of the stream.
        norm_kwargs: ``eps`` of the norms.
        tokenizer_kwargs: ``clean``, how a text is cleaned first, and ``strip_sep_token``.
        tokenizer_mode: of the tokenizer; none but the plain one can be run.
        pool_type: ``argmax`` takes the greatest token's vector, ``eos`` that of ``eos_id``.
        eos_id: the end-of-text token.
    """

    context_length: int = 77
    vocab_size: int = 49408
    width: int = 512
    heads: int = 8
    layers: int = 12
    mlp_ratio: float = 4.0
    norm_kwargs: Mapping[str, float] | None = None
    tokenizer_kwargs: Mapping[str, str | bool | int] | None = None
    tokenizer_mode: str | None = None
    pool_type: str = "argmax"
    eos_id: int = 2

    @property
    def eps(self) -> float:
        """Of the norms."""
        return (self.norm_kwargs or {}).get("eps", 1e-5)


@dataclass(frozen=True)
class TowerFacts:
    """The metadata of ``text_tower.safetensors``.

    Args:
        text_config: open_clip's text configuration.
        embed_dim: of the text vectors.
        quick_gelu: whether the activation is QuickGELU.
        context_length: positions that a prompt may have.
        tokenizer: ``SimpleTokenizer``, or the name of one whose ``tokenizer.json`` is kept beside.
    """

    text_config: Mapping[str, Any]
    embed_dim: int
    quick_gelu: bool
    context_length: int
    tokenizer: str

    def read_config(self, where: str) -> TextConfig:
        """The text configuration, refused where it asks for more than the plain causal tower.

        Raises:
            InputError: it does, or a value is none.
        """
        names = {field.name for field in fields(TextConfig)}
        known = {n: v for n, v in self.text_config.items() if n in names}
        config = from_json(TextConfig, known, where)
        odd = {
            name: value
            for name, value in self.text_config.items()
            if name not in (*names, *_NO_VALUE) and value not in (None, False, _PLAIN.get(name))
        }
        if config.pool_type not in ("argmax", "eos"):
            odd["pool_type"] = config.pool_type
        if odd:
            name, value = next(iter(odd.items()))
            raise InputError(f"{CANT} ({name} is {value}): {INSTEAD}")
        sizes = (config.width, config.heads, config.layers, config.vocab_size, self.embed_dim)
        if min(sizes) < 1 or config.width % config.heads or self.context_length < 3:
            raise InputError(f"{where} is damaged: its sizes are none of a text tower")
        if config.context_length != self.context_length:
            raise InputError(f"{where} is damaged: it has two lengths of context")
        return config


def tower_tensors(
    config: TextConfig, embed_dim: int, found: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Name to an empty tensor of the shape that each has in such a tower.

    Args:
        config: of the tower.
        embed_dim: of the text vectors.
        found: what there is; a few names are left to it.
    """
    width, hidden = config.width, int(config.width * config.mlp_ratio)
    block = {
        **dict.fromkeys(("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"), (width,)),
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "attn.out_proj.bias": (width,),
        "mlp.c_fc.weight": (hidden, width),
        "mlp.c_fc.bias": (hidden,),
        "mlp.c_proj.weight": (width, hidden),
        "mlp.c_proj.bias": (width,),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding.weight": (config.vocab_size, width),
        "positional_embedding": (config.context_length, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
        "text_projection": (width, embed_dim),
        "logit_scale": (),
    }
    for name in ("logit_scale", "logit_bias"):  # numbers to some, lists of one number to others
        if name in found and found[name].numel() == 1:
            shapes[name] = tuple(found[name].shape)
    for layer in range(min(config.layers, len(found))):  # more than there are tensors are lacking
        for name in BLOCK_TENSORS:
            shapes[f"transformer.resblocks.{layer}.{name}"] = block[name]
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}

"""What the files of LaRE² and of CLaRE share: attention and channels that LaRE guides."""

from __future__ import annotations

from clare.errors import WeightsError
from clare.heads.published import SD15, Need
from clare.models.checkpoint import Checkpoint

HEADS, INNER, HIDDEN, MAPS = 8, 512, 128, 4
"""Heads of attention, their channels together, the channel branch's hidden ones, LaRE's."""

UNUSED = "conv_align."
"""A layer that no value passes through."""

LARE = (1, MAPS, MAPS, 32, 32)
"""A row of LaRE: one step, four draws."""

LARE_NEED = Need(
    "lare",
    {
        "size": 256,
        "timesteps": [200],
        "latent": "sample",
        "error": "squared",
        "noise": "image",
        "backbone": None,
    },
    {},
    SD15,
)
"""As LaRE²'s own script makes it: four draws, each of its own noise; of no small random model."""

NAMES = {
    "channel_align.fc.0.weight": "fusion.channel.hidden.weight",
    "channel_align.fc.2.weight": "fusion.channel.weights.weight",
    **{
        f"attn_pool.attention.fc_{old}.{kind}": f"fusion.attend.{new}.{kind}"
        for old, new in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out"))
        for kind in ("weight", "bias")
    },
    "attn_pool.layer_norm.weight": "fusion.attend.norm.weight",
    "attn_pool.layer_norm.bias": "fusion.attend.norm.bias",
}
"""Their names, and those of our fusions."""


def guided_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """The shapes of what both have, for tokens of a width."""
    return {
        "conv.weight": (HEADS, MAPS, 1, 1),
        "conv.bias": (HEADS,),
        "channel_align.fc.0.weight": (HIDDEN, MAPS),
        "channel_align.fc.2.weight": (width, HIDDEN),
        **{f"attn_pool.attention.fc_{k}.weight": (INNER, width) for k in "qkv"},
        **{f"attn_pool.attention.fc_{k}.bias": (INNER,) for k in "qkv"},
        "attn_pool.attention.fc_o.weight": (width, INNER),
        "attn_pool.attention.fc_o.bias": (width,),
        "attn_pool.layer_norm.weight": (width,),
        "attn_pool.layer_norm.bias": (width,),
    }


def grid_sizes(checkpoint: Checkpoint, name: str) -> tuple[int, int]:
    """Positions of the tokens, and their width, by the embedding of these and of their mean.

    Raises:
        WeightsError: it is missing, or of other axes.
    """
    if name not in checkpoint.tensors or checkpoint.tensors[name].ndim != 2:
        raise WeightsError(f"{checkpoint.path} has no {name} of two axes")
    tokens, width = checkpoint.tensors[name].shape
    return tokens - 1, width

"""The weights and biases of a transformer's LayerNorms move, and nothing else."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn

from clare.advice import Set
from clare.errors import InputError
from clare.models.image_tower import Tower
from clare.models.tuned import Moving, Tuning
from clare.wording import counted

_Places = tuple[tuple[str, ...], str, tuple[str, ...]]

_OPEN_CLIP: _Places = (
    ("ln_pre", "ln_post", "attn_pool.ln_q", "attn_pool.ln_k"),
    "transformer.resblocks",
    ("ln_1", "ln_2", "ln_attn", "mlp.ln"),
)
_TIMM: _Places = (
    ("norm_pre", "norm", "fc_norm", "attn_pool.norm"),
    "blocks",
    ("norm1", "norm2", "attn.norm", "attn.q_norm", "attn.k_norm", "mlp.norm"),
)
"""Where LayerNorms may stand in a tower: of its own, where its blocks are, and those of a block."""


class LayerNormTuning(Tuning):
    """LN-tuning: 2 D parameters a norm.

    As in yermandy/deepfake-detection and GenD (arXiv 2508.06248). In ViT-L/14 of CLIP these are 50
    norms of 1024 channels, in PE-Core-L 51, that of the attention pooling among them, in DINOv3-L
    49.
    """

    def begin(self, tower: Tower, fields: Collection[str]) -> Moving:
        """The norms by the names that their kind of tower gives them.

        Raises:
            InputError: it has none, or its kind is not known.
        """
        norms = _norms(tower.visual)
        if not norms:
            raise InputError(
                f"the tower ({type(tower.visual).__name__}) has no LayerNorm that could be tuned",
                Set("tune", "full", "moves all of it"),
            )
        read = set(tower.read_by(fields))
        own = (f"visual.{norm}.{name}" for norm, one in norms.items() for name in _affine(one))
        names = [name for name in own if name in read]
        moved = {name.rpartition(".")[0] for name in names}
        return Moving(tuple(names), told=counted(len(moved), "LayerNorm"))


def _norms(visual: Any) -> dict[str, nn.Module]:
    """The LayerNorms with parameters, by name in the tower."""
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer as OpenClipTransformer
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    if isinstance(visual, TimmModel):
        return {f"trunk.{name}": norm for name, norm in _norms(visual.trunk).items()}
    if isinstance(visual, OpenClipTransformer):
        own, blocks, of_block = _OPEN_CLIP
    elif isinstance(visual, Eva | VisionTransformer):
        own, blocks, of_block = _TIMM
    else:
        return {}
    number = len(visual.get_submodule(blocks))
    paths = [*own, *(f"{blocks}.{k}.{name}" for k in range(number) for name in of_block)]
    there = dict(visual.named_modules())
    return {path: there[path] for path in paths if _affine(there.get(path))}


def _affine(module: nn.Module | None) -> list[str]:
    """The names of a LayerNorm's parameters; none of what is no LayerNorm."""
    return [n for n, _ in module.named_parameters()] if isinstance(module, nn.LayerNorm) else []

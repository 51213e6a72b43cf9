"""CLIP in transformers' format, as open_clip has it: the configuration, and the tensors' names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clare.errors import InputError

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]

SIGN = "vision_model.encoder.layers."
"""How names begin that are transformers'."""

_TOWERS = {"vision_model.": "visual.", "text_model.": ""}

_OUTSIDE = {
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.class_embedding": "class_embedding",
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "pre_layrnorm.": "ln_pre.",
    "post_layernorm.": "ln_post.",
    "final_layer_norm.": "ln_final.",
}
"""Names within a tower, outside of its blocks."""

_INSIDE = {
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
    "self_attn.out_proj.": "attn.out_proj.",
}
"""Names within a block; the three inputs of attention are one tensor in open_clip."""

_PROJECTIONS = {
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
}


def open_clip_config(record: Mapping[str, Any]) -> dict[str, Any]:
    """open_clip's configuration of a model.

    Args:
        record: the content of its ``config.json``.

    Raises:
        InputError: it is not a CLIP, or one that open_clip can't build.
    """
    import transformers

    if (kind := record.get("model_type")) != "clip":
        raise InputError(f"this is transformers' configuration of {kind or 'something else'}")
    try:
        config = transformers.CLIPConfig(**record)
        vision, text = config.vision_config, config.text_config
        activations = {vision.hidden_act, text.hidden_act}
        if activations not in ({"quick_gelu"}, {"gelu"}):
            raise ValueError(f"its activation is {' and '.join(sorted(activations))}")
        found = {
            "embed_dim": config.projection_dim,
            "quick_gelu": activations == {"quick_gelu"},
            "vision_cfg": {
                "image_size": vision.image_size,
                "patch_size": vision.patch_size,
                "head_width": vision.hidden_size // vision.num_attention_heads,
                **_sizes(vision),
            },
            "text_cfg": {
                "context_length": text.max_position_embeddings,
                "vocab_size": text.vocab_size,
                "heads": text.num_attention_heads,
                **_sizes(text),
            },
        }
    except Exception as error:  # whatever values that make no sense lead to
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"this configuration of a CLIP can't be used: {reason}") from error
    # 2 is what old configurations say whatever the vocabulary; CLIP's own end is its greatest id.
    if text.eos_token_id not in (2, text.vocab_size - 1):
        found["text_cfg"] |= {"pool_type": "eos", "eos_id": text.eos_token_id}
    return found


def _sizes(tower: Any) -> dict[str, Any]:
    sizes = {
        "width": tower.hidden_size,
        "layers": tower.num_hidden_layers,
        "mlp_ratio": tower.intermediate_size / tower.hidden_size,
    }
    eps = tower.layer_norm_eps
    return sizes if eps == 1e-5 else {**sizes, "norm_kwargs": {"eps": eps}}


def open_clip_names(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The tensors of both towers under open_clip's names; unknown names stay as they are."""
    import torch

    found: Tensors = {}
    for name, value in tensors.items():
        if name in _PROJECTIONS:
            found[_PROJECTIONS[name]] = value.T.contiguous()
        elif ".self_attn.q_proj." in name:
            others = (name.replace(".q_proj.", f".{other}_proj.") for other in "kv")
            parts = [value, *(tensors[other] for other in others if other in tensors)]
            found[_rename(name)] = torch.cat(parts)
        elif ".self_attn.k_proj." not in name and ".self_attn.v_proj." not in name:
            found[_rename(name)] = value
    return found


def _rename(name: str) -> str:
    prefix = next((one for one in _TOWERS if name.startswith(one)), None)
    if prefix is None:
        return name
    rest = name.removeprefix(prefix)
    block = rest.removeprefix("encoder.layers.")
    if block == rest:
        for old, new in _OUTSIDE.items():
            rest = rest.replace(old, new) if rest.startswith(old) else rest
        return _TOWERS[prefix] + rest
    number, _, inner = block.partition(".")
    for old, new in _INSIDE.items():
        inner = new + inner.removeprefix(old) if inner.startswith(old) else inner
    inner = inner.replace("self_attn.q_proj.", "attn.in_proj_")
    return f"{_TOWERS[prefix]}transformer.resblocks.{number}.{inner}"

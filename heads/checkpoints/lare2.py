"""LaRE²: LaRE guides attention over the maps of an RN50 that was tuned with it.

Luo et al., "LaRE²: Latent Reconstruction Error Based Method for Diffusion-Generated Image
Detection" (CVPR 2024); facts of luo3300612/LaRE at f8b2966, class ``CLipClassifierWMapV6``.
"""

from __future__ import annotations

from clare.errors import WeightsError
from clare.heads.config import DetectorConfig
from clare.heads.published import About, CheckpointFormat, Need, PublishedHead, require_tensors
from clare.models.carried_clip import clip_model
from clare.models.checkpoint import Checkpoint

TOWER = "clip_model."

UNUSED = "conv_align."
"""A layer that no value passes through."""

HEADS, INNER, HIDDEN, MAPS = 8, 512, 128, 4
"""Heads of attention, their channels together, the channel branch's hidden ones, LaRE's."""

NAMES = {
    "fc.weight": "classifier.layer.weight",
    "fc.bias": "classifier.layer.bias",
    "conv.weight": "fusion.spread.weight",
    "conv.bias": "fusion.spread.bias",
    "channel_align.fc.0.weight": "fusion.channel.hidden.weight",
    "channel_align.fc.2.weight": "fusion.channel.weights.weight",
    "attn_pool.positional_embedding": "fusion.attend.position",
    **{
        f"attn_pool.attention.fc_{old}.{kind}": f"fusion.attend.{new}.{kind}"
        for old, new in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out"))
        for kind in ("weight", "bias")
    },
    "attn_pool.layer_norm.weight": "fusion.attend.norm.weight",
    "attn_pool.layer_norm.bias": "fusion.attend.norm.bias",
}
"""Its names, and those of the fusion `esa` with a linear layer."""


class Lare2(CheckpointFormat):
    """The whole detector, CLIP under ``clip_model``: what its training saves."""

    about = About(
        title="LaRE² (Luo et al., CVPR 2024)",
        url="https://github.com/luo3300612/LaRE",
        weights="none is published; Val_best.pth or latest.pt of a training of one's own",
        licence="Apache-2.0 (its code)",
        trained_on="what its owner trained it on; as published Stable Diffusion 1.5 of GenImage",
        figure="",
        needs="the RN50 in the file, of the middle 224 pixels, never resized; LaRE of Stable "
        "Diffusion 1.5",
    )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """The attention's names and a CLIP beside them."""
        names = set(checkpoint.tensors)
        return {"attn_pool.attention.fc_q.weight", f"{TOWER}visual.conv1.weight"} <= names

    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The head, and the CLIP that it was trained with."""
        positions, width = self._sizes(checkpoint)
        shapes = {
            "fc.weight": (2, 3 * width),
            "fc.bias": (2,),
            "conv.weight": (HEADS, MAPS, 1, 1),
            "conv.bias": (HEADS,),
            "channel_align.fc.0.weight": (HIDDEN, MAPS),
            "channel_align.fc.2.weight": (width, HIDDEN),
            "attn_pool.positional_embedding": (positions + 1, width),
            **{f"attn_pool.attention.fc_{k}.weight": (INNER, width) for k in "qkv"},
            **{f"attn_pool.attention.fc_{k}.bias": (INNER,) for k in "qkv"},
            "attn_pool.attention.fc_o.weight": (width, INNER),
            "attn_pool.attention.fc_o.bias": (width,),
            "attn_pool.layer_norm.weight": (width,),
            "attn_pool.layer_norm.bias": (width,),
        }
        found = require_tensors(checkpoint, shapes, beside=(TOWER, UNUSED))
        found["conv.weight"] = found["conv.weight"].flatten(1)
        clip = {
            name.removeprefix(TOWER): value
            for name, value in checkpoint.tensors.items()
            if name.startswith(TOWER)
        }
        carried = clip_model(clip)
        size = carried.config["model_cfg"]["vision_cfg"]["image_size"]
        tower = Need(
            "clip",
            {"mean_std": "imagenet", "quick_gelu": True, "size": size},
            {"crop": "centre", "crop_side": size},
            sha256=carried.sha256,
        )
        lare = Need("lare", {"size": 256, "error": "squared"}, {}, ("sd1.5",))
        return PublishedHead(
            config=DetectorConfig(fusion="esa", classifier="linear", standardize=False),
            specs={
                "clip_cls": (width,),
                "clip_tokens": (positions, width),
                "lare": (1, 4, MAPS, 32, 32),
            },
            tensors={NAMES[name]: value for name, value in found.items()},
            needs={"clip_cls": tower, "clip_tokens": tower, "lare": lare},
            remarks=(
                "its own maps of LaRE had each image's class in the prompt, and those of a store "
                "one prompt for all",
            ),
            carried=carried,
        )

    def _sizes(self, checkpoint: Checkpoint) -> tuple[int, int]:
        """Positions of the tower's third layer, and their channels."""
        name = "attn_pool.positional_embedding"
        if name not in checkpoint.tensors or checkpoint.tensors[name].ndim != 2:
            raise WeightsError(f"{checkpoint.path} has no {name} of two axes")
        tokens, width = checkpoint.tensors[name].shape
        return tokens - 1, width

"""DDA: one logit over a DINOv2 that LoRA tuned on reals and their aligned reconstructions.

Chen et al., "Dual Data Alignment Makes AI-Generated Image Detector Easier Generalizable"
(NeurIPS 2025); facts of roy-ch/Dual-Data-Alignment at 21f1e39.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional

from clare.heads.checkpoints._linear import linear_head
from clare.heads.published import About, CheckpointFormat, Need, PublishedHead, require_tensors
from clare.models.carried import dinov2_tower, merge_lora, sound_shapes
from clare.models.checkpoint import Checkpoint

LAYER = ("base_model.fc.weight", "base_model.fc.bias")

TOWER = "base_model.model."
"""How the names of the tower begin."""

ALPHA = 1.0
"""LoRA's scale, which the file does not hold."""

SIDE = 336
"""Of the square that is cut out of the middle of an image, never resized."""

OFFSET = 0.1
"""What DINOv2's own code adds to the new side of its grid of positions, before it divides."""


class DDA(CheckpointFormat):
    """``base_model.fc`` (1, D) beside DINOv2's tower, LoRA beside each of its linear layers."""

    about = About(
        title="DDA (Chen et al., NeurIPS 2025)",
        url="https://github.com/roy-ch/Dual-Data-Alignment",
        weights="huggingface.co: Junwei-Xi/Dual-Data-Alignment",
        licence="Apache-2.0 (its code)",
        trained_on="COCO and its reconstructions by Stable Diffusion 2.1's autoencoder",
        figure="mean balanced accuracy 90.7 % over 11 benchmarks (its README)",
        needs="the tower in the file, at 336 pixels; the middle 336 pixels, never resized",
    )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """The layer, and a tower with LoRA beside its own layers."""
        names = set(checkpoint.tensors)
        return set(LAYER) <= names and any(name.endswith(".lora.lora_A") for name in names)

    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The head, and the tower with LoRA merged into its weights."""
        held = {
            name.removeprefix(TOWER): value
            for name, value in checkpoint.tensors.items()
            if name.startswith(TOWER)
        }
        carried = dinov2_tower(_at_size(merge_lora(held, ALPHA)))
        width = int(carried.config["model_args"]["embed_dim"])
        shapes = {LAYER[0]: (1, width), LAYER[1]: (1,)}
        found = require_tensors(checkpoint, shapes, beside=(TOWER,))
        return linear_head(
            (found[LAYER[0]], found[LAYER[1]]),
            "tower_cls",
            Need(
                "tower",
                {"size": SIDE, "mean_std": "clip"},
                {"crop": "centre", "crop_side": SIDE},
                sha256=carried.sha256,
            ),
            carried=carried,
        )


@sound_shapes()
def _at_size(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tower with position embeddings for its images' size, interpolated as DINOv2's code does.

    Its grid is scaled by (new side + 0.1) / old side, bicubic and without antialiasing: not what
    timm would do.
    """
    if not {"pos_embed", "patch_embed.proj.weight"} <= set(tensors):
        return dict(tensors)  # the tower's builder says what is missing
    positions = tensors["pos_embed"].float()
    grid = positions[0, 1:]
    old = round(len(grid) ** 0.5)
    new = SIDE // tensors["patch_embed.proj.weight"].shape[-1]
    if old == new:
        return dict(tensors)
    scaled = functional.interpolate(
        grid.reshape(1, old, old, -1).permute(0, 3, 1, 2),
        scale_factor=(new + OFFSET) / old,
        mode="bicubic",
    )
    moved = scaled.permute(0, 2, 3, 1).reshape(1, new * new, -1)
    return {**tensors, "pos_embed": torch.cat([positions[:, :1], moved], dim=1)}

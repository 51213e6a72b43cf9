"""A tower that a published detector brings along, as a folder that an extractor loads."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clare.errors import WeightsError
from clare.models import clip_files, timm_files
from clare.models.normalisations import NORMALISATIONS
from clare.models.runtime import is_out_of_memory
from clare.models.transformers_clip import open_clip_names

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]

FILES = {
    "clip": (clip_files.CONFIG, clip_files.FILES[0]),
    "tower": (timm_files.CONFIG, timm_files.WEIGHTS),
}
"""By extractor: the names of a model's configuration and weights in its folder."""

HEAD_WIDTH = 64
"""Channels of a head of attention in every tower here; shapes do not tell it."""


@dataclass(frozen=True)
class CarriedModel:
    """A model by its own tensors.

    Args:
        extractor: that reads it.
        config: the content of its configuration's file.
        tensors: by any names that the extractor reads.
    """

    extractor: Literal["clip", "tower"]
    config: Mapping[str, Any]
    tensors: Tensors

    @cached_property
    def weights(self) -> bytes:
        """The weights file, the same for the same tensors."""
        from safetensors.torch import save

        return save({name: value.contiguous() for name, value in self.tensors.items()})

    @property
    def sha256(self) -> str:
        """Of the weights file: what tells features of this model from all others."""
        return hashlib.sha256(self.weights).hexdigest()

    def write(self, folder: Path) -> None:
        """Write it as a folder that is given to the extractor as its model.

        Args:
            folder: made if absent.
        """
        folder.mkdir(parents=True, exist_ok=True)
        config, weights = FILES[self.extractor]
        (folder / config).write_text(json.dumps(self.config, indent=2) + "\n", encoding="utf-8")
        (folder / weights).write_bytes(self.weights)


@contextlib.contextmanager
def sound_shapes() -> Iterator[None]:
    """One sentence where tensors of a stranger's file have shapes that lead nowhere.

    Raises:
        WeightsError: they have.
    """
    try:
        yield
    except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise WeightsError(
            "the tower can't be built: its tensors are of shapes that do not fit together"
        ) from error


@sound_shapes()
def clip_image_tower(tensors: Tensors) -> CarriedModel:
    """The image tower of a CLIP alone, a vision transformer.

    Args:
        tensors: under transformers' names, ``vision_model.…``.

    Raises:
        WeightsError: a tensor is missing that tells the sizes, or shapes do not fit together.
    """
    found = open_clip_names(tensors)
    patches = require_tensor(found, "visual.conv1.weight")
    width, _, _, patch = patches.shape
    side = _side(len(require_tensor(found, "visual.positional_embedding")) - 1)
    hidden = len(require_tensor(found, "visual.transformer.resblocks.0.mlp.c_fc.weight"))
    sizes = _sizes(width, patch, count_blocks(found, "visual.transformer.resblocks."), hidden)
    return _described("vit_large_patch14_clip_quickgelu_224", sizes, side * patch, "clip", found)


@sound_shapes()
def pe_tower(tensors: Tensors) -> CarriedModel:
    """A Perception Encoder with attention pooling.

    Args:
        tensors: under timm's names.

    Raises:
        WeightsError: a tensor is missing that tells the sizes, or shapes do not fit together.
    """
    width, _, _, patch = require_tensor(tensors, "patch_embed.proj.weight").shape
    side = _side(require_tensor(tensors, "pos_embed").shape[1] - 1)
    hidden = len(require_tensor(tensors, "blocks.0.mlp.fc1.weight"))
    sizes = _sizes(width, patch, count_blocks(tensors, "blocks."), hidden)
    sizes["attn_pool_num_heads"] = max(1, width // (2 * HEAD_WIDTH))
    return _described("vit_pe_core_large_patch14_336", sizes, side * patch, "half", tensors)


@sound_shapes()
def dinov3_tower(tensors: Tensors) -> CarriedModel:
    """A DINOv3 with four register tokens.

    Args:
        tensors: under transformers' names.

    Raises:
        WeightsError: a tensor is missing that tells the sizes, or shapes do not fit together.
    """
    given = {name.removeprefix("model."): value for name, value in tensors.items()}
    width, _, _, patch = require_tensor(given, "embeddings.patch_embeddings.weight").shape
    hidden = len(require_tensor(given, "layer.0.mlp.up_proj.weight"))
    sizes = _sizes(width, patch, count_blocks(given, "layer."), hidden)
    return _described("vit_large_patch16_dinov3_qkvb", sizes, 14 * patch, "imagenet", given)


@sound_shapes()
def dinov2_tower(tensors: Tensors) -> CarriedModel:
    """A DINOv2 without register tokens, of the size that its position embedding has.

    Args:
        tensors: under the names of its own repository.

    Raises:
        WeightsError: a tensor is missing that tells the sizes, or shapes do not fit together.
    """
    width, _, _, patch = require_tensor(tensors, "patch_embed.proj.weight").shape
    side = _side(require_tensor(tensors, "pos_embed").shape[1] - 1)
    hidden = len(require_tensor(tensors, "blocks.0.mlp.fc1.weight"))
    sizes = _sizes(width, patch, count_blocks(tensors, "blocks."), hidden)
    return _described("vit_large_patch14_dinov2", sizes, side * patch, "imagenet", tensors)


def without_peft(tensors: Tensors) -> dict[str, torch.Tensor]:
    """The tensors that PEFT's tuning of LayerNorms was saved with, under the model's own names.

    ``base_layer`` is a norm as it was before, and is left out; ``ln_tuning_layers.default`` is the
    tuned one.
    """
    return {
        name.removeprefix("base_model.model.").replace(".ln_tuning_layers.default.", "."): value
        for name, value in tensors.items()
        if ".base_layer." not in name
    }


@sound_shapes()
def merge_lora(tensors: Tensors, alpha: float) -> dict[str, torch.Tensor]:
    """Linear layers with what LoRA learnt added to their weights: ``W + alpha / r · B A``.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, equation 3.

    Args:
        tensors: a layer's own as ``….original_layer.weight`` (out, in), and beside them
            ``….lora.lora_A`` (r, in) and ``….lora.lora_B`` (out, r).
        alpha: LoRA's scale; r is the rank that the shapes have.

    Raises:
        WeightsError: half of a pair is missing.
    """
    found = {}
    for name, value in tensors.items():
        if ".lora." in name:
            continue
        plain = name.replace(".original_layer.", ".")
        if name.endswith(".original_layer.weight"):
            layer = name.removesuffix(".original_layer.weight")
            down = require_tensor(tensors, f"{layer}.lora.lora_A").float()
            up = require_tensor(tensors, f"{layer}.lora.lora_B").float()
            value = value.float() + alpha / len(down) * (up @ down)
        found[plain] = value
    return found


def require_tensor(tensors: Tensors, name: str) -> torch.Tensor:
    """One that sizes are told by.

    Raises:
        WeightsError: it is missing.
    """
    if name not in tensors:
        raise WeightsError(f"the tower can't be built: {name} is missing")
    return tensors[name]


def count_blocks(tensors: Tensors, prefix: str) -> int:
    """How many blocks there are, whose names begin so."""
    numbers = {n.removeprefix(prefix).partition(".")[0] for n in tensors if n.startswith(prefix)}
    return len(numbers)


def _side(positions: int) -> int:
    """Of the square of patches that has so many."""
    return round(positions**0.5)


def _sizes(width: int, patch: int, depth: int, hidden: int) -> dict[str, Any]:
    return {
        "patch_size": patch,
        "embed_dim": width,
        "depth": depth,
        "num_heads": max(1, width // HEAD_WIDTH),
        "mlp_ratio": hidden / width,
    }


def _described(
    architecture: str, sizes: dict[str, Any], size: int, normalised: str, tensors: Tensors
) -> CarriedModel:
    mean, std = NORMALISATIONS[normalised]
    images = {"input_size": [3, size, size], "mean": mean, "std": std, "classifier": "head"}
    config = {
        "architecture": architecture,
        "num_classes": 0,
        "model_args": sizes,
        "pretrained_cfg": images,
    }
    return CarriedModel("tower", config, tensors)

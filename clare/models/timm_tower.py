"""A vision transformer of timm, without a text side, from a name, the hub or local files."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clare.errors import InputError
from clare.models.hub import config_digest, quiet, weights_sha256
from clare.models.runtime import enough_memory, is_out_of_memory
from clare.models.timm_files import TowerSource, find_tower
from clare.models.transformers_dinov3 import SIGN, timm_names
from clare.models.weights import fill, read_tensors, weight_files

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TowerModel:
    """A tower without its classifier, and what identifies it.

    Args:
        trunk: timm's model, float32, on the CPU.
        size: side of its images in pixels.
        mean: of the model's own input normalisation, R, G, B in 0 to 1.
        std: of the same.
        weights: sha256 of the weights.
        config: digest of the model's configuration.
        origin: model and weights by name.
        backbone: ``tiny`` if the model is CLaRE's own, else None.
    """

    trunk: Any
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: str
    config: str
    origin: dict[str, str]
    backbone: str | None


def load_tower(model: str, weights: str | None, size: int | None) -> TowerModel:
    """Load a vision transformer through timm.

    Args:
        model: a name of timm, with or without a tag of weights, ``hf-hub:owner/name``, or a local
            folder with timm's ``config.json``.
        weights: a tag of the named model, or a local file or folder in place of its own, with names
            of timm, of the original publications that timm converts (OpenAI's CLIP, DINOv2, DINOv3,
            PE), or of transformers' DINOv3.
        size: input side in pixels; None means the tower's own. Position embeddings are
            interpolated as timm does it.

    Raises:
        InputError: the model, the weights or the size are not usable.
        WeightsError: the weights are not on disk and can't be fetched, or do not fit the model.
    """
    source = find_tower(model, weights)
    size = source.size if size is None else size
    if size < 1:
        raise InputError(f"tower's size must be a multiple of the patch, not {size}")
    with quiet(), enough_memory(model):
        trunk = _build(source, size)
        tensors = read_tensors(source.file)
        fill(trunk, _current_names(trunk, tensors, source.images), source.file)
    mean, std = (tuple(source.images.get(name, (0.5,) * 3)) for name in ("mean", "std"))
    about = {"architecture": source.architecture, "arguments": dict(source.arguments)}
    return TowerModel(
        trunk=trunk,
        size=size,
        mean=mean,
        std=std,
        weights=weights_sha256(weight_files(source.file)),
        config=config_digest({**about, "mean": mean, "std": std}),
        origin=source.origin,
        backbone=source.backbone,
    )


def _build(source: TowerSource, size: int) -> Any:
    """The tower, still without weights, in float32."""
    import timm

    from clare.models.undrawn import Undrawn

    own = {k: v for k, v in source.arguments.items() if k not in ("num_classes", "img_size")}
    try:
        with Undrawn():
            trunk = timm.create_model(
                source.architecture,
                pretrained=False,
                checkpoint_path="",
                num_classes=0,
                img_size=size,
                **own,
            )
    except Exception as error:  # whatever values that make no sense lead to
        if is_out_of_memory(error):
            raise
        raise InputError(f"timm can't build {source.architecture}: {error}") from error
    if not hasattr(trunk, "num_prefix_tokens") or not hasattr(trunk, "forward_intermediates"):
        raise InputError(f"tower reads vision transformers, and {source.architecture} is none")
    patch = trunk.patch_embed.patch_size[0]
    if size < patch or size % patch:
        raise InputError(f"tower's size must be a multiple of the patch, {patch}, not {size}")
    return trunk.eval()


def _current_names(
    trunk: Any, tensors: Mapping[str, torch.Tensor], images: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """The tensors under timm's names, position embeddings of the tower's size, no classifier."""
    found = timm_names(tensors) if SIGN in tensors else dict(tensors)
    convert = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)
    if convert is not None:
        # What is of another model is left as it is, so that `fill` says what does not fit. The
        # first pass renames and may leave the positions alone; what timm prints is not for users.
        with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
            found = convert(convert(found, trunk), trunk)
    wanted = trunk.state_dict()
    classifier = f"{images.get('classifier') or 'head'}."
    return {
        name: value
        for name, value in found.items()
        if name in wanted or not (name.startswith(classifier) or _is_no_bias(name, value))
    }


def _is_no_bias(name: str, value: torch.Tensor) -> bool:
    """Whether these are the zeros that DINOv3's files hold and timm's plain towers leave out."""
    return name.endswith((".q_bias", ".v_bias")) and not value.any()

"""What one image costs a tower, counted from its architecture on tensors without memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from clare.advice import Name
from clare.errors import InputError
from clare.models.extraction_cost import count_operations


@dataclass(frozen=True)
class TowerCost:
    """A tower's size.

    Args:
        read_by: the extractor that reads it.
        side: of its images, in pixels.
        parameters: of the image side alone.
        operations: of one image: two for each product that is added up.
    """

    read_by: str
    side: int
    parameters: int
    operations: int


def count_tower(model: str) -> TowerCost:
    """Count what a named tower takes; no weights are read.

    Args:
        model: a name of open_clip or of timm, with or without ``:TAG`` or ``.TAG``.

    Raises:
        InputError: there is no such model, or it takes no images of one size.
    """
    import open_clip
    import timm

    name = model.partition(":")[0].replace("/", "-")
    if open_clip.get_model_config(name) is not None:
        return _count_clip(name)
    if timm.is_model(name.partition(".")[0]):
        return _count_timm(model.replace(":", "."))
    raise InputError(
        f"neither open_clip nor timm has a model {model!r}",
        Name("a tower or a published head", "names"),
    )


@cache
def _count_clip(name: str) -> TowerCost:
    import open_clip
    import torch

    from clare.models.clip import build_clip

    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        visual = build_clip(config).visual
    side = config["vision_cfg"].get("image_size", 224)
    return _count(visual, side[0] if isinstance(side, list | tuple) else side, "clip")


@cache
def _count_timm(name: str) -> TowerCost:
    import timm
    import torch

    with torch.device("meta"):
        tower = timm.create_model(name.partition(".")[0], pretrained=False, num_classes=0).eval()
    known: Any = timm.get_pretrained_cfg(name, allow_unregistered=True)
    side = tower.default_cfg["input_size"] if known is None else known.input_size
    return _count(tower, side[-1], "tower")


def _count(tower: Any, side: int, read_by: str) -> TowerCost:
    import torch

    tower.requires_grad_(False)
    images = torch.empty(1, 3, side, side, device="meta")
    try:
        operations = count_operations(lambda: tower(images))
    except Exception as error:  # whatever a model that takes no such images raises
        raise InputError(f"this model can't be counted: {error}") from error
    return TowerCost(read_by, side, sum(p.numel() for p in tower.parameters()), operations)

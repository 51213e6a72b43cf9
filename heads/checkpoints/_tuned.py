"""What GenD's checkpoints and those of the detector before it share: a linear layer over a tower
whose LayerNorms were tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clare.heads.checkpoints._linear import linear_head
from clare.heads.published import Need, PublishedHead, require_tensors
from clare.models.carried import CarriedModel
from clare.models.checkpoint import SETTINGS, Checkpoint
from clare.models.hub import read_json

LAYER = ("model.linear.weight", "model.linear.bias")

TOWER = "feature_extractor."
"""How the names of the tower begin."""

SIDE = 224
"""Of the images that the towers are given, in pixels."""


def tuned_head(
    checkpoint: Checkpoint,
    carried: CarriedModel,
    field: str,
    images: Mapping[str, Any],
    aligned: Mapping[str, Any],
    remarks: Sequence[str],
) -> PublishedHead:
    """The linear layer on a tower that the file holds.

    Args:
        checkpoint: the file.
        carried: the tower.
        field: that the layer reads.
        images: settings of their preparation.
        aligned: further ones, for images that are not aligned faces already.
        remarks: what a user should know.

    Raises:
        WeightsError: the layer does not fit the tower, or other tensors are left over.
    """
    width = int(carried.config["model_args"]["embed_dim"])
    shapes = {LAYER[0]: (2, width), LAYER[1]: (2,)}
    found = require_tensors(checkpoint, shapes, beside=(TOWER,))
    normalize = _says_norm(checkpoint)
    remark = (
        "nothing beside its tensors says which head it is: taken for the published one, which "
        "brings vectors to unit length"
    )
    return linear_head(
        (found[LAYER[0]], found[LAYER[1]]),
        field,
        Need(
            carried.extractor,
            {"size": SIDE, "mean_std": "own"},
            images,
            sha256=carried.sha256,
            aligned=aligned,
        ),
        normalize=normalize is not False,
        carried=carried,
        remarks=[*remarks, *([remark] if normalize is None else [])],
    )


def _says_norm(checkpoint: Checkpoint) -> bool | None:
    """Whether the head brings vectors to unit length; None where nothing says so.

    The settings of a training's checkpoint say it, or transformers' ``config.json`` beside.
    """
    beside = checkpoint.path.with_name("config.json")
    head = checkpoint.facts.get(f"{SETTINGS}.head")
    if head is None and beside.is_file():
        head = read_json(beside).get("head")
    return {"linear": False, "LinearNorm": True}.get(str(head))

"""What formats share whose head is one linear layer over a tower's vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from clare.heads.config import DetectorConfig
from clare.heads.published import Need, PublishedHead
from clare.models.carried import CarriedModel


def linear_head(
    layer: tuple[torch.Tensor, torch.Tensor],
    field: str,
    need: Need,
    *,
    normalize: bool = False,
    carried: CarriedModel | None = None,
    remarks: Sequence[str] = (),
) -> PublishedHead:
    """A linear layer as one of our heads.

    Args:
        layer: weight (2, D) and bias (2,) of real and fake; or (1, D) and (1,) of one logit that
            rises with fake.
        field: that it reads.
        need: of the field.
        normalize: whether vectors are brought to unit length first.
        carried: the tower that lies in the file too.
        remarks: what a user should know.
    """
    weight, bias = layer
    if len(weight) == 1:  # the logit of real is 0
        weight, bias = (torch.cat([torch.zeros_like(one), one]) for one in (weight, bias))
    return PublishedHead(
        config=DetectorConfig(
            fusion="cls",
            classifier="linear",
            classifier_settings={"normalize": True} if normalize else {},
            fields={} if field == "clip_cls" else {"cls": field},
            standardize=False,
        ),
        specs={field: (weight.shape[1],)},
        tensors={
            "classifier.layer.weight": weight.float(),
            "classifier.layer.bias": bias.float(),
        },
        needs={field: need},
        remarks=tuple(remarks),
        carried=carried,
    )

"""Everything that a user may ask of pairs, beside which images they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from clare.errors import InputError
from clare.models.backbones import Backbone
from clare.models.runtime import Dtype

Coding = Literal["png", "jpeg"]


@dataclass(frozen=True)
class PairSettings:
    """How pairs are made and written.

    Args:
        side: longest side of a pair in pixels; a larger photograph is scaled down first, for both
            members alike.
        coding: how both members are written: png keeps every value; jpeg takes the quantisation
            tables of the photograph's own file, for both.
        seed: of all that is random; other seeds make other pairs.
        settings: settings of the kind that differ from its defaults.
        backbone: real models; mini, small ones trained on drawn faces; or tiny, random ones whose
            fakes mean nothing.
        device: auto, cpu, cuda, cuda:1 or mps.
        dtype: precision of the models; auto is float16 on a GPU and float32 elsewhere.
        batch: images of 512 x 512 pixels that a model on a GPU takes at once; of smaller ones
            more.

    Raises:
        InputError: a value is out of range.
    """

    side: int = 1024
    coding: Coding = "png"
    seed: int = 0
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    backbone: Backbone = "real"
    device: str = "auto"
    dtype: Dtype | Literal["auto"] = "auto"
    batch: int = 8

    def __post_init__(self) -> None:
        if not 16 <= self.side <= 8192:
            raise InputError(f"side {self.side} is not between 16 and 8192 pixels")
        if self.batch < 1:
            raise InputError(f"batch {self.batch} is not 1 or more")
        if self.seed < 0:
            raise InputError(f"seed {self.seed} is not 0 or more")

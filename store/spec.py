"""What a stored value is: its field, and the fingerprint of everything that decided it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

SHARD_ROWS = 64
"""Rows of one shard: the unit of writing, of the journal and of ownership."""


@dataclass(frozen=True)
class FeatureSpec:
    """One field that an extractor writes, without the leading row axis.

    Args:
        field: name of the array, for example ``clip_tokens``.
        shape: shape of one row, for example ``(256, 1024)``.
        dtype: numpy name of the stored type: ``float16``, ``float32`` or ``uint8``.
        channel_axis: the axis of ``shape``, negative, along which statistics are kept apart.
    """

    field: str
    shape: tuple[int, ...]
    dtype: str
    channel_axis: int = -1

    @property
    def row_bytes(self) -> int:
        """Bytes of one stored row, checksum not counted."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON."""
        return {**asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> FeatureSpec:
        """The spec that `to_json` wrote."""
        return cls(**{**record, "shape": tuple(record["shape"])})


@dataclass(frozen=True)
class Fingerprint:
    """Everything that decides an extractor's values, and nothing else.

    The number of images or views, the batch size and the device are left out on purpose.

    Args:
        extractor: the extractor's public name.
        version: integer that its author raises when the same settings give other values.
        weights: sha256 of the model weights, hexadecimal; empty where there are none.
        settings: plain JSON: the extractor's settings and those of the image preparation.
    """

    extractor: str
    version: int
    weights: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that stand for the whole."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def key(self) -> str:
        """Name of the folder that holds this extractor's arrays, ``<extractor>-<digest>``."""
        return f"{self.extractor}-{self.digest}"

    def to_json(self) -> dict[str, Any]:
        """The fingerprint as plain JSON."""
        return asdict(self)

"""What a stored value is: its field, and the fingerprint of everything that decided it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from clare.advice import Name
from clare.errors import InputError
from clare.names import is_plain

SHARD_ROWS = 64
"""Rows of one shard: the unit of writing, of the journal and of ownership."""

MOST_SHARDS = 1_000_000
"""Of a subset: their numbers have six digits in the names of files."""

_OF = "#"
"""Between a field and the beginning of a fingerprint's digest, in names that say both."""

_DTYPES = ("float16", "float32", "uint8")
_MOST_ROW_BYTES = 1 << 28
_MOST_AXES = 8
_HASH = re.compile(r"[0-9a-f]{16,}")


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

    def require_storable(self) -> None:
        """Refuse a field that no store holds, whoever declares it.

        Raises:
            ValueError: its name can't be a folder's, its type is not stored, or its shape is none.
        """
        name = f"the field {self.field!r}"
        if not is_plain(self.field):
            raise ValueError(f"{name} is not named by plain letters and digits")
        if self.dtype not in _DTYPES:
            raise ValueError(f"{name} is {self.dtype!r}, not one of {', '.join(_DTYPES)}")
        sizes = all(type(size) is int and 0 < size <= _MOST_ROW_BYTES for size in self.shape)
        if len(self.shape) > _MOST_AXES or not sizes or self.row_bytes > _MOST_ROW_BYTES:
            raise ValueError(f"{name} has rows of the shape {str(self.shape)[:80]}")
        if type(self.channel_axis) is not int or not (
            -max(len(self.shape), 1) <= self.channel_axis <= -1
        ):
            raise ValueError(f"{name} has no axis {str(self.channel_axis)[:40]}")

    @property
    def row_bytes(self) -> int:
        """Bytes of one stored row, checksum not counted."""
        import numpy as np

        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON."""
        return {**asdict(self), "shape": list(self.shape)}


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

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that stand for the whole."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @cached_property
    def key(self) -> str:
        """Name of the folder that holds this extractor's arrays, ``<extractor>-<digest>``."""
        return f"{self.extractor}-{self.digest}"

    def to_json(self) -> dict[str, Any]:
        """The fingerprint as plain JSON."""
        return asdict(self)


def field_of(field: str, digest: str) -> str:
    """A field's name that says which fingerprint it is of: ``clip_cls#1a2b3c4d``."""
    return f"{field}{_OF}{digest[:8]}"


def split_field(name: str) -> tuple[str, str]:
    """A field, and the beginning of its fingerprint's digest; empty where its name says none."""
    field, _, digest = name.partition(_OF)
    return field, digest


def differences(fingerprints: Sequence[Fingerprint]) -> dict[str, dict[str, Any]]:
    """What sets the fingerprints of one extractor apart.

    Returns:
        By digest, the value of each setting in which they are not all equal; nested settings are
        named ``outer.inner``, one that a fingerprint lacks is None.
    """
    flat = {
        fingerprint.digest: _flatten(
            {
                **fingerprint.settings,
                "version": fingerprint.version,
                "weights": fingerprint.weights,
            }
        )
        for fingerprint in fingerprints
    }
    names = sorted({name for values in flat.values() for name in values})
    differing = [n for n in names if len({repr(values.get(n)) for values in flat.values()}) > 1]
    return {
        digest: {name: values.get(name) for name in differing} for digest, values in flat.items()
    }


def describe_differences(fingerprints: Sequence[Fingerprint]) -> str:
    """`differences` as one line: ``digest (name=value, …); …``, hashes shortened."""
    found = differences(fingerprints)
    return "; ".join(
        f"{digest} ({', '.join(f'{name}={_shortened(value)}' for name, value in values.items())})"
        for digest, values in found.items()
    )


def require_same(recorded: Fingerprint, found: Fingerprint, called: str) -> None:
    """Refuse models that are not those which made features. Their precision may be another.

    Args:
        recorded: of the features.
        found: of the models that were loaded to make them again.
        called: what settings of the extractor begin with.

    Raises:
        InputError: the weights, a setting or the version differ.
    """
    if found.weights != recorded.weights:
        raise InputError(
            f"the weights found for {called} (sha256 {found.weights[:12]}…) are not "
            f"those that the features were made with ({recorded.weights[:12]}…)",
            Name("the right ones", f"{called}.model"),
        )
    settings = dict(found.settings)
    if "dtype" in recorded.settings:
        settings["dtype"] = recorded.settings["dtype"]
    if replace(found, settings=settings) != recorded:
        differing = sorted(
            key
            for key in {*settings, *recorded.settings}
            if settings.get(key) != recorded.settings.get(key)
        )
        what = ", ".join(differing) or f"version {recorded.version}, here {found.version}"
        raise InputError(
            f"{recorded.extractor} can't be rebuilt as the features were made ({what} differ): "
            "use the version of clare that made them"
        )


def _shortened(value: Any) -> Any:
    """A hash by its first digits, which tell it apart; any other value as it is."""
    return f"{value[:8]}…" if isinstance(value, str) and _HASH.fullmatch(value) else value


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat

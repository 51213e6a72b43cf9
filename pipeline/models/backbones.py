"""Models of CLaRE's own that stand in for the published ones: ``tiny`` and ``mini``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

from clare.errors import InputError

Backbone = Literal["real", "mini", "tiny"]
"""The published models, or CLaRE's own in their place."""

_REMARKS = {
    "tiny": "tiny backbone: small random models; these features mean nothing",
    "mini": "mini backbone: small models trained on drawn faces; "
    "these features say nothing about photographs",
}

Overrides = Mapping[str, Mapping[str, Any]]
"""Extractor name to the settings that replace its defaults."""


def remark_on(backbone: str) -> str | None:
    """What has to be known of features made with a backbone; None for the published models."""
    return _REMARKS.get(backbone)


@contextmanager
def backbone_overrides(backbone: str) -> Iterator[Overrides]:
    """How to make the extractors use a backbone, as long as the context lasts.

    Args:
        backbone: ``real``, which changes nothing, ``mini`` or ``tiny``.

    Raises:
        InputError: there is no such backbone.
    """
    if backbone == "tiny":
        from clare.pipeline.models.tiny import tiny_overrides

        with TemporaryDirectory(prefix="clare-tiny-") as folder:
            yield tiny_overrides(Path(folder))
    elif backbone == "mini":
        from clare.pipeline.models.mini import mini_overrides

        yield mini_overrides()
    elif backbone == "real":
        yield {}
    else:
        raise InputError(f"backbone {backbone!r} is not one of {', '.join(get_args(Backbone))}")

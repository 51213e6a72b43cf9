"""The extractors, one a file; a new file here is a new ``--features`` name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clare.models.runtime import Runtime
from clare.pipeline.extractor import Extractor
from clare.plugins import find_part, list_parts
from clare.settings import build_settings

if TYPE_CHECKING:
    from clare.pipeline.images.settings import ImageSettings


def list_extractors() -> list[str]:
    """Names of all extractors, sorted; imports none of them."""
    return list_parts(sys.modules[__name__])


def create_extractor(
    name: str, settings: Mapping[str, Any], images: ImageSettings, runtime: Runtime
) -> Extractor:
    """Load one extractor's file and its models.

    Args:
        name: one of `list_extractors`.
        settings: the settings that differ from the defaults.
        images: how images are prepared; part of the fingerprint.
        runtime: where and how the models run.

    Raises:
        InputError: the name, a setting or its value is not usable.
        WeightsError: model weights are not on disk and can't be fetched.
    """
    cls = find_extractor(name)
    return cls(build_settings(name, cls.Settings, settings), images, runtime)


def find_extractor(name: str) -> type[Extractor]:
    """The extractor class that stands in the file of this name.

    Raises:
        InputError: there is no such file.
    """
    return find_part(sys.modules[__name__], name, Extractor)  # type: ignore[type-abstract]

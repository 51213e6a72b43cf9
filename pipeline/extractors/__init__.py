"""The extractors, one a file; a new file here is a new name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clare.errors import InputError
from clare.models.runtime import Runtime
from clare.pipeline.extractor import Extractor
from clare.plugins import find_part, is_path, list_parts, part_name, resolve_part
from clare.settings import build_settings

if TYPE_CHECKING:
    from clare.pipeline.images.settings import ImageSettings

PART = "part"
"""Where an extractor's origin says which file it is, if it is not one of the package's."""


def list_extractors() -> list[str]:
    """Names of all extractors, sorted; imports none of them."""
    return list_parts(sys.modules[__name__])


def create_extractor(
    name: str, settings: Mapping[str, Any], images: ImageSettings, runtime: Runtime
) -> Extractor:
    """Load one extractor's file and its models.

    Args:
        name: one of `list_extractors`, or the path of a file.
        settings: the settings that differ from the defaults.
        images: how images are prepared; part of the fingerprint.
        runtime: where and how the models run.

    Raises:
        InputError: the name, a setting or its value is not usable.
        WeightsError: model weights are not on disk and can't be fetched.
    """
    cls = find_extractor(name)
    made = cls(build_settings(part_name(name), cls.Settings, settings), images, runtime)
    if is_path(name):
        made.origin = {**made.origin, PART: resolve_part(sys.modules[__name__], name)}
    return made


def find_extractor(name: str) -> type[Extractor]:
    """The class of an extractor, by its name or the path of its file.

    Raises:
        InputError: there is no such extractor, or a file is named like another one.
    """
    if is_path(name) and part_name(name) in list_extractors():
        raise InputError(
            f"{name} can't be stored as {part_name(name)}, which is another extractor's name",
            "name the file otherwise",
        )
    return find_part(sys.modules[__name__], name, Extractor)  # type: ignore[type-abstract]

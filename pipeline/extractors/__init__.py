"""The extractors, one a file; a new file here is a new ``--features`` name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clare.errors import InputError
from clare.pipeline.extractor import Extractor, Runtime
from clare.settings import build_settings

if TYPE_CHECKING:
    from clare.pipeline.images import ImageSettings


def list_extractors() -> list[str]:
    """Names of all extractors, sorted; imports none of them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


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
    if name not in list_extractors():
        raise InputError(f"no extractor {name!r}: there are {', '.join(list_extractors())}")
    module = importlib.import_module(f"{__name__}.{name}")
    (cls,) = (
        member
        for member in vars(module).values()
        if isinstance(member, type)
        and issubclass(member, Extractor)
        and member.__module__ == module.__name__
    )
    return cls

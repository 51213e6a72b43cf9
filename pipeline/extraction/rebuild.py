"""An extractor again, from what a store or a run recorded of it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from clare.advice import Name
from clare.errors import InputError
from clare.models.hub import real_models
from clare.models.runtime import Runtime
from clare.pipeline.extractor import Extractor
from clare.pipeline.extractors import PART, create_extractor, find_extractor
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.models.backbones import backbone_overrides
from clare.store.spec import Fingerprint


def recorded_images(fingerprint: Fingerprint) -> ImageSettings:
    """How the images of a feature were prepared."""
    known = inspect.signature(ImageSettings).parameters
    found = fingerprint.settings["images"]
    return ImageSettings(**{name: value for name, value in found.items() if name in known})


def rebuild_extractor(
    recorded: Fingerprint,
    origin: Mapping[str, str],
    overrides: Mapping[str, Any],
    runtime: Runtime,
    called: str = "",
) -> Extractor:
    """Load the models that made a feature, with the settings that were recorded.

    Args:
        recorded: the feature's fingerprint.
        origin: where its weights came from.
        overrides: settings that say where the weights are now, for example ``model``.
        runtime: where and how the models run. The precision may be another than the recorded one:
            values then differ by about a percent.
        called: what settings of it begin with, where that is not the extractor's name.

    Raises:
        InputError: the extractor, its version, a setting or the weights are not those recorded.
        WeightsError: the weights are not on disk and can't be fetched.
    """
    name = origin.get(PART, recorded.extractor)
    own = {field.name for field in fields(find_extractor(name).Settings)}
    settings = {key: value for key, value in recorded.settings.items() if key in own}
    images = recorded_images(recorded)
    if backbone := recorded.settings.get("backbone"):
        with backbone_overrides(backbone) as overridden:
            places = overridden.get(recorded.extractor, {})
            extractor = create_extractor(name, {**settings, **places, **overrides}, images, runtime)
    else:
        places = {key: value for key, value in origin.items() if key in own}
        with real_models():
            extractor = create_extractor(name, {**settings, **places, **overrides}, images, runtime)
    _compare(recorded, extractor.fingerprint, called or recorded.extractor)
    return extractor


def _compare(recorded: Fingerprint, found: Fingerprint, called: str) -> None:
    if found.weights != recorded.weights:
        raise InputError(
            f"the weights found for {called} (sha256 {found.weights[:12]}…) are not "
            f"those that the features were made with ({recorded.weights[:12]}…)",
            Name("the right ones", f"{called}.model"),
        )
    settings = dict(found.settings)
    if "dtype" in recorded.settings:
        settings["dtype"] = recorded.settings["dtype"]
    same_precision = replace(found, settings=settings)
    if same_precision != recorded:
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

"""An extractor again, from what a store or a run recorded of it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from clare.models.backbones import recorded_places
from clare.models.runtime import Runtime
from clare.pipeline.extractor import Extractor
from clare.pipeline.extractors import PART, create_extractor, find_extractor
from clare.pipeline.images.settings import ImageSettings
from clare.store.spec import Fingerprint, require_same


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
    backbone = recorded.settings.get("backbone")
    with recorded_places(recorded.extractor, backbone, origin, own) as places:
        extractor = create_extractor(name, {**settings, **places, **overrides}, images, runtime)
    require_same(recorded, extractor.fingerprint, called or recorded.extractor)
    return extractor

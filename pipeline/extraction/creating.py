"""The extractors that an extraction asks for, from their names, presets and settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from clare.advice import LeaveOut, Name
from clare.errors import InputError, WeightsError
from clare.models.backbones import Overrides, backbone_overrides, recorded_places
from clare.models.runtime import Runtime
from clare.pipeline.extraction.presets import merge_settings, read_preset
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.extraction.towers import (
    Wanted,
    list_wanted,
    models_of,
    refuse_twins,
)
from clare.pipeline.extractor import Extractor
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.settings import ImageSettings
from clare.plugins import part_name
from clare.store.spec import Fingerprint
from clare.wording import listed

PIXELS = "pixels"
"""The extractor whose images are of the size that a tower beside it, or in its store, takes."""


def create_extractors(
    settings: ExtractSettings,
    runtime: Runtime,
    *,
    with_masks: bool = False,
    stored: Iterable[Fingerprint] = (),
) -> list[Extractor]:
    """Load the extractors that were asked for.

    Args:
        settings: name them and their settings.
        runtime: where and how the models run.
        with_masks: whether masks are stored too, of the size of ``pixels``.
        stored: what the store has: ``pixels`` alone are of the size that its tower takes.

    Raises:
        InputError: the settings are not usable, or no size of ``pixels`` suits every tower of the
            store.
    """
    names = list(dict.fromkeys(settings.features))
    given = merge_settings(settings.settings)
    if with_masks and "mask" not in names:
        names.append("mask")
        if "size" in given.get("pixels", {}):
            given = merge_settings({"mask": {"size": given["pixels"]["size"]}}, given)
    files = {part_name(name): name for name in names}
    wanted = list_wanted(names, given)
    parts = {part_name(one.name) for one in wanted}
    if twice := [name for name in names if files[part_name(name)] != name]:
        raise InputError(
            f"{listed(twice)} and {files[part_name(twice[0])]} are extractors of one name: "
            "rename one of the files"
        )
    if unused := sorted(set(given) - parts):
        raise InputError(
            f"settings were given for {listed(unused)}, which is not extracted",
            Name("it too", "features", ",".join([*names, *unused])),
        )
    preset = read_preset(settings.preset)
    with (
        backbone_overrides(settings.backbone, *parts) as overrides,
        _tuned(settings, names) as tuned,
    ):
        merged = merge_settings(preset, overrides, tuned, given)
        made: dict[str, Extractor] = {}
        # Pixels last: they are what a tower looks at, unless a size is given.
        for one in sorted(wanted, key=lambda one: one.name == PIXELS):
            own = one.settings(merged)
            if one.name == PIXELS and "size" not in own:
                size = _side_of(made.values()) or _side_in(stored)
                own = {**own, "size": size} if size is not None else own
            made[one.label] = _create(one, own, settings.images, runtime)
        refuse_twins({label: one.fingerprint.key for label, one in made.items()})
        return [made[one.label] for one in wanted]


def _create(
    wanted: Wanted, own: Mapping[str, Any], images: ImageSettings, runtime: Runtime
) -> Extractor:
    """One extractor; what is wrong with one of several models is said with its name."""
    try:
        made = create_extractor(wanted.name, own, images, runtime)
    except (InputError, WeightsError) as error:
        if not wanted.model:
            raise
        raise type(error)(f"{wanted.model}: {error.what}", *error.advice) from error
    made.label = wanted.label
    return made


@contextmanager
def _tuned(settings: ExtractSettings, names: Sequence[str]) -> Iterator[Overrides]:
    """Settings of the extractor whose tower a run tuned, as it was when the run began.

    Raises:
        InputError: the run tuned no tower, or that of an extractor that is not asked for.
    """
    if settings.tuned is None:
        yield {}
        return
    from clare.models.towers import TOWERS
    from clare.models.tuned import read_tuned

    record = read_tuned(settings.tuned).record
    name, recorded = record.tower.extractor, record.tower.settings
    if name not in TOWERS:
        raise InputError(f"{settings.tuned} says that it tuned a tower of {name}, which has none")
    if name not in names:
        raise InputError(
            f"{settings.tuned} tuned the tower of {name}, which is not extracted",
            Name("it too", "features", ",".join([*names, name])),
        )
    if len(models_of(name, settings.settings.get(name, {}))) > 1:
        raise InputError(
            f"{settings.tuned} tuned one tower of {name}, and several are named",
            LeaveOut(f"{name}.model"),
        )
    known = {field.name for field in fields(TOWERS[name])}
    own = {key: value for key, value in recorded.items() if key in known}
    with recorded_places(name, recorded.get("backbone"), record.origin, known) as places:
        yield {name: {**own, **places, "tuned": str(settings.tuned)}}


def _side_of(extractors: Iterable[Extractor]) -> int | None:
    """Side of the images that the first model takes whose values are of pixels alone, if any is."""
    models = (extractor.pixel_model() for extractor in extractors)
    return next((model.size for model in models if model is not None), None)


def _side_in(stored: Iterable[Fingerprint]) -> int | None:
    """Side of the images that the towers of a store take; None where it has no tower."""
    from clare.models.towers import TOWERS

    sides: dict[int, str] = {}
    for fingerprint in stored:
        if (
            fingerprint.extractor in TOWERS
            and type(side := fingerprint.settings.get("size")) is int
        ):
            sides.setdefault(side, f"{fingerprint.key} takes {side}")
    if len(sides) > 1:
        raise InputError(
            f"the towers of the store take images of several sizes, and {PIXELS} have one: "
            + listed(sides.values()),
            Name("the size", f"{PIXELS}.size", str(min(sides))),
        )
    return next(iter(sides), None)

"""How an extraction is asked for in Python: arguments, to settings and a source of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

from clare.pipeline.extraction.settings import ExtractSettings, build_extraction
from clare.pipeline.extraction.source import Source
from clare.pipeline.manifests.folder_rules import FolderRules
from clare.plugins import trust_named
from clare.store.bucket.files import file_place

Place = str | PathLike[str]


def read_call(
    store: Place,
    *,
    real: Place | Sequence[Place] = (),
    fake: Place | Sequence[Place] | Mapping[str, Place] = (),
    masks: Place | Mapping[str, Place] | None = None,
    subset: str | Sequence[str] = (),
    manifest: Place | Sequence[Place] = (),
    manifests: Place = "data_manifests",
    root: Place | Mapping[str, Place] | None = None,
    follow_links: Place | None = None,
    test_only: str | Sequence[str] = (),
    **given: Any,
) -> tuple[ExtractSettings, Source]:
    """How an extraction goes and of which images it is, from the arguments of `extract`.

    Raises:
        InputError: a setting is not usable.
    """
    rules = {f.name: given.pop(f.name) for f in fields(FolderRules) if f.name in given}
    plain = {name: given.pop(name) for name in ("protocol", "mask_fake", "reals") if name in given}
    how = build_extraction({**given, "store": Path(store)})
    trust_named([*how.features, how.images.view_recipe])
    source = Source(
        subset=(subset if isinstance(subset, str) else ",".join(subset)) or None,
        manifest=[Path(place) for _, place in _named(manifest)],
        manifests=Path(manifests),
        root=[] if root is None else _assigned(root),
        real=[Path(place) for _, place in _named(real)],
        fake=_assigned(fake),
        masks=[] if masks is None else _assigned(masks),
        follow_links=None if follow_links is None else Path(follow_links),
        rules=rules,
        test_only=[test_only] if isinstance(test_only, str) else test_only,
        **plain,
    )
    return how, source


def _named(places: Place | Sequence[Place] | Mapping[str, Place]) -> list[tuple[str, Place]]:
    """Places with their names, "" where they have none."""
    if isinstance(places, Mapping):
        return list(places.items())
    if isinstance(places, str | PathLike):
        return [("", places)]
    return [("", place) for place in places]


def _assigned(places: Place | Sequence[Place] | Mapping[str, Place]) -> list[str]:
    """``NAME=DIR``; a full path, or URL, where there is no name, which none can be read into."""
    return [
        f"{name}={place}" if name else str(file_place(Path(place)).absolute())
        for name, place in _named(places)
    ]

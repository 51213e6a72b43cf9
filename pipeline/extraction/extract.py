"""Stage one as one call: images that are named somehow, into a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

from clare.columns import MaskFake
from clare.pipeline.extraction.job import run_job
from clare.pipeline.extraction.loop import ExtractReport
from clare.pipeline.extraction.plan import Observer
from clare.pipeline.extraction.settings import ExtractSettings, build_extraction
from clare.pipeline.extraction.source import Source
from clare.pipeline.manifests.folder_rules import FolderRules
from clare.plugins import trust_named
from clare.store.bucket.files import file_place

Place = str | PathLike[str]


def extract(
    store: Place = "features.zarr",
    *,
    real: Place | Sequence[Place] = (),
    fake: Place | Sequence[Place] | Mapping[str, Place] = (),
    masks: Place | Mapping[str, Place] | None = None,
    mask_fake: MaskFake | None = None,
    subset: str | Sequence[str] = (),
    protocol: str | None = None,
    manifest: Place | Sequence[Place] = (),
    manifests: Place = "data_manifests",
    root: Place | Mapping[str, Place] | None = None,
    reals: str | Sequence[str] | None = None,
    follow_links: Place | None = None,
    test_only: str | Sequence[str] = (),
    observer: Observer | None = None,
    **settings: Any,
) -> ExtractReport:
    """Extract features of images into a store, each image once; what is there is left alone.

    The images are those of plain folders, of subsets that have a manifest, or of a protocol::

        clare.extract("features.zarr", real="photos", fake={"sg3": "stylegan3"}, backbone="tiny")

    Args:
        store: the feature store, a folder. It is made if it is not there.
        real: folders of real images.
        fake: folders of generated images; a mapping names the subset of each.
        masks: folder of the fakes' masks, each of the path and name of its image, or NAME_mask; a
            mapping names the subset of each.
        mask_fake: what is fake in masks from a folder; white if None.
        subset: names of subsets whose manifests stand in ``manifests``; beside plain folders, the
            one name of all of them.
        protocol: ``NAME`` or ``NAME/KEY``: all that it trains and tests on.
        manifest: manifest files.
        manifests: folder that holds ``NAME.csv`` for a subset NAME.
        root: folder that the paths of manifests start at, or those by name; each may be the URL of
            one in a bucket.
        reals: subsets of reals to extract beside subsets of fakes alone, comma-separated or a
            list, ``"none"`` for no such; by default the registry's pools for their domains.
        follow_links: folder that links may lead into, out of their root.
        test_only: subsets of plain folders that are for tests alone, with all their images.
        observer: is told how it goes.
        settings: fields of `ExtractSettings`, `ImageSettings` and, for plain folders,
            `FolderRules`: ``features``, ``preset``, ``backbone``, ``resize``, ``recode``,
            ``views``, ``video``, ``device`` and more; ``settings`` are those of extractors, as
            ``settings={"lare": {"draws": 8}}``.

    Returns:
        What was done, and which images failed and why.

    Raises:
        InputError: the images or a setting are not usable.
        WeightsError: model weights are not on disk and can't be fetched.
        DiskSpaceError: the store's disk is too small; said before any model runs.
    """
    how, source = read_call(
        store,
        real=real,
        fake=fake,
        masks=masks,
        mask_fake=mask_fake,
        subset=subset,
        protocol=protocol,
        manifest=manifest,
        manifests=manifests,
        root=root,
        reals=reals,
        follow_links=follow_links,
        test_only=test_only,
        **settings,
    )
    watched = observer or Observer()
    return run_job(how, source.select(watched), watched)


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

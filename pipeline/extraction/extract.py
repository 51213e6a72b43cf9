"""Stage one as one call: images that are named somehow, into a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

from clare.advice import LeaveOut
from clare.columns import MaskFake
from clare.errors import InputError
from clare.pipeline.datasets.select import select_manifests, select_protocol
from clare.pipeline.extraction.job import Observer, run_job
from clare.pipeline.extraction.loop import ExtractReport
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.folder_rules import FolderRules
from clare.pipeline.manifests.mask_folders import mask_folders
from clare.plugins import trust_named
from clare.settings import build_settings

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
        root: folder that the paths of manifests start at, or those by name.
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
    images = {f.name: settings.pop(f.name) for f in fields(ImageSettings) if f.name in settings}
    rules = {f.name: settings.pop(f.name) for f in fields(FolderRules) if f.name in settings}
    how: ExtractSettings = build_settings(
        "extraction", ExtractSettings, {**settings, "store": Path(store), "images": images}
    )
    trust_named(how.features)
    watched = observer or Observer()
    roots = _assigned(root) if root is not None else []
    folder = Path(manifests)
    links = None if follow_links is None else Path(follow_links)
    if protocol is not None:
        given = {"subset": subset, "manifest": manifest, "real": real, "fake": fake, "reals": reals}
        given |= {"masks": masks, "mask_fake": mask_fake}
        if named := [name for name, value in given.items() if value]:
            raise InputError("a protocol names its subsets", LeaveOut(*named))
        selection, absent = select_protocol(
            protocol, folder, roots, follow_links=links, progress=watched.indexing
        )
        watched.absent(protocol, absent)
    else:
        selection = select_manifests(
            (subset if isinstance(subset, str) else ",".join(subset)) or None,
            [Path(place) for _, place in _named(manifest)],
            folder,
            roots,
            [Path(place) for _, place in _named(real)],
            _assigned(fake),
            masks=mask_folders([] if masks is None else _assigned(masks), mask_fake),
            follow_links=links,
            rules=rules,
            test_only=[test_only] if isinstance(test_only, str) else test_only,
            pools=reals,
            notice=watched.noticed,
            progress=watched.indexing,
        )
    return run_job(how, selection, watched)


def _named(places: Place | Sequence[Place] | Mapping[str, Place]) -> list[tuple[str, Place]]:
    """Places with their names, "" where they have none."""
    if isinstance(places, Mapping):
        return list(places.items())
    if isinstance(places, str | PathLike):
        return [("", places)]
    return [("", place) for place in places]


def _assigned(places: Place | Sequence[Place] | Mapping[str, Place]) -> list[str]:
    """``NAME=DIR``; an absolute path where there is no name, which none can be read into."""
    return [
        f"{name}={place}" if name else str(Path(place).absolute()) for name, place in _named(places)
    ]

"""Faces of the subsets that a call names, into their manifests."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from clare.advice import Name
from clare.errors import InputError
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.datasets.select import find_subset, no_manifest
from clare.pipeline.faces.look import FaceReport, look_for_faces
from clare.pipeline.faces.settings import FaceSettings
from clare.pipeline.manifests.csv_io import manifest_name
from clare.pipeline.manifests.roots import Roots
from clare.progress import StepProgress
from clare.settings import build_settings

Place = str | PathLike[str]


def faces(
    subset: str | Sequence[str] = (),
    *,
    manifest: Place | Sequence[Place] = (),
    manifests: Place = "data_manifests",
    root: Place | Mapping[str, Place] | None = None,
    follow_links: Place | None = None,
    all_faces: bool = False,
    replace_boxes: bool = False,
    finished: Callable[[FaceReport], None] = lambda report: None,
    progress: StepProgress | None = None,
    **settings: Any,
) -> list[FaceReport]:
    """Look for the face in every image of some manifests, and write into them where it is.

    Run again, it looks at new and changed files alone.

    Args:
        subset: names of subsets whose manifests stand in ``manifests``, comma-separated or a list.
        manifest: manifest files.
        manifests: folder that holds ``NAME.csv`` for a subset NAME.
        root: folder that the paths of manifests start at, or those by name.
        follow_links: folder that links may lead into, out of their root.
        all_faces: give each further face that the detector is sure of a row of its own, with the
            label of its image.
        replace_boxes: write over boxes that a manifest has from elsewhere.
        finished: told of each manifest as it is done.
        progress: called with (subset, files done, files in all).
        settings: fields of `FaceSettings`: ``detector``, ``upright``, ``pick`` and others.

    Returns:
        What was found, by manifest.

    Raises:
        InputError: nothing is named, a name has no manifest, or a setting is not usable.
        WeightsError: the detector's weights are not the right ones, or are computed wrongly.
    """
    how: FaceSettings = build_settings("faces", FaceSettings, settings)
    names = subset.split(",") if isinstance(subset, str) else subset
    files = [manifest] if isinstance(manifest, str | PathLike) else manifest
    folder = Path(manifests)
    paths = [*(_find(name.strip(), folder) for name in names if name), *map(Path, files)]
    if not paths:
        raise InputError(
            "no images are named", Name("a subset", "subset"), Name("a manifest", "manifest")
        )
    named = {"": root} if isinstance(root, str | PathLike) else root or {}
    options = [f"{name}={place}" if name else str(place) for name, place in named.items()]
    links = None if follow_links is None else Path(follow_links)
    roots = Roots.from_options(options, os.environ, links)
    reports = []
    for path in paths:
        title = manifest_name(path)
        report = look_for_faces(
            path,
            roots,
            how,
            all_faces=all_faces,
            replace_boxes=replace_boxes,
            progress=progress and _titled(progress, title),
        )
        finished(report)
        reports.append(report)
    return reports


def _titled(progress: StepProgress, title: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(title, done, total)


def _find(name: str, folder: Path) -> Path:
    path = find_subset(load_registry(folder), folder, name)
    if path is None:
        raise no_manifest(folder, name)
    return path

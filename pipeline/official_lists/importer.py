"""A manifest from an official list of DeepfakeBench or DF40, as far as its files are on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clare.advice import Name, Notice, Set
from clare.columns import SPLITS
from clare.errors import InputError
from clare.labels import Labels
from clare.pipeline.datasets.index import with_unique_ids
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.manifests.headers import read_headers
from clare.pipeline.manifests.masks import look_at_masks
from clare.pipeline.manifests.prefixes import plain_parts, shared_folders
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.manifests.validation import check_name, validate
from clare.pipeline.official_lists.json_list import (
    ListedVideo,
    OfficialList,
    read_list,
    shared_videos,
)
from clare.pipeline.official_lists.paths import Finder
from clare.pipeline.official_lists.rows import Files, Methods, rows_of, split_anew
from clare.progress import Progress
from clare.wording import counted, name_rows

SIDES = ("real", "fake")
LOW = 0.9
"""Share of a label's listed files that should be found; below it a remark is made."""


@dataclass(frozen=True)
class Resolution:
    """How much of one label of a list is on disk.

    Args:
        label: 0 real, 1 fake.
        videos: listed videos.
        files: listed files, each once.
        found: those that are there.
        kept: whether they are rows of the manifest; the reals of a shared pool are not.
    """

    label: int
    videos: int
    files: int
    found: int
    kept: bool


@dataclass(frozen=True)
class ImportedList:
    """A manifest made of a list.

    Args:
        manifest: validated; files that are not there are rows with status ``missing``.
        resolutions: of each label that the list has.
        notices: one for each thing that deserves a look.
    """

    manifest: Manifest
    resolutions: tuple[Resolution, ...]
    notices: tuple[Notice, ...]

    def counts(self) -> list[tuple[str, int, int]]:
        """Rows of each split as (split, real, fake); rows without one under ``none``."""
        rows = Counter((sample.split, sample.label) for sample in self.manifest.samples)
        splits = [*SPLITS, ""] if any(not split for split, _ in rows) else [*SPLITS]
        return [(split or "none", rows[split, 0], rows[split, 1]) for split in splits]


def import_list(
    path: Path,
    roots: Roots,
    *,
    subset: str | None = None,
    compression: str | None = None,
    resplit: bool = False,
    with_reals: bool = False,
    folder: Path | None = None,
    labels: Labels = Labels(),  # noqa: B008 - it is frozen
    progress: Progress | None = None,
) -> ImportedList:
    """Read a list, find its files, and make a manifest of them.

    Reals that the registry keeps in a shared pool are looked for, but left to that pool.

    Args:
        path: the JSON file.
        roots: folders to look in; all of them are tried for every file.
        subset: name of the manifest; by default the registry's for the list, else the list's.
        compression: level to take, where a list has several; c23 by default.
        resplit: assign new splits: by the registry's rule for the domain, or 70/15/15 with
            identities and videos kept whole.
        with_reals: keep the reals of a shared pool in this manifest.
        folder: of the user's manifests, where a registry of their own may lie.
        labels: words for real and fake.
        progress: called with (headers read, files in all).

    Raises:
        InputError: it is no such list or a forbidden one; its splits share videos and ``resplit``
            was not asked for; or a label has no file on disk.
        ManifestError: a rule of `validate` is broken.
    """
    registry = load_registry(folder)
    listed = read_list(path, registry, compression, labels)
    if not resplit:
        _refuse_shared(path, listed)
    folders = roots.folders()
    if not folders:
        raise InputError("no folder is known", Name("those to look in", "root", "DIR or NAME=DIR"))
    methods = Methods(registry, path.stem)
    name = subset or methods.name(listed)
    check_name(name)

    finder = Finder(folders, registry)
    files = _find(listed.videos, finder)
    kept = [v for v in listed.videos if with_reals or not methods.pooled(v, listed)]
    resolutions = tuple(_resolutions(listed.videos, kept, files))
    _refuse_unfound(path, resolutions, folders)
    samples = rows_of(name, listed, kept, methods, files, finder, next(iter(folders)))
    samples = list(read_headers(samples, roots.resolve, progress=progress))
    notices = _notices(path, listed, resolutions, samples, kept)
    notices += [remark.notice for remark in look_at_masks(samples, roots.resolve)]
    if resplit:
        samples = split_anew(samples, methods, files.values())
        without = sum(not sample.split for sample in samples)
        if without:
            what = "rows show people of several splits, or unknown ones, and have no split"
            notices.append(Notice(f"{without} {what}"))
    samples = with_unique_ids(samples, list(folders))
    manifest = Manifest(name, tuple(samples))
    validate(manifest)
    return ImportedList(manifest, resolutions, tuple(notices))


def _refuse_shared(path: Path, listed: OfficialList) -> None:
    faults = []
    for first, second, common in shared_videos(listed.videos):
        of_first = [video for video in listed.videos if first in video.frames]
        real, fake = (sum(video.label == label for video in common) for label in (0, 1))
        whole = "is its" if len(common) == len(of_first) else "shares videos with its"
        faults.append(
            f"its {first} {whole} {second}, {len(common)} of {len(of_first)} videos "
            f"({real} real, {fake} fake)"
        )
    if faults:
        raise InputError(
            f"{path.name} leaks: {'; '.join(faults)}; nothing chosen on it could be tested on it",
            Set("resplit", True, effect="assigns new splits"),
        )


def _find(videos: Iterable[ListedVideo], finder: Finder) -> Files:
    """Every listed file that is on disk; a folder is looked for once, with all its files."""
    folders: dict[tuple[int, tuple[str, ...]], dict[str, list[str]]] = {}
    for video in videos:
        for listed in (*video.all_frames(), *video.masks.values()):
            *folder, name = plain_parts(listed) or [""]
            names = folders.setdefault((video.label, tuple(folder)), {})
            names.setdefault(name, []).append(listed)
    files: Files = {}
    droppable = shared_folders(folders)
    for (label, parts), names in folders.items():
        root, found = finder.find(parts, names, label, droppable)
        for name, place in found.items():
            files |= dict.fromkeys(names[name], (root, place))
    return files


def _resolutions(
    videos: Sequence[ListedVideo], kept: Sequence[ListedVideo], files: Mapping[str, object]
) -> Iterator[Resolution]:
    for label in (0, 1):
        mine = [video for video in videos if video.label == label]
        frames = {frame for video in mine for frame in video.all_frames()}
        if mine:
            found = sum(frame in files for frame in frames)
            yield Resolution(
                label, len(mine), len(frames), found, any(v.label == label for v in kept)
            )


def _refuse_unfound(
    path: Path, resolutions: Sequence[Resolution], folders: Mapping[str, Path]
) -> None:
    for one in resolutions:
        if one.kept and not one.found:
            others = ", ".join(
                f"{other.found} of {other.files} {SIDES[other.label]} files are there"
                for other in resolutions
                if other is not one
            )
            raise InputError(
                f"{path.name}: none of its {one.files} {SIDES[one.label]} files is below "
                f"{', '.join(map(str, folders.values()))}{f' ({others})' if others else ''}",
                Name("the folder that holds them", "root", "NAME=DIR"),
            )
    if not any(one.kept for one in resolutions):
        raise InputError(
            f"{path.name} lists only reals of a shared pool",
            Set("with_reals", True, effect="takes them"),
        )


def _notices(
    path: Path,
    listed: OfficialList,
    resolutions: Sequence[Resolution],
    samples: Sequence[Sample],
    kept: Sequence[ListedVideo],
) -> list[Notice]:
    lines: list[str] = []
    notices: list[Notice] = []
    if listed.name != path.stem:
        lines.append(f"the list is named {listed.name} inside, and {path.stem} outside")
    if listed.other_compressions:
        others = ", ".join(listed.other_compressions)
        lines.append(f"only {listed.compression} is taken; the list also has {others}")
    if listed.nameless:
        places = name_rows(listed.nameless)
        lines.append(
            f"left out, as the name of a video is missing between split and files: {places}"
        )
    for one in resolutions:
        if not one.kept:
            notices.append(
                Notice(
                    "its reals belong to a pool that several subsets share and that is extracted "
                    "once",
                    "build that too",
                    Set("with_reals", True, effect="takes them in here"),
                )
            )
        elif one.found < LOW * one.files:
            lines.append(
                f"only {one.found} of {one.files} {SIDES[one.label]} files are there; the others "
                "stay in the manifest as missing, and will fail"
            )
    bad: dict[str, list[str]] = {}
    for sample in samples:
        if sample.status != "ok":
            bad.setdefault(sample.status, []).append(sample.extra["source_path"])
    lines += [f"{len(rows)} {status}: {name_rows(rows)}" for status, rows in sorted(bad.items())]
    empty = [video.name for video in listed.videos if not video.all_frames()]
    if empty:
        lines.append(f"{len(empty)} videos without a frame: {name_rows(empty)}")
    masked = {frame for video in kept for frame in video.masks}
    lost = sum(not s.mask_path for s in samples if s.extra["source_path"] in masked)
    if lost:
        lines.append(f"{counted(lost, 'mask')} of the list not on disk")
    unmasked = dict.fromkeys(frame for video in kept for frame in video.unmasked)
    if unmasked:
        of = counted(len(unmasked | dict.fromkeys(masked)), "frame")
        lines.append(
            f"{len(unmasked)} of {of} without a mask of its name: {name_rows([*unmasked])}"
        )
    unframed = dict.fromkeys(mask for video in kept for mask in video.unframed)
    if unframed:
        masks = counted(len(unframed), "mask")
        lines.append(f"{masks} without a frame of its name: {name_rows([*unframed])}")
    return [*notices, *map(Notice, lines)]

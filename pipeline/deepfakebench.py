"""A manifest from an official list of DeepfakeBench or DF40, as far as its files are on disk."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clare.errors import InputError
from clare.pipeline.headers import read_headers
from clare.pipeline.identity_splits import IdentitySplit
from clare.pipeline.listed_videos import ListedVideo, OfficialList, read_list, shared_videos
from clare.pipeline.manifest import Manifest, Sample, validate
from clare.pipeline.registry import load_registry
from clare.pipeline.rewriting import Finder, plain_parts
from clare.pipeline.roots import Roots
from clare.pipeline.rules import SPLITS, check_name, name_rows
from clare.pipeline.splits import assign_splits
from clare.pipeline.subsets import Domain, Registry, Subset

SIDES = ("real", "fake")
LOW = 0.9
"""Share of a label's listed files that should be found; below it a remark is made."""

Files = dict[str, tuple[str, str]]
"""Root and path below it, by listed path."""


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
        remarks: one line for each thing that deserves a look.
    """

    manifest: Manifest
    resolutions: tuple[Resolution, ...]
    remarks: tuple[str, ...]

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
    progress: Callable[[int, int], None] | None = None,
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
        progress: called with (headers read, files in all).

    Raises:
        InputError: it is no such list or a forbidden one; its splits share videos and ``resplit``
            was not asked for; or a label has no file on disk.
        ManifestError: a rule of `validate` is broken.
    """
    registry = load_registry(folder)
    listed = read_list(path, registry, compression)
    if not resplit:
        _refuse_shared(path, listed)
    folders = roots.folders()
    if not folders:
        raise InputError("name the folders to look in with --root DIR or --root NAME=DIR")
    methods = _Methods(registry, path.stem)
    name = subset or methods.name(listed)
    check_name(name)

    finder = Finder(folders, registry)
    files = _find(listed.videos, finder)
    kept = [v for v in listed.videos if with_reals or not methods.pooled(v, listed)]
    resolutions = tuple(_resolutions(listed.videos, kept, files))
    _refuse_unfound(path, resolutions, folders)
    rows = _Rows(name, listed, methods, files, finder, next(iter(folders)))
    samples = rows.samples(kept)
    samples = list(read_headers(samples, roots.resolve, progress=progress))
    remarks = _remarks(path, listed, resolutions, samples, rows.lost_masks)
    if resplit:
        samples = _split_anew(samples, methods)
        without = sum(not sample.split for sample in samples)
        if without:
            remarks.append(
                f"{without} rows show people of several splits, or unknown ones, and have no split"
            )
    manifest = Manifest(name, tuple(samples))
    validate(manifest)
    return ImportedList(manifest, resolutions, tuple(remarks))


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
            f"{path.name} leaks: {'; '.join(faults)}; nothing chosen on it could be tested on it, "
            "import it with --resplit for new splits"
        )


class _Methods:
    """What the registry knows of a list and of its labels."""

    def __init__(self, registry: Registry, stem: str) -> None:
        self.registry = registry
        self._stem = stem
        lower = stem.casefold()
        self._of_list = [
            s for s in registry.subsets.values() if lower in (one.casefold() for one in s.lists)
        ]

    def name(self, listed: OfficialList) -> str:
        """The manifest's name: the registered subset of all fakes, or else the list's own name."""
        fakes = [video.kind for video in listed.videos if video.label == 1]
        kinds = dict.fromkeys(fakes or [video.kind for video in listed.videos])
        found = {subset.id for kind in kinds if (subset := self.subset(kind)) is not None}
        if len(found) == 1:
            return found.pop()
        return re.sub(r"[^a-z0-9._-]+", "_", listed.name.lower()).strip("._-")

    def subset(self, kind: str) -> Subset | None:
        """The registered subset of a label; None where there is none or several."""
        begins = {kind.casefold(), re.sub(r"[_-](real|fake)$", "", kind.casefold())}
        found = [
            subset
            for subset in self.registry.subsets.values()
            if begins & {one.casefold() for one in subset.labels}
        ]
        in_list = [subset for subset in found if subset in self._of_list]
        found = in_list or found
        return found[0] if len(found) == 1 else None

    def pooled(self, video: ListedVideo, listed: OfficialList) -> bool:
        """Whether a real video stands beside fakes, and belongs to a pool that subsets share."""
        subset = self.subset(video.kind)
        if video.label == 1 or subset is None or all(v.label == 0 for v in listed.videos):
            return False
        return bool(subset.reals) or subset.category == "real"

    def domain(self, video: ListedVideo) -> Domain | None:
        """The data that a video was made from, as far as list, label and path say."""
        domains = self.registry.domains
        subset = self.subset(video.kind)
        if subset is not None and len(subset.domains) == 1:
            return domains[subset.domains[0]]
        ending = self._stem.casefold().rpartition("_")[2]
        if ending in domains:
            return domains[ending]
        for frame in video.all_frames()[:1]:
            for part in plain_parts(frame)[:-1]:
                lower = "cdf" if part.casefold() == "cdfv2" else part.casefold()
                if lower in domains:
                    return domains[lower]
        return None


def _find(videos: Iterable[ListedVideo], finder: Finder) -> Files:
    """Every listed file that is on disk; a folder is looked for once, with all its files."""
    folders: dict[tuple[int, tuple[str, ...]], dict[str, list[str]]] = {}
    for video in videos:
        for listed in (*video.all_frames(), *video.masks.values()):
            *folder, name = plain_parts(listed) or [""]
            names = folders.setdefault((video.label, tuple(folder)), {})
            names.setdefault(name, []).append(listed)
    files: Files = {}
    for (label, parts), names in folders.items():
        root, found = finder.find(parts, names, label)
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
                f"{', '.join(map(str, folders.values()))}{f' ({others})' if others else ''}: "
                "name the folder that holds them with --root NAME=DIR"
            )
    if not any(one.kept for one in resolutions):
        raise InputError(
            f"{path.name} lists only reals of a shared pool: take them with --with-reals"
        )


class _Rows:
    """Makes the samples of a list's videos."""

    def __init__(
        self,
        name: str,
        listed: OfficialList,
        methods: _Methods,
        files: Files,
        finder: Finder,
        root: str,
    ) -> None:
        self._name = name
        self._compression = listed.compression
        self._methods = methods
        self._files = files
        self._finder = finder
        self._root = root
        self._clips = any(len(video.all_frames()) > 1 for video in listed.videos)
        self._domain = methods.registry.domains.get(listed.name.casefold())
        self.lost_masks = 0

    def samples(self, videos: Iterable[ListedVideo]) -> list[Sample]:
        """One sample a file, whatever number of times and under whatever spelling it is listed."""
        rows: dict[tuple[str, str], Sample] = {}
        for video in videos:
            splits: dict[str, list[str]] = {}
            for split in SPLITS:
                for frame in video.frames.get(split, ()):
                    splits.setdefault(frame, []).append(split)
            for frame, found in splits.items():
                sample = self._sample(video, frame, list(dict.fromkeys(found)))
                first = rows.setdefault((sample.root, sample.path), sample)
                if first is not sample and first.label != sample.label:
                    raise InputError(
                        f"{sample.path} is listed as {first.extra['source_label']} and as "
                        f"{video.kind}: one file has one label"
                    )
        return list(rows.values())

    def _sample(self, video: ListedVideo, frame: str, splits: Sequence[str]) -> Sample:
        root, path = self._files.get(frame) or (self._root, self._missing(frame))
        subset, domain = self._methods.subset(video.kind), self._methods.domain(video)
        domain = domain or self._domain
        is_video = subset.video_level if subset is not None else self._clips
        identities = domain.identities_in(video.name) if domain is not None else ()
        number = re.search(r"[0-9]{1,18}$", os.path.splitext(path)[0])  # noqa: PTH122
        mask_root, mask = self._files.get(video.masks.get(frame, ""), ("", ""))
        if mask_root != root or not mask:
            self.lost_masks += frame in video.masks
            mask = ""
        return Sample(
            sample_id="/".join(filter(None, (self._name, root, path))),
            path=path,
            label=video.label,
            subset=self._name,
            root=root,
            category="real" if video.label == 0 else subset.category if subset else "",
            domain=domain.id if domain is not None else "",
            split=splits[0],
            official_split="|".join(splits),
            video_id=f"{self._name}:{video.kind}:{video.name}" if is_video else "",
            frame_idx=int(number[0]) if number and is_video else None,
            source_ids="|".join(f"{domain.id}:{one}" for one in identities) if domain else "",
            compression=self._compression,
            mask_path=mask,
            extra={"source_label": video.kind, "source_path": frame},
        )

    def _missing(self, frame: str) -> str:
        *folder, name = plain_parts(frame) or ["?"]
        return "/".join(filter(None, (self._finder.likely(folder), name)))


def _split_anew(samples: Sequence[Sample], methods: _Methods) -> list[Sample]:
    """By the registry's rule where it has one for the subset's domain; else 70/15/15."""
    kinds = {sample.extra["source_label"] for sample in samples}
    domains = {sample.domain for sample in samples}
    if "" in domains or any(methods.subset(kind) is None for kind in kinds):
        return list(assign_splits(samples))
    rules = {
        name: IdentitySplit(domain, domain.split)
        for name, domain in methods.registry.domains.items()
        if name in domains
    }
    found = []
    for sample in samples:
        people = [one.partition(":")[2] for one in sample.source_ids.split("|") if one]
        name = sample.video_id or sample.sample_id
        found.append(replace(sample, split=rules[sample.domain].split(people, name)[0]))
    return found


def _remarks(
    path: Path,
    listed: OfficialList,
    resolutions: Sequence[Resolution],
    samples: Sequence[Sample],
    lost_masks: int,
) -> list[str]:
    lines = []
    if listed.name != path.stem:
        lines.append(f"the list is named {listed.name} inside, and {path.stem} outside")
    if listed.other_compressions:
        others = ", ".join(listed.other_compressions)
        lines.append(f"only {listed.compression} is taken; the list also has {others}")
    for one in resolutions:
        if not one.kept:
            lines.append(
                "its reals belong to a pool that several subsets share and that is extracted "
                "once: build that too, or take them in here with --with-reals"
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
    if lost_masks:
        lines.append(f"{lost_masks} masks are not on disk beside their frames")
    return lines

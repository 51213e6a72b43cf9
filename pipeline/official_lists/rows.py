"""Rows of a manifest from the videos of an official list and the files found for them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from clare.columns import SPLITS
from clare.errors import InputError
from clare.pipeline.datasets.identity_splits import IdentitySplit
from clare.pipeline.datasets.index import Indexed, SideFiles, index_folder
from clare.pipeline.datasets.layouts import Placer
from clare.pipeline.datasets.schema import Domain, Registry, Subset
from clare.pipeline.manifests.prefixes import plain_parts
from clare.pipeline.manifests.sample import Sample
from clare.pipeline.manifests.scan import Folder
from clare.pipeline.manifests.splits import assign_splits
from clare.pipeline.official_lists.json_list import ListedVideo, OfficialList
from clare.pipeline.official_lists.paths import Finder
from clare.wording import name_rows

Files = dict[str, tuple[str, str]]
"""Root and path below it, by listed path."""


class Methods:
    """What the registry knows of a list and of its labels.

    Args:
        registry: the registry.
        stem: name of the list's file.
    """

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


def rows_of(
    name: str,
    listed: OfficialList,
    videos: Iterable[ListedVideo],
    methods: Methods,
    files: Files,
    finder: Finder,
    root: str,
) -> list[Sample]:
    """One sample a file, whatever number of times and under whatever spelling it is listed.

    A file that lies where the registry expects it gets the row that building its subset gives
    it, with the list's split; other rows hold what the list says.

    Raises:
        InputError: a file is listed as real and as fake, or lies where files of the other label do.
    """
    listing = _Listing(name, listed, methods, files, finder, root)
    placed = placed_rows(methods.registry, set(files.values()))
    rows: dict[tuple[str, str], Sample] = {}
    misplaced = []
    for video in videos:
        splits: dict[str, list[str]] = {}
        for split in SPLITS:
            for frame in video.frames.get(split, ()):
                splits.setdefault(frame, []).append(split)
        for frame, found in splits.items():
            sample = listing.sample(video, frame, list(dict.fromkeys(found)))
            own = placed.get((sample.root, sample.path))
            if own is not None:
                if own.label != sample.label:
                    misplaced.append(sample.path)
                sample = _merged(sample, own)
            first = rows.setdefault((sample.root, sample.path), sample)
            if first.label != sample.label:
                raise InputError(
                    f"{sample.path} is listed as {first.extra['source_label']} and as "
                    f"{video.kind}: one file has one label"
                )
    if misplaced:
        raise InputError(
            f"listed under the other label than where they lie: {name_rows(misplaced)}"
        )
    return list(rows.values())


def placed_rows(
    registry: Registry, places: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Sample]:
    """The registry's rows of files that lie in one of its layouts, by root and path."""
    folders: dict[tuple[str, str], list[str]] = {}
    for root, path in sorted(places):
        folder, _, file = path.rpartition("/")
        folders.setdefault((root, folder), []).append(file)
    rules = {name: IdentitySplit(one, one.split) for name, one in registry.domains.items()}
    placers = {root: Placer(registry, root) for root in {root for root, _ in folders}}
    indexed, sides = Indexed(), SideFiles(())
    for (root, path), names in folders.items():
        place = placers[root].place(path)
        if place is not None and place.label is not None:
            rule = rules[place.layout.domain]
            index_folder(indexed, Folder(path, tuple(names)), place, rule, sides)
    return {(sample.root, sample.path): sample for sample in indexed.samples}


def split_anew(
    samples: Sequence[Sample], methods: Methods, places: Iterable[tuple[str, str]]
) -> list[Sample]:
    """New splits: by the registry's rules, or 70/15/15 where it does not know the subset."""
    kinds = {sample.extra["source_label"] for sample in samples}
    domains = {sample.domain for sample in samples}
    if "" in domains or any(methods.subset(kind) is None for kind in kinds):
        return list(assign_splits(samples))
    placed = placed_rows(methods.registry, places)
    known = methods.registry.domains
    rules = {name: IdentitySplit(known[name], known[name].split) for name in domains}
    found = []
    for sample in samples:
        own = placed.get((sample.root, sample.path))
        people = [one.partition(":")[2] for one in sample.source_ids.split("|") if one]
        name = sample.video_id or sample.sample_id
        split = own.split if own is not None else rules[sample.domain].split(people, name)[0]
        found.append(replace(sample, split=split))
    return found


class _Listing:
    """Makes rows of what a list says of its files, and of nothing else."""

    def __init__(
        self,
        name: str,
        listed: OfficialList,
        methods: Methods,
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

    def sample(self, video: ListedVideo, frame: str, splits: Sequence[str]) -> Sample:
        root, path = self._files.get(frame) or (self._root, self._missing(frame))
        stem = os.path.splitext(path)[0].rpartition("/")[2]  # noqa: PTH122
        subset = self._methods.subset(video.kind)
        domain = self._methods.domain(video) or self._domain
        is_video = subset.video_level if subset is not None else self._clips
        clip = subset.clip_in(stem) if subset else ""
        identities = domain.identities_in(clip or video.name) if domain else ()
        number = re.search(r"[0-9]{1,18}$", stem)
        mask_root, mask = self._files.get(video.masks.get(frame, ""), ("", ""))
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
            created=subset.created_of(video.label) if subset else "",
            compression=self._compression,
            mask_path=mask if mask_root == root else "",
            extra={"source_label": video.kind, "source_path": frame},
        )

    def _missing(self, frame: str) -> str:
        *folder, name = plain_parts(frame) or ["?"]
        return "/".join(filter(None, (self._finder.likely(folder), name)))


def _merged(listed: Sample, placed: Sample) -> Sample:
    """A row as the registry has it, with what only the list knows."""
    return replace(
        placed,
        label=listed.label,
        subset=listed.subset,
        split=listed.split,
        official_split=listed.official_split,
        compression=placed.compression or listed.compression,
        mask_path=listed.mask_path,
        extra=listed.extra,
    )

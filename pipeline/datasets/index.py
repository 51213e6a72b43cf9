"""From placed folders to the rows of a manifest: ids, identities, splits, frame numbers."""

from __future__ import annotations

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from clare.pipeline.datasets.identity_splits import IdentitySplit
from clare.pipeline.datasets.layouts import Place
from clare.pipeline.manifests.sample import Sample
from clare.pipeline.manifests.scan import IMAGE_SUFFIXES, Folder, suffix_of
from clare.wording import natural_key

_BESIDE_FRAMES = ("masks", "landmarks")
_NUMBER = re.compile(r"([0-9]{1,9})$")


@dataclass
class Indexed:
    """The rows of a subset as far as names tell them.

    Args:
        samples: rows; their files were not opened.
        unassigned: rows without a split, by reason.
        empty: folders (root, path) that fit a layout and hold no image.
        folders: folders that fit a layout, also empty ones, by (domain, official split).
    """

    samples: list[Sample] = field(default_factory=list)
    unassigned: Counter[str] = field(default_factory=Counter)
    empty: list[tuple[str, str]] = field(default_factory=list)
    folders: Counter[tuple[str, str]] = field(default_factory=Counter)


class SideFiles:
    """Masks and landmarks, found by the frame that they belong to.

    Args:
        folders: all folders of a root.
    """

    def __init__(self, folders: Iterable[Folder]) -> None:
        self._files: dict[str, dict[str, str]] = {}
        self._images: dict[str, tuple[str, dict[str, str]]] = {}
        for folder in folders:
            if folder.side:
                self._files[folder.path] = {_stem(name): name for name in folder.side}
                images = [name for name in folder.side if suffix_of(name) in IMAGE_SUFFIXES]
                by_stem = {_stem(name): name for name in images}
                self._images[folder.path.casefold()] = folder.path, by_stem

    def mask(self, folder: str, place: str) -> str:
        """The path of a mask, from the root; empty where there is none.

        Args:
            folder: of the image.
            place: of the mask from there, without its ending; letter case of folders aside.
        """
        path, _, stem = posixpath.normpath(f"{folder}/{place}").rpartition("/")
        return _side(self._images.get(path.casefold()), stem)

    def beside(self, folder: str) -> Mapping[str, tuple[str, Mapping[str, str]]]:
        """Where masks and landmarks of a folder of frames are: (folder, file by stem) by kind.

        They stand beside the last folder ``frames``, or one level above it, as in
        ``c23/frames/000``, ``c23/masks/000`` and ``masks/000``.
        """
        names = folder.split("/")
        if not self._files or "frames" not in names:
            return {}
        last = len(names) - 1 - names[::-1].index("frames")
        found = {}
        for kind in _BESIDE_FRAMES:
            for above in (names[:last], names[: max(last - 1, 0)]):
                place = "/".join([*above, kind, *names[last + 1 :]])
                if place in self._files:
                    found[kind] = (place, self._files[place])
                    break
        return found


def index_folder(
    indexed: Indexed, folder: Folder, place: Place, split: IdentitySplit, sides: SideFiles
) -> None:
    """Add the rows of one folder, whose label is known, to those of its subset."""
    domain, layout, official = split.domain, place.layout, place.official_split
    indexed.folders[domain.id, official] += 1
    if not folder.images:
        indexed.empty.append((layout.root, folder.path))
        return
    parts = [place.subset.dataset, place.subset.id, domain.id, place.bucket, place.video]
    prefix = "/".join(filter(None, parts))
    beside = sides.beside(folder.path)
    for name, frame in zip(folder.images, _frames(folder.images, place), strict=True):
        stem = _stem(name)
        identities, pair = _people(place, stem, split)
        own_split, reason = split.split(identities, _name(place, stem), official)
        if reason:
            indexed.unassigned[reason] += 1
        mask = _side(beside.get("masks"), stem)
        if layout.masks and place.label:
            inner = layout.mask_of(stem, place.subset.clip_in(stem), place.bucket)
            mask = sides.mask(folder.path, inner)
        indexed.samples.append(
            Sample(
                sample_id=f"{prefix}/{stem}",
                path=f"{folder.path}/{name}" if folder.path else name,
                label=place.label or 0,
                subset=place.subset.id,
                root=layout.root,
                category=place.subset.category if place.label else "real",
                domain=domain.id,
                split=own_split,
                official_split=official,
                video_id=_video(place),
                frame_idx=frame,
                source_ids="|".join(f"{domain.id}:{one}" for one in identities),
                pair_id=f"{domain.id}:{pair}" if pair and place.label else "",
                created=place.subset.created_of(place.label or 0),
                compression=layout.compression,
                mask_path=mask,
                mask_fake="black" if mask and layout.mask_fake == "black" else "",
                landmark_path=_side(beside.get("landmarks"), stem),
            )
        )


def with_unique_ids(samples: Sequence[Sample], roots: Sequence[str]) -> list[Sample]:
    """Give rows of one id an id each; a copy of the same size becomes a ``duplicate``.

    Both releases may hold a frame, and a folder may be unpacked twice. The row of the first root,
    and there of the first path, keeps the plain id. The others have their root and path in theirs;
    a copy has no split, so that nothing counts it.
    """
    by_id: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_id[sample.sample_id].append(sample)
    unique: list[Sample] = []
    for rows in by_id.values():
        rows.sort(key=lambda row: (roots.index(row.root), natural_key(row.path)))
        first = rows[0]
        unique.append(first)
        for row in rows[1:]:
            named = replace(row, sample_id=f"{row.sample_id}@{row.root}/{row.path}")
            copied = row.status == "ok" and _content(row) == _content(first)
            unique.append(replace(named, status="duplicate", split="") if copied else named)
    return unique


def _content(sample: Sample) -> tuple[object, ...]:
    return sample.sha256, sample.bytes, sample.width, sample.height, sample.format


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _frames(names: Sequence[str], place: Place) -> Sequence[int | None]:
    """Frame numbers: the number that ends every name, else the place in natural order."""
    if not place.video:
        return [None] * len(names)
    matches = [_NUMBER.search(_stem(name)) for name in names]
    if all(matches):
        return [int(match[1]) for match in matches if match]
    order = {name: n for n, name in enumerate(sorted(names, key=natural_key))}
    return [order[name] for name in names]


def _people(place: Place, stem: str, split: IdentitySplit) -> tuple[tuple[str, ...], str]:
    """Identities in an image, and the real clip that it was made from where the name says it."""
    subset = place.subset
    if clip := subset.clip_in(stem):
        return split.domain.identities_in(clip), clip
    identities = split.domain.identities_in(place.video)
    return identities, place.video if subset.video_is_clip else ""


def _name(place: Place, stem: str) -> str:
    return f"{place.bucket}/{place.video or stem}"


def _video(place: Place) -> str:
    if not (place.subset.video_level and place.video):
        return ""
    parts = (place.subset.id, place.layout.domain, place.bucket, place.video)
    return ":".join(filter(None, parts))


def _side(found: tuple[str, Mapping[str, str]] | None, stem: str) -> str:
    if found is None or stem not in found[1]:
        return ""
    return f"{found[0]}/{found[1][stem]}"

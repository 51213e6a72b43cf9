"""Which subset a folder of images belongs to, by its place below a root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clare.pipeline.datasets.schema import BY_FOLDER, LISTED, Layout, Registry, Subset
from clare.pipeline.manifests.splits import SPLIT_WORDS


@dataclass(frozen=True)
class Place:
    """What the place of a folder says of the images in it.

    Args:
        subset: whose images they are.
        layout: the layout that fits.
        label: 0 real, 1 fake; None where a list beside the videos says it.
        official_split: as far as the place says it.
        bucket: part of the domain, or the side (real, fake) of a subset with both; or empty.
        video: the folder that stands for a video or a real clip; empty where there is none.
    """

    subset: Subset
    layout: Layout
    label: int | None
    official_split: str
    bucket: str
    video: str


class Placer:
    """Finds the place of folders below one root.

    A path is tried from each folder that is named like a subset, so folders around it do not
    matter, and a folder in a folder of the same name is taken as one: unpacking makes both.

    Args:
        registry: what is known.
        root: name of the root.
    """

    def __init__(self, registry: Registry, root: str) -> None:
        self._buckets, self._domains = registry.buckets, registry.domains
        subsets = [subset for subset in registry.subsets.values() if root in subset.roots]
        self._by_folder = {folder: s for s in subsets for folder in s.folders}
        self._layouts = {s.id: [one for one in s.layouts if one.root == root] for s in subsets}
        self._bare = [(s, one) for s in subsets for one in self._layouts[s.id] if one.bare]

    def owner(self, path: str) -> Subset | None:
        """The subset whose folder the path leads through first; None if it leads through none."""
        for name in path.split("/"):
            subset = self._by_folder.get(name.casefold())
            if subset is not None:
                return subset
        names = _without_doubles(path)
        for subset, layout in self._bare:
            # The beginning of a bare layout is a plain folder.
            if names and names[0].casefold() == layout.path.partition("/")[0]:
                return subset
        return None

    def place(self, path: str) -> Place | None:
        """The place of a folder; None where no layout fits."""
        names = _without_doubles(path)
        for position, name in enumerate(names):
            subset = self._by_folder.get(name.casefold())
            if subset is None:
                continue
            for layout in self._layouts[subset.id]:
                found = None if layout.bare else self._fit(subset, layout, name, names[position:])
                if found is not None:
                    return found
        for subset, layout in self._bare:
            found = self._fit(subset, layout, "", ["", *names])
            if found is not None:
                return found
        return None

    def _fit(self, subset: Subset, layout: Layout, own: str, names: Sequence[str]) -> Place | None:
        match = layout.pattern.fullmatch("/".join(names[1:]))
        if match is None:
            return None
        groups = match.groupdict()
        side = (groups.get("label") or "").lower()
        # A pool in several folders (Celeb-real, YouTube-real) keeps them apart by its own folder.
        named = groups.get("bucket") or (own if own.casefold() in self._buckets else "")
        label = None if layout.label == LISTED else int((layout.label or side) == "fake")
        bucket = side or self._buckets.get(named.casefold(), named)
        video = groups.get("video") or ""
        official: str = layout.official_split
        if official == LISTED:
            official = self._domains[layout.domain].official_split(video)
        elif official == BY_FOLDER:
            official = SPLIT_WORDS.get(bucket.casefold(), "")
        return Place(subset, layout, label, official, bucket, video)


def _without_doubles(path: str) -> list[str]:
    names: list[str] = []
    for name in path.split("/") if path else []:
        if not names or names[-1].casefold() != name.casefold():
            names.append(name)
    return names

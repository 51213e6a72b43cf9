"""Where the paths of official lists lie on this disk: candidates, tried until one is there.

Lists and unpacked archives disagree in four ways: a prefix of the machine that the list was made
on; folders that are renamed, doubled, missing or added; ``Celeb-real`` for
``Fake_from_Celeb-real``; and ``cdfv2`` for ``cdf``. No rewriting may make a fake's path a real's:
what says the label is never dropped, and the second and third are told apart by the label.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

from clare.pipeline.datasets.schema import Registry
from clare.pipeline.manifests.prefixes import later_starts
from clare.pipeline.manifests.scan import IMAGE_SUFFIXES, suffix_of
from clare.store.bucket.files import file_place, scan

COLLECTIONS = ("deepfakes_detection_datasets",)
"""Folders, beside those of the registry, above the folders of methods in official lists."""

_DEPTH = 3
"""How many folders may stand around a method's own, below a root."""

SHARED = frozenset(("real", "fake", "source", "target"))
"""Folders of methods that name none of them: many data sets have them."""

_OPTIONAL = ("frames", "ff", "inversions")
_FAKES_OF = {"celeb-real": "Fake_from_Celeb-real", "youtube-real": "Fake_from_Youtube-real"}


class Finder:
    """Finds listed folders below the roots.

    Args:
        roots: folder by name of the root.
        registry: names methods and datasets.
    """

    def __init__(self, roots: Mapping[str, Path], registry: Registry) -> None:
        self._roots = {name: str(folder) for name, folder in roots.items()}
        self._names: dict[str, dict[str, str]] = {}
        self._methods: dict[str, tuple[str, ...]] = {}
        self._found: dict[str, dict[str, list[str]]] = {}
        for subset in registry.subsets.values():
            names = dict.fromkeys((*subset.folders, subset.id, *subset.aliases))
            spellings = tuple(name for name in names if name not in SHARED)
            for spelling in spellings:
                if spelling.casefold() in registry.buckets:
                    continue  # part of a pool's path, but of a fake's too
                self._methods.setdefault(spelling.casefold(), spellings)
        self._collections = {name.casefold() for name in COLLECTIONS}
        for dataset in registry.datasets.values():
            self._collections |= {dataset.display.casefold(), *dataset.roots}

    def find(
        self, folder: Sequence[str], names: Collection[str], label: int, droppable: int = 0
    ) -> tuple[str, dict[str, str]]:
        """The files of a listed folder.

        Args:
            folder: its parts, from `plain_parts`.
            names: of the listed files in it.
            label: 0 real, 1 fake.
            droppable: leading folders that all listed paths share: they may be another machine's.

        Returns:
            The root and, by listed name, the path below it; of all candidates the one that has
            most of the files, the first among equals. Empty where none has any.
        """
        best: tuple[str, dict[str, str]] = ("", {})
        tried: set[tuple[str, str]] = set()
        for root, parts in self._candidates(folder, label, droppable):
            for place in self._places(root, parts):
                if (root, place) in tried:
                    continue
                tried.add((root, place))
                there = self._listing(os.path.join(self._roots[root], place))  # noqa: PTH118
                found = {name: there[name.casefold()] for name in names if name.casefold() in there}
                if len(found) > len(best[1]):
                    best = root, {n: f"{place}/{f}" if place else f for n, f in found.items()}
                if len(found) == len(names):
                    return best
        return best

    def likely(self, folder: Sequence[str]) -> str:
        """The path below a root that a folder should have had, where it was not found."""
        return "/".join(folder[max(self._starts(folder), default=0) :])

    def _candidates(
        self, folder: Sequence[str], label: int, droppable: int
    ) -> Iterator[tuple[str, list[str]]]:
        """Roots and paths, those with the fewest changes first."""
        named: list[tuple[str, list[str]]] = []
        method = self._method(folder)
        for root, place in self._roots.items():
            # What a root's own folder is called may stand in the path; only this root is meant,
            # and never what stands behind a method: an `ff` there is not a root `ff`.
            own = place.rpartition("/")[2].casefold()
            before = folder if method is None else folder[: method + 1]
            after = [k + 1 for k, part in enumerate(before) if part.casefold() == own]
            guarded = self._guarded(folder, label, droppable)
            starts = dict.fromkeys((*after, *self._starts(folder), 0, *guarded))
            named += [(root, list(folder[start:])) for start in starts]
        yield from named
        for root, parts in named:
            yield from ((root, changed) for changed in self._changes(parts, label))

    def _starts(self, folder: Sequence[str]) -> list[int]:
        """Where a path may begin once a prefix is dropped: after a collection, or at a method."""
        method = self._method(folder)
        before = folder if method is None else folder[:method]
        found = [] if method is None else [method]
        for k, part in enumerate(before):
            if part.casefold() in self._collections:
                found += [k + 1, k]
        return found

    def _guarded(self, folder: Sequence[str], label: int, droppable: int) -> Iterator[int]:
        """Where else a path may begin: what says its label is never dropped, nor a method."""
        method = self._method(folder)
        for start in later_starts(folder, label, droppable):
            if method is None or start <= method:
                yield start

    def _method(self, parts: Sequence[str]) -> int | None:
        """The first part that names a method."""
        return next((k for k, part in enumerate(parts) if part.casefold() in self._methods), None)

    def _changes(self, parts: Sequence[str], label: int) -> Iterator[list[str]]:
        options = []
        method = self._method(parts)
        for k, part in enumerate(parts):
            lower = part.casefold()
            spellings: list[str | None] = [part]
            if k == method:
                spellings += self._methods[lower]
            elif lower == "cdfv2":
                spellings = ["cdf", part]
            elif label == 1 and lower in _FAKES_OF:
                spellings = [_FAKES_OF[lower], part]
            elif lower in _OPTIONAL:
                spellings.append(None)
            options.append(spellings)
        for chosen in product(*options):
            changed = [part for part in chosen if part is not None]
            yield changed
            if changed and "frames" not in changed:
                yield [*changed[:-1], "frames", changed[-1]]
                yield [*changed, "frames"]

    def _places(self, root: str, parts: Sequence[str]) -> Iterator[str]:
        """The folder as it is spelled on disk, and those of its own name inside it.

        A method's folder may lie deeper: in folders around it, as archives are unpacked into.
        """
        yield from self._walk(root, "", parts)
        if parts and parts[0].casefold() in self._methods:
            for home in self._homes(root).get(parts[0].casefold(), ()):
                yield from self._walk(root, home, parts[1:])

    def _walk(self, root: str, place: str, parts: Sequence[str]) -> Iterator[str]:
        for part in parts:
            actual = self._child(root, place, part)
            while actual is None and (doubled := self._doubled(root, place)):
                place = doubled
                actual = self._child(root, place, part)
            if actual is None:
                return
            place = actual
        yield place
        while doubled := self._doubled(root, place):
            place = doubled
            yield place

    def _homes(self, root: str) -> Mapping[str, list[str]]:
        """Folders that are named like a method, by their name in lower case; not deep in others."""
        known = self._found.get(root)
        if known is None:
            known = self._found[root] = {}
            waiting = [("", 0)]
            for place, depth in waiting:
                own = self._spellings(place.rpartition("/")[2])
                for name in self._listing(self._absolute(root, place)).values():
                    inside = f"{place}/{name}" if place else name
                    spellings = self._spellings(name)
                    if spellings and (not own or own == spellings):
                        known.setdefault(name.casefold(), []).append(inside)
                    elif own:
                        continue
                    if depth < _DEPTH and suffix_of(name) not in IMAGE_SUFFIXES:
                        waiting.append((inside, depth + 1))
        return known

    def _spellings(self, name: str) -> tuple[str, ...]:
        return self._methods.get(name.casefold(), ())

    def _absolute(self, root: str, place: str) -> str:
        return f"{self._roots[root]}/{place}" if place else self._roots[root]

    def _child(self, root: str, place: str, name: str) -> str | None:
        actual = self._listing(self._absolute(root, place)).get(name.casefold())
        return actual and (f"{place}/{actual}" if place else actual)

    def _doubled(self, root: str, place: str) -> str | None:
        return self._child(root, place, self._absolute(root, place).rpartition("/")[2])

    def _listing(self, folder: str) -> dict[str, str]:
        """Names in a folder by their lower case; empty where it can't be listed."""
        known = self._names.get(folder)
        if known is None:
            try:
                names = sorted(entry.name for entry in scan(file_place(folder)))
            except OSError:
                names = []
            known = self._names[folder] = {name.casefold(): name for name in names}
        return known

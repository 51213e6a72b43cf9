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
from pathlib import Path, PureWindowsPath

from clare.pipeline.datasets.schema import Registry

COLLECTIONS = ("deepfakes_detection_datasets",)
"""Folders, beside those of the registry, above the folders of methods in official lists."""

_OPTIONAL = ("frames", "ff", "inversions")
_FAKES_OF = {"celeb-real": "Fake_from_Celeb-real", "youtube-real": "Fake_from_Youtube-real"}


def plain_parts(path: str) -> list[str]:
    """The folders and the file of a listed path; absolute, ``./`` and Windows' ways made plain."""
    drive = PureWindowsPath(path).drive
    parts = path.removeprefix(drive).replace("\\", "/").split("/")
    return [part for part in parts if part not in ("", ".", "..")]


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
        for subset in registry.subsets.values():
            spellings = tuple(dict.fromkeys((*subset.folders, subset.id, *subset.aliases)))
            for spelling in spellings:
                if spelling.casefold() in registry.buckets:
                    continue  # part of a pool's path, but of a fake's too
                self._methods.setdefault(spelling.casefold(), spellings)
        self._collections = {name.casefold() for name in COLLECTIONS}
        for dataset in registry.datasets.values():
            self._collections |= {dataset.display.casefold(), *dataset.roots}

    def find(
        self, folder: Sequence[str], names: Collection[str], label: int
    ) -> tuple[str, dict[str, str]]:
        """The files of a listed folder.

        Args:
            folder: its parts, from `plain_parts`.
            names: of the listed files in it.
            label: 0 real, 1 fake.

        Returns:
            The root and, by listed name, the path below it; of all candidates the one that has
            most of the files, the first among equals. Empty where none has any.
        """
        best: tuple[str, dict[str, str]] = ("", {})
        tried: set[tuple[str, str]] = set()
        for root, parts in self._candidates(folder, label):
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

    def _candidates(self, folder: Sequence[str], label: int) -> Iterator[tuple[str, list[str]]]:
        """Roots and paths, those with the fewest changes first."""
        named: list[tuple[str, list[str]]] = []
        method = self._method(folder)
        for root, place in self._roots.items():
            # What a root's own folder is called may stand in the path; only this root is meant,
            # and never what stands behind a method: an `ff` there is not a root `ff`.
            own = place.rpartition("/")[2].casefold()
            before = folder if method is None else folder[: method + 1]
            after = [k + 1 for k, part in enumerate(before) if part.casefold() == own]
            starts = dict.fromkeys((*after, *self._starts(folder), 0))
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
        """The folder as it is spelled on disk, and one of its own name inside it."""
        current, place = self._roots[root], ""
        for part in parts:
            here = self._listing(current)
            doubled = here.get(current.rpartition("/")[2].casefold())
            if part.casefold() not in here and doubled is not None:
                current, place = f"{current}/{doubled}", f"{place}/{doubled}"
                here = self._listing(current)
            actual = here.get(part.casefold())
            if actual is None:
                return
            current, place = f"{current}/{actual}", f"{place}/{actual}"
        yield place[1:]
        doubled = self._listing(current).get(current.rpartition("/")[2].casefold())
        if doubled is not None:
            yield f"{place}/{doubled}"[1:]

    def _listing(self, folder: str) -> dict[str, str]:
        """Names in a folder by their lower case; empty where it can't be listed."""
        known = self._names.get(folder)
        if known is None:
            try:
                names = sorted(os.listdir(folder))  # noqa: PTH208 - 100,000 folders a run
            except OSError:
                names = []
            known = self._names[folder] = {name.casefold(): name for name in names}
        return known

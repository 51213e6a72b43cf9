"""Paths of another machine: which of their leading folders may be dropped to find them on this one.

A list says where files lay when it was made. Every end of a path may be what is left of it here,
but no dropping may make a fake's path a real's: a path keeps the folder that says its label, unless
all paths of the list begin alike.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from clare.labels import read_label
from clare.store.bucket.files import scan


def plain_parts(path: str) -> list[str]:
    """The folders and the file of a listed path; absolute, ``./`` and Windows' ways made plain."""
    drive = PureWindowsPath(path).drive
    parts = path.removeprefix(drive).replace("\\", "/").split("/")
    return [part for part in parts if part not in ("", ".", "..")]


def shared_folders(listed: Collection[tuple[int, Sequence[str]]]) -> int:
    """How many folders begin every listed path alike, and so can't tell real from fake.

    Where all have one label, those from the first that says a label on, and the last two, are kept.

    Args:
        listed: the label and the folders of each path.
    """
    paths = [parts for _, parts in listed]
    alone = len({label for label, _ in listed}) < 2
    if alone:
        paths = [parts[:-2] for parts in paths]
    shared = 0
    for names in zip(*paths, strict=False):  # as far as the shortest goes
        if len(set(names)) > 1 or (alone and read_label(names[0]) is not None):
            break
        shared += 1
    return shared


def later_starts(folder: Sequence[str], label: int, shared: int) -> Iterator[int]:
    """How many leading folders may be dropped: what says the label is kept, or all lose the same.

    Args:
        folder: its parts.
        label: of its files.
        shared: see `shared_folders`.
    """
    said = [read_label(part) for part in folder]
    for start in range(1, len(folder) + 1):
        if label in said[start:] or start <= shared:
            yield start


@dataclass(frozen=True)
class Moved:
    """Files of a list that lie elsewhere than it says.

    Args:
        places: path below the root, by listed path and label; also of files that are missing where
            others of the same beginning were found.
        dropped: how many files were found without each beginning of their paths.
    """

    places: Mapping[tuple[str, int], str]
    dropped: Mapping[str, int]

    def place(self, text: str, label: int | None) -> str | None:
        """Where a listed file lies; None where that is not elsewhere than its path says."""
        return None if label is None else self.places.get((text, label))


def find_moved(root: Path, listed: Iterable[tuple[str, int]], own: Mapping[str, str]) -> Moved:
    """Look for files below a root by the ends of their paths.

    Of all ends of a folder that one counts below which most of its files are, the longest first.

    Args:
        root: to look in.
        listed: path and label of each file.
        own: path below the root, where a listed path is one as it stands.
    """
    folders: dict[tuple[int, tuple[str, ...]], dict[str, list[str]]] = defaultdict(dict)
    for text, label in listed:
        *folder, name = plain_parts(text) or [""]
        folders[label, tuple(folder)].setdefault(name, []).append(text)
    shared = shared_folders(folders)
    below = _Below(root)
    places: dict[tuple[str, int], str] = {}
    dropped: Counter[tuple[str, ...]] = Counter()
    lost: list[tuple[int, tuple[str, ...], str, str]] = []
    for (label, parts), names in folders.items():
        missing = [name for name, texts in names.items() if not below.has(own.get(texts[0], ""))]
        best, found = 0, frozenset[str]()
        for start in (0, *later_starts(parts, label, shared)) if missing else ():
            there = below.names("/".join(parts[start:])).intersection(missing)
            if len(there) > len(found):
                best, found = start, there
        for name in missing:
            if name not in found:
                lost += [(label, parts, name, text) for text in names[name]]
                continue
            places |= {(text, label): "/".join((*parts[best:], name)) for text in names[name]}
            dropped[parts[:best]] += len(names[name])
    beginnings = [beginning for beginning, _ in dropped.most_common()]
    for label, parts, name, text in lost:
        for beginning in beginnings:
            start = len(beginning)
            if parts[:start] == beginning and start in (0, *later_starts(parts, label, shared)):
                places[text, label] = "/".join((*parts[start:], name))
                break
    return Moved(places, {"/".join(parts) + "/": count for parts, count in dropped.items()})


class _Below:
    """What is below a root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, frozenset[str]] = {}

    def names(self, folder: str) -> frozenset[str]:
        """In a folder; none where it can't be listed."""
        known = self._names.get(folder)
        if known is None:
            try:
                known = frozenset(entry.name for entry in scan(self._root / folder))
            except (OSError, ValueError):
                known = frozenset()
            self._names[folder] = known
        return known

    def has(self, path: str) -> bool:
        """Whether a path is that of something."""
        folder, _, name = path.rpartition("/")
        return name in self.names(folder)

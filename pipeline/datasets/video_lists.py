"""Labels and official splits of videos, where a release has them in a file beside the videos."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from clare.advice import Name
from clare.errors import InputError
from clare.foreign import RECORD, bounded_lines, csv_rows, open_text, read_value, reading
from clare.labels import read_label
from clare.pipeline.manifests.roots import linked_disk
from clare.pipeline.manifests.scan import Folder
from clare.pipeline.manifests.splits import SPLIT_WORDS


@dataclass(frozen=True)
class Said:
    """What a list says of a video.

    Args:
        label: 0 real, 1 fake; None where it says none.
        split: empty where it says none.
    """

    label: int | None = None
    split: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether it says both."""
        return self.label is not None and bool(self.split)


_CONTRADICTION = Said()
"""Of a name under which a list says two things: farther lists could mean either."""


class VideoLists:
    """The lists below one root; each speaks of the videos in its folder and in those below it.

    A list is read when a video below it asks. One of another form, or outside of the root, says
    nothing.

    Args:
        root: the folder.
        folders: all folders below it.
        follow_links: a folder that links may lead into, out of the root.
    """

    def __init__(
        self, root: Path, folders: Iterable[Folder], follow_links: Path | None = None
    ) -> None:
        self._root = root
        home = os.path.join(root.resolve(), "")  # noqa: PTH118 - a closing slash
        self._homes = tuple(filter(None, (home, linked_disk(follow_links))))
        self._names = {
            folder.path: names
            for folder in folders
            if (names := [name for name, _ in folder.unmatched if is_list(name)])
        }
        self._read: dict[Path, Mapping[str, Said]] = {}
        self._faults: dict[Path, InputError] = {}

    def of(self, folder: str, video: str, known: Said) -> Said:
        """What is known of a video, and of the rest what the lists nearest to its frames say."""
        if known.is_whole or not video:
            return known
        for path in self._above(folder):
            said = self._entries(path).get(video)
            if said is None:
                continue
            if said == _CONTRADICTION:
                break
            label = said.label if known.label is None else known.label
            known = Said(label, known.split or said.split)
            if known.is_whole:
                break
        return known

    def fault(self, folder: str, name: str) -> InputError | None:
        """Why a list says nothing; None where it speaks, or nobody asked."""
        return self._faults.get(self._root / folder / name)

    def faults(self, folder: str) -> list[InputError]:
        """Why lists that were asked for a folder's video say nothing, the nearest first."""
        return [self._faults[path] for path in self._above(folder) if path in self._faults]

    def _above(self, folder: str) -> Iterator[Path]:
        """The lists that speak of a folder, the nearest first."""
        for above in (folder, *map(str, PurePosixPath(folder).parents)):
            place = "" if above == "." else above
            for name in self._names.get(place, ()):
                yield self._root / place / name

    def _entries(self, path: Path) -> Mapping[str, Said]:
        if path not in self._read:
            try:
                self._read[path] = self._entries_of(path)
            except InputError as error:
                self._faults[path] = error
                self._read[path] = {}
        return self._read[path]

    def _entries_of(self, path: Path) -> Mapping[str, Said]:
        if not str(path.resolve()).startswith(self._homes):
            raise InputError(
                f"{path} leads through a link out of its root",
                Name("the folder that links may lead into", "follow_links"),
            )
        with reading(path, "a list of videos"):
            found = _by_name(_READERS[path.name.casefold()](path))
        if not found:
            raise InputError(f"{path} says no label and no split of a video")
        return found


def is_list(name: str) -> bool:
    """Whether a file is named as such a list."""
    return name.casefold() in _READERS


def _by_name(entries: Iterable[tuple[str, Said]]) -> dict[str, Said]:
    """By the names of videos, without folder and suffix, of which a list may have two alike."""
    found: dict[str, Said] = {}
    for path, said in entries:
        if said == Said():
            continue
        name = PurePosixPath(path).stem
        found[name] = said if found.get(name, said) == said else _CONTRADICTION
    return found


def _from_csv(path: Path) -> Iterator[tuple[str, Said]]:
    """DFDC's ``labels.csv``: a video and its label a line, below a header."""
    with open_text(path, RECORD) as file:
        rows = csv_rows(path, file)
        header: list[str] = next(rows, [])
        if not {"filename", "label"} <= {*header}:
            raise InputError(f"{path} has no columns filename and label")
        name, label = header.index("filename"), header.index("label")
        for cells in rows:
            if len(cells) > max(name, label):
                yield cells[name], Said(read_label(cells[label]))


def _from_json(path: Path) -> Iterator[tuple[str, Said]]:
    """DFDC's ``metadata.json`` and its preview's ``dataset.json``: facts by a video's path."""
    value = read_value(path, "a list of videos", RECORD)
    for name, facts in value.items() if isinstance(value, dict) else ():
        if isinstance(facts, dict):
            split = SPLIT_WORDS.get(_text(facts, "set") or _text(facts, "split"), "")
            yield name, Said(read_label(facts.get("label", "")), split)


def _text(facts: Mapping[str, Any], key: str) -> str:
    return str(facts.get(key, "")).casefold()


def _from_tests(path: Path) -> Iterator[tuple[str, Said]]:
    """Celeb-DF's ``List_of_testing_videos.txt``: 1 or 0, which folders say too, and the video."""
    with open_text(path, RECORD) as file:
        for line in bounded_lines(path, file):
            label, _, video = line.strip().partition(" ")
            if video and label in ("0", "1"):
                yield video, Said(split="test")


_READERS: Mapping[str, Callable[[Path], Iterator[tuple[str, Said]]]] = {
    "labels.csv": _from_csv,
    "metadata.json": _from_json,
    "dataset.json": _from_json,
    "list_of_testing_videos.txt": _from_tests,
}

"""Labels and official splits of videos, where a release has them in a file beside the videos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from clare.errors import InputError
from clare.foreign import RECORD, bounded_lines, csv_rows, open_text, read_value, reading
from clare.labels import read_label
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


class VideoLists:
    """The lists below one root; each speaks of the videos in its folder and in those below it.

    Args:
        root: the folder.
        folders: all folders below it.

    Raises:
        InputError: a list can't be read.
    """

    def __init__(self, root: Path, folders: Iterable[Folder]) -> None:
        self._lists: dict[str, list[Mapping[str, Said]]] = {}
        for folder in folders:
            for name, _ in folder.unmatched:
                if (read := _READERS.get(name.casefold())) is not None:
                    path = root / folder.path / name
                    with reading(path, "a list of videos"):
                        self._lists.setdefault(folder.path, []).append(_by_name(read(path)))

    def of(self, folder: str, video: str) -> Said:
        """What the lists nearest to a folder of frames say of its video."""
        for above in (folder, *map(str, PurePosixPath(folder).parents)):
            for one in self._lists.get("" if above == "." else above, ()):
                if (said := one.get(video)) is not None:
                    return said
        return Said()


def is_list(name: str) -> bool:
    """Whether a file is named as such a list."""
    return name.casefold() in _READERS


def _by_name(entries: Iterable[tuple[str, Said]]) -> dict[str, Said]:
    """By the names of videos, without folder and suffix; one that is told twice is not known."""
    found: dict[str, Said] = {}
    for path, said in entries:
        name = PurePosixPath(path).stem
        found[name] = said if found.get(name, said) == said else Said()
    return found


def _from_csv(path: Path) -> Iterator[tuple[str, Said]]:
    """DFDC's ``labels.csv``: a video and its label a line, below a header."""
    with open_text(path, RECORD) as file:
        header, *rows = csv_rows(path, file)
    try:
        name, label = header.index("filename"), header.index("label")
    except ValueError:
        raise InputError(f"{path} has no columns filename and label") from None
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
    """Celeb-DF's ``List_of_testing_videos.txt``: 1 for real, and the video, a line."""
    with open_text(path, RECORD) as file:
        for line in bounded_lines(path, file):
            label, _, video = line.strip().partition(" ")
            if video:
                yield video, Said({"1": 0, "0": 1}.get(label), "test")


_READERS: Mapping[str, Callable[[Path], Iterator[tuple[str, Said]]]] = {
    "labels.csv": _from_csv,
    "metadata.json": _from_json,
    "dataset.json": _from_json,
    "list_of_testing_videos.txt": _from_tests,
}

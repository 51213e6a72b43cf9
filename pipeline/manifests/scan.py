"""Every folder and file below a root, listed by many threads; nothing is left out uncounted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from clare.errors import InputError
from clare.pipeline.manifests.folders import IGNORED_FOLDERS, IGNORED_SUFFIXES, IMAGE_SUFFIXES
from clare.pipeline.manifests.headers import THREADS
from clare.pipeline.manifests.validation import path_fault

SIDE_FOLDERS = ("masks", "landmarks")
"""Folders beside ``frames`` whose files belong to the frames of the same name."""


@dataclass(frozen=True)
class Folder:
    """One folder of a tree.

    Args:
        path: below the root, with ``/``; empty for the root.
        images: names of its image files, sorted.
        folders: names of the folders in it that may hold images.
        ignored: files that stand beside images by design, by kind.
        unmatched: (file name, reason) of files that can't be images of the data.
        left_out: whether it is hidden, or its name, or one above it, says that it holds no images.
        side: whether it lies below one of `SIDE_FOLDERS`; ``images`` is then every file in it.
    """

    path: str
    images: tuple[str, ...]
    folders: tuple[str, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    unmatched: tuple[tuple[str, str], ...] = ()
    left_out: bool = False
    side: bool = False

    @property
    def files(self) -> int:
        """All files in it."""
        images = 0 if self.side else len(self.images)
        return images + sum(self.ignored.values()) + len(self.unmatched)


def list_tree(
    root: Path,
    enter: Callable[[str], bool] = lambda path: True,
    *,
    skip: frozenset[str] = frozenset(),
    progress: Callable[[int], None] | None = None,
) -> list[Folder]:
    """List all folders below a root.

    Links to folders are not followed. A folder that is hidden, ignored by its name or in ``skip``
    is listed for its number of files alone.

    Args:
        root: the folder to begin with.
        enter: whether a folder, by its path, is looked into at all.
        skip: names of folders, in lower case, whose files are counted as left out.
        progress: called with the number of files that one more folder brought.

    Returns:
        The folders, sorted by path.

    Raises:
        InputError: the root is not there, or a folder can't be listed.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: correct --root")
    base = os.path.realpath(root)
    found: list[Folder] = []
    level: list[tuple[str, str | None]] = [("", None)]
    with ThreadPoolExecutor(THREADS) as pool:
        while level:
            following: list[tuple[str, str | None]] = []
            for (path, kind), folder in zip(
                level, pool.map(lambda one: _list(base, *one), level), strict=True
            ):
                found.append(folder)
                if progress is not None:
                    progress(folder.files)
                for name in folder.folders:
                    below = f"{path}/{name}" if path else name
                    if enter(below):
                        following.append((below, kind or _left_out(name, skip)))
            level = following
    return sorted(found, key=lambda folder: folder.path)


def _left_out(name: str, skip: frozenset[str]) -> str | None:
    lower = name.casefold()
    if lower in IGNORED_FOLDERS or lower in skip:
        return f"in {lower}/"
    return "hidden" if name.startswith(".") else None


def _list(base: str, path: str, kind: str | None) -> Folder:
    """List one folder; ``kind`` says why its files, and those below it, are left out."""
    try:
        with os.scandir(os.path.join(base, path)) as entries:  # noqa: PTH118 - 100,000 calls a run
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{base}/{path} can't be listed: {error.strerror}") from error
    images: list[str] = []
    folders: list[str] = []
    ignored: Counter[str] = Counter()
    unmatched: list[tuple[str, str]] = []
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        elif kind is not None:
            ignored[kind] += 1
            images.append(entry.name)
        else:
            as_designed, fault = _judge(base, path, entry)
            if as_designed is not None:
                ignored[as_designed] += 1
            elif fault is not None:
                unmatched.append((entry.name, fault))
            else:
                images.append(entry.name)
    side = kind in [f"in {name}/" for name in SIDE_FOLDERS]
    if kind is not None and not side:
        images = []
    return Folder(
        path, tuple(images), tuple(folders), dict(ignored), tuple(unmatched), kind is not None, side
    )


def _judge(base: str, path: str, entry: os.DirEntry[str]) -> tuple[str | None, str | None]:
    """Why a file is left out by design, or why it can't be an image of the data."""
    name = entry.name
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if name.startswith("."):
        return "hidden", None
    if suffix in IGNORED_SUFFIXES:
        return suffix, None
    if entry.is_symlink():
        if entry.is_dir():
            return None, "a link to a folder is not followed"
        if not os.path.realpath(entry.path).startswith(os.path.join(base, "")):  # noqa: PTH118
            return None, "a link that leaves its root"
    if suffix not in IMAGE_SUFFIXES:
        return None, "not an image"
    try:
        entry.path.encode("utf-8")
    except UnicodeEncodeError:
        return None, "a name that is not UTF-8"
    fault = path_fault(f"{path}/{name}" if path else name)
    return None, None if fault is None else f"a name that {fault}"

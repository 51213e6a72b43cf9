"""Every folder and file below a root, listed by many threads; nothing is left out uncounted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clare.advice import Name, Notice
from clare.errors import InputError
from clare.names import path_fault
from clare.pipeline.manifests.headers import THREADS
from clare.pipeline.manifests.roots import linked_disk
from clare.store.bucket.files import Entry, file_threads, scan
from clare.store.bucket.places import bucket_url
from clare.wording import counted, listed, natural_key

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib")
) | {".tif", ".tiff", ".gif", ".avif", ".heic", ".heif", ".hif"}
VIDEOS = frozenset((".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".ts", ".mpg", ".mpeg")) | {
    *(".flv", ".wmv", ".ogv"),
}
IGNORED_SUFFIXES = frozenset((".npy", ".npz", ".pt", ".pth", ".pkl")) | VIDEOS
IGNORED_FOLDERS = frozenset(("landmarks", "mask", "masks", "__macosx"))
SIDE_FOLDERS = ("masks", "landmarks", "mask")
"""Folders whose files belong to images of other folders."""

LEAVES = "a link that leaves its root"
LINKED_FOLDER = "a link to a folder that is not followed"
NO_IMAGE = "not an image"
NOT_UTF8 = "a name that is not UTF-8"
"""Why a file is no image of the data; a further reason is a name that no manifest can hold."""


@dataclass(frozen=True)
class Folder:
    """One folder of a tree.

    Args:
        path: below the root, with ``/``; empty for the root.
        images: names of its image files, sorted.
        folders: names of the folders in it.
        ignored: files that stand beside images by design, by kind.
        unmatched: (file name, reason) of files that can't be images of the data.
        left_out: whether it is hidden, or its name, or one above it, says that it holds no images.
        side: names of the files in it, sorted, where it is, or lies below, one of `SIDE_FOLDERS`.
        links: those of its images that are links; all of them where a link led to it.
        videos: names of the videos among the ignored files, sorted.
    """

    path: str
    images: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    unmatched: tuple[tuple[str, str], ...] = ()
    left_out: bool = False
    side: tuple[str, ...] = ()
    links: frozenset[str] = frozenset()
    videos: tuple[str, ...] = ()

    @property
    def files(self) -> int:
        """All files in it."""
        return len(self.images) + sum(self.ignored.values()) + len(self.unmatched)


def list_tree(
    root: Path,
    enter: Callable[[str], bool] = lambda path: True,
    *,
    skip: frozenset[str] = frozenset(),
    within: Path | None = None,
    follow_links: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Folder]:
    """List all folders below a root.

    Links to folders are followed where ``follow_links`` says so, each target once, so that loops
    end. A folder that is hidden, ignored by its name or in ``skip`` is listed for its number of
    files alone.

    Args:
        root: the folder to begin with.
        enter: whether a folder, by its path, is looked into at all.
        skip: names of folders, in lower case, whose files are counted as left out.
        within: the folder that links may not leave; the root itself if None.
        follow_links: a folder that links may lead into besides.
        progress: called with the number of files that one more folder brought.

    Returns:
        The folders, sorted by path.

    Raises:
        InputError: the root is not there, or a folder can't be listed.
        StoreError: its bucket can't be read.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder", Name("another", "root"))
    base = root.resolve()
    home = os.path.join((within or root).resolve(), "")  # noqa: PTH118 - a closing slash
    disk = linked_disk(follow_links)
    seen: set[str] = set()
    found: list[Folder] = []
    level: list[tuple[str, str | None, bool]] = [("", None, False)]
    with file_threads(THREADS) as pool:
        while level:
            following: list[tuple[str, str | None, bool]] = []
            for (path, kind, linked), (folder, targets) in zip(
                level, pool.map(lambda one: _list(base, home, disk, *one), level), strict=True
            ):
                found.append(folder)
                if progress is not None:
                    progress(folder.files)
                for name in folder.folders:
                    below = f"{path}/{name}" if path else name
                    target = targets.get(name)
                    if target in seen or not enter(below):
                        continue
                    if target is not None:
                        seen.add(target)
                    is_linked = linked or target is not None
                    following.append((below, kind or _left_out(name, skip), is_linked))
            level = following
    return sorted(found, key=lambda folder: folder.path)


def list_images(
    paths: Sequence[Path],
    notice: Callable[[Notice], None] = lambda told: None,
    *,
    images: bool = True,
    videos: bool = False,
) -> list[Path]:
    """Files as they are, and the images below folders in natural order.

    Below a folder, what is hidden or lies in a folder such as ``masks`` is left out, as it is from
    a manifest, and so is what is no plain file. A link to a file counts wherever it leads.

    Args:
        paths: files and folders.
        notice: called once for each folder in which files are left out, with how many and why.
        images: whether images below folders are listed.
        videos: whether videos are.

    Raises:
        InputError: a path is not there or no plain file, or a folder can't be listed or holds none
            of what is wanted; or it is in a bucket.
    """
    found: list[Path] = []
    wanted = " or ".join(["image"] * images + ["video"] * videos)
    for path in paths:
        if url := bucket_url(path):
            raise InputError(
                f"{url} is in a bucket, and what no manifest lists is read from disks alone",
                "copy it to a disk first",
            )
        if path.is_dir():
            taken, left_out = _files_below(path, images, videos)
            files = counted(sum(left_out.values()), "file")
            kinds = listed(f"{count:,} {kind}" for kind, count in sorted(left_out.items()))
            if not taken:
                raise InputError(
                    f"there is no {wanted} below {path}"
                    + (f" ({files}: {kinds})" if left_out else "")
                )
            if left_out:
                notice(Notice(f"{files} below {path} left out: {kinds}"))
            found += sorted(taken, key=lambda file: natural_key(str(file)))
        elif path.is_file():
            found.append(path)
        elif path.exists():
            raise InputError(f"{path} is no plain file")
        else:
            raise InputError(f"there is no file or folder {path}")
    return found


def _files_below(path: Path, images: bool, videos: bool) -> tuple[list[Path], Counter[str]]:
    """The images or videos below a folder, and the number of other files by what they are."""
    taken: list[Path] = []
    left_out: Counter[str] = Counter()
    for folder in list_tree(path):
        left_out.update(folder.ignored)
        if videos:
            left_out.subtract(map(suffix_of, folder.videos))
        named = [(name, "" if images else NO_IMAGE) for name in folder.images]
        named += [(name, "") for name in folder.videos if videos]
        for name, fault in (*named, *folder.unmatched):
            file = path / folder.path / name
            if fault == NO_IMAGE:
                left_out[suffix_of(name) or "without a suffix"] += 1
            elif file.is_file():
                taken.append(file)
            elif file.is_symlink():
                left_out["linked folder" if file.is_dir() else "broken link"] += 1
            else:
                left_out["pipe or device"] += 1
    return taken, +left_out


def suffix_of(name: str) -> str:
    """A file's suffix in lower case."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - 100,000 calls a run


def _left_out(name: str, skip: frozenset[str]) -> str | None:
    lower = name.casefold()
    if lower in IGNORED_FOLDERS or lower in skip:
        return f"in {lower}/"
    return "hidden" if name.startswith(".") else None


def _list(
    base: Path, home: str, disk: str, path: str, kind: str | None, linked: bool
) -> tuple[Folder, dict[str, str]]:
    """List one folder; ``kind`` says why its files, and those below it, are left out.

    Returns:
        The folder, and where those of its folders that are links lead, of links that are followed.
    """
    try:
        found = sorted(scan(base / path), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{base}/{path} can't be listed: {error.strerror}") from error
    targets = {
        entry.name: target
        for entry in found
        if disk
        and entry.is_symlink()
        and entry.is_dir()
        and (target := os.path.join(os.path.realpath(entry.path), "")).startswith(disk)  # noqa: PTH118
        and not target.startswith(home)  # its files are listed anyhow
    }
    inside = {
        entry.name
        for entry in found
        if entry.is_dir(follow_symlinks=False) or entry.name in targets
    }
    folders = tuple(entry.name for entry in found if entry.name in inside)
    files = [entry for entry in found if entry.name not in inside]
    if kind is not None:
        side = kind in [f"in {name}/" for name in SIDE_FOLDERS]
        names = tuple(entry.name for entry in files) if side else ()
        left = {kind: len(files)} if files else {}
        return Folder(path, folders=folders, ignored=left, left_out=True, side=names), targets
    images: list[str] = []
    links: set[str] = set()
    ignored: Counter[str] = Counter()
    unmatched: list[tuple[str, str]] = []
    videos: list[str] = []
    for entry in files:
        if as_designed := _ignored(entry.name):
            ignored[as_designed] += 1
            if as_designed in VIDEOS:
                videos.append(entry.name)
        elif fault := _fault(home, disk, path, entry):
            unmatched.append((entry.name, fault))
        else:
            images.append(entry.name)
            if linked or entry.is_symlink():
                links.add(entry.name)
    folder = Folder(
        path,
        tuple(images),
        folders,
        dict(ignored),
        tuple(unmatched),
        links=frozenset(links),
        videos=tuple(videos),
    )
    return folder, targets


def _ignored(name: str) -> str:
    """The kind of a file that is left out by design; empty where it may be an image."""
    suffix = suffix_of(name)
    return "hidden" if name.startswith(".") else suffix if suffix in IGNORED_SUFFIXES else ""


def _fault(home: str, disk: str, path: str, entry: os.DirEntry[str] | Entry) -> str:
    """Why a file can't be an image of the data; empty where it can."""
    is_folder = entry.is_dir()
    if suffix_of(entry.name) not in IMAGE_SUFFIXES and not is_folder:
        return NO_IMAGE
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if not target.startswith(home) and not (disk and target.startswith(disk)):
            return LEAVES
    if is_folder:
        return LINKED_FOLDER
    try:
        entry.path.encode("utf-8")
    except UnicodeEncodeError:
        return NOT_UTF8
    fault = path_fault(f"{path}/{entry.name}" if path else entry.name)
    return f"a name that {fault}" if fault else ""

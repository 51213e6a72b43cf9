"""Frames of many videos as folders of pictures, with a list of what became of each video."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from clare.advice import Name, Notice
from clare.errors import ImageError, InputError
from clare.files import PARTIAL, make_folder, storage_errors, write_durably
from clare.pipeline.manifests.folder_rules import FolderRules
from clare.pipeline.manifests.folders import BuiltManifest, build_manifest
from clare.pipeline.manifests.scan import list_images
from clare.pipeline.video import FRAMES
from clare.pipeline.video.read import Video, is_video
from clare.row_file import RowFile

LIST = "videos.csv"
"""The list, beside the folders of frames."""


@dataclass(frozen=True)
class VideoRow:
    """What became of a video.

    Args:
        path: the file.
        folder: of its frames, below that of all: the video's name in a manifest. They are named by
            their number in the video: ``007.png``.
        asked: how many frames were asked for.
        frames: how many were written.
        count: frames that are in the file.
        width: of the frames in pixels, upright.
        height: likewise.
        remarks: what is not as it should be with the file.
        failure: why there is no frame; empty where there are some.
    """

    path: str
    folder: str
    asked: int
    frames: int = 0
    count: int = 0
    width: int | None = None
    height: int | None = None
    remarks: str = ""
    failure: str = ""


def list_videos(
    paths: Sequence[Path], notice: Callable[[Notice], None] = lambda told: None
) -> dict[str, Path]:
    """Videos by the folder that their frames get: their own name, without its ending.

    Below a folder it is their path in it, behind the folder's name.

    Args:
        paths: files, and folders that are searched to any depth.
        notice: called once for each folder in which files are left out.

    Raises:
        InputError: a path is not there, a file is no video by its name, a folder holds none, or
            two videos would share a folder.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for video in list_images([path], notice, images=False, videos=True):
            if not is_video(video):
                raise InputError(f"{video} is no video by its name")
            place = video.stem
            if path.is_dir():
                below = video.relative_to(path).with_suffix("").as_posix()
                place = f"{path.resolve().name}/{below}"
            other = found.setdefault(place, video)
            if other is not video:
                raise InputError(
                    f"{other} and {video} would have their frames in one folder, {place}",
                    "rename one of them",
                )
    return found


def write_frames(videos: dict[str, Path], out: Path, frames: int = FRAMES) -> Iterator[VideoRow]:
    """Write evenly spaced frames of videos, each as ``out/FOLDER/NUMBER.png``.

    A folder is there with all its frames or not at all. Called again, only videos that the list
    lacks are read.

    Args:
        videos: by folder; see `list_videos`.
        out: where the folders and the list go.
        frames: of each video at most; see `Video.frames`.

    Yields:
        A row a video, those of the list first.

    Raises:
        InputError: the list is of other frames, or a folder of frames is there that the list
            doesn't know.
        StoreError: the files can't be written.
    """
    make_folder(out)
    workers = os.cpu_count() or 1
    with RowFile(out / LIST, VideoRow) as rows:
        known = {row.folder: row for row in rows.rows()}
        for row in known.values():
            if row.asked != frames:
                raise InputError(
                    f"{out} holds {row.asked} frames of each video, not {frames}",
                    Name("another folder", "out"),
                )
        yield from (known[folder] for folder in videos if folder in known)
        waiting = iter([(folder, path) for folder, path in videos.items() if folder not in known])
        with ThreadPoolExecutor(workers) as pool:
            coming: deque[Future[VideoRow]] = deque(
                pool.submit(_write, path, out, folder, frames)
                for folder, path in islice(waiting, 2 * workers)
            )
            while coming:
                row = coming.popleft().result()
                coming += [
                    pool.submit(_write, path, out, folder, frames)
                    for folder, path in islice(waiting, 1)
                ]
                rows.add([row])
                yield row


def build_frames_manifest(
    subset: str, out: Path, reals: Sequence[Path], fakes: Sequence[Path]
) -> BuiltManifest:
    """The manifest of frames that were written of labelled folders; each folder is a video.

    Args:
        subset: its name.
        out: where the frames are.
        reals: folders of real videos, as they were given to `list_videos`.
        fakes: of generated ones.

    Raises:
        InputError: of a folder there are no frames.
        ManifestError: see `build_manifest`.
    """
    places = [[out / folder.resolve().name for folder in folders] for folders in (reals, fakes)]
    return build_manifest(subset, *places, rules=FolderRules(video="folder"))


def _write(path: Path, out: Path, folder: str, frames: int) -> VideoRow:
    video, target = Video(path), out / folder
    partial = target.with_name(f"{target.name}{PARTIAL}")
    row = VideoRow(str(path), folder, frames)
    with storage_errors(target):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            for frame in video.frames(frames):
                write_durably(partial / f"{frame.index:03d}.png", frame.png(), owned=True)
                height, width = frame.pixels.shape[:2]
                row = replace(row, frames=row.frames + 1, width=width, height=height)
        except ImageError as error:
            shutil.rmtree(partial, ignore_errors=True)
            return VideoRow(str(path), folder, frames, count=video.count, failure=str(error))
        _take_place(partial, target)
    return replace(row, count=video.count, remarks="; ".join(video.remarks))


def _take_place(partial: Path, target: Path) -> None:
    """Give a folder its name; one that a killed process finished, and did not list, is the same."""
    if target.is_dir():
        if {file.name for file in target.iterdir()} != {file.name for file in partial.iterdir()}:
            shutil.rmtree(partial)
            raise InputError(
                f"{target} holds other files, and {LIST} does not say that they are frames",
                Name("another folder", "out"),
            )
        shutil.rmtree(target)
    partial.rename(target)

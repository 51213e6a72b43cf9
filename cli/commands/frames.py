"""`clare frames`: frames of videos as pictures, and their manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clare.cli.command import AGAIN, when_stopped
from clare.pipeline.video import FRAMES

LABELLED = "Videos with a label: a manifest is written too"


def frames(
    videos: Annotated[
        list[Path] | None, typer.Argument(help="Videos, and folders of them.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder that gets a folder a video, and videos.csv.")
    ] = Path("frames"),
    count: Annotated[
        int, typer.Option("--frames", min=1, help="Of each video at most, evenly spaced.")
    ] = FRAMES,
    real: Annotated[
        list[Path] | None, typer.Option(help="Folder of real videos.", rich_help_panel=LABELLED)
    ] = None,
    fake: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of generated videos.", rich_help_panel=LABELLED),
    ] = None,
    subset: Annotated[
        str, typer.Option(help="Name of the manifest, OUT/NAME.csv.", rich_help_panel=LABELLED)
    ] = "frames",
) -> None:
    """Write evenly spaced frames of videos; run again, it reads only videos that are new.

    Exit code 3: it is done, but some videos gave no frame.
    """
    from clare.advice import Name, Run
    from clare.cli.options import prepare_folder
    from clare.cli.views.console import console, progress_bar, tell_next, warn
    from clare.errors import InputError
    from clare.pipeline.manifests.csv_io import write_manifest
    from clare.pipeline.video.frames import (
        LIST,
        build_frames_manifest,
        list_videos,
        write_frames,
    )
    from clare.pipeline.video.read import require_video
    from clare.wording import counted

    when_stopped(lambda: AGAIN)
    reals, fakes = real or [], fake or []
    places = [*(videos or []), *reals, *fakes]
    if not places:
        raise InputError("there are no videos to take frames of", Name("some", "videos"))
    require_video(places[0])
    found = list_videos(places, warn)
    prepare_folder(out, "out")
    written = failed = 0
    with progress_bar() as bar:
        task = bar.add_task("videos", total=len(found))
        for row in write_frames(found, out, count):
            bar.advance(task)
            written += row.frames
            failed += bool(row.failure)
            if said := row.failure or row.remarks:
                warn(f"{row.path}: {said}")
    told = f"{counted(written, 'frame')} of {counted(len(found) - failed, 'video')}"
    console.print(f"{out}: {told}; {LIST} lists them")
    if reals or fakes:
        built = build_frames_manifest(subset, out, reals, fakes)
        manifest = out / f"{subset}.csv"
        write_manifest(built.manifest, manifest)
        for notice in built.notices():
            warn(notice)
        console.print(f"{manifest}: {counted(len(built.manifest.samples), 'image')}")
        tell_next(Run("extract", settings={"manifest": [manifest], "root": [built.root]}))
    if failed:
        warn(f"exit code 3: {failed} of {len(found)} videos gave no frame")
        raise typer.Exit(3)

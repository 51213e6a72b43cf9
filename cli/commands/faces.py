"""`clare faces`: where the faces are, written into manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clare.cli.command import AGAIN, when_stopped
from clare.cli.options import (
    MANIFESTS,
    FollowLinks,
    Manifests,
    Settings,
    split_names,
    with_settings,
)
from clare.pipeline.faces.settings import FaceSettings


@with_settings
def faces(
    settings: Annotated[dict[str, Any], Settings(FaceSettings, {"detector": "Detector"})],
    subset: Annotated[
        str | None, typer.Option("--subset", "-s", help="Subsets by name, comma-separated.")
    ] = None,
    manifest: Annotated[list[Path] | None, typer.Option(help="A manifest file.")] = None,
    manifests: Manifests = MANIFESTS,
    root: Annotated[
        list[str] | None,
        typer.Option(
            help="DIR or NAME=DIR: where a manifest's paths start. "
            "Else CLARE_ROOT, CLARE_ROOT_NAME."
        ),
    ] = None,
    follow_links: FollowLinks = None,
    all_faces: Annotated[
        bool,
        typer.Option("--all-faces", help="A row for each sure face of an image, with its label."),
    ] = False,
    replace_boxes: Annotated[
        bool,
        typer.Option(
            "--replace-boxes", help="Write over boxes that a manifest has from elsewhere."
        ),
    ] = False,
) -> None:
    """Find the face in every image of a manifest, with its five points; run again, go on.

    Exit code 3: it is done, but some images could not be read.
    """
    from clare.advice import Run
    from clare.cli.views.console import show_progress, tell_next, warn
    from clare.cli.views.faces import show_faces
    from clare.pipeline.faces.faces import faces as find
    from clare.pipeline.manifests.roots import split_option

    when_stopped(lambda: AGAIN)
    with show_progress("loading the detector") as progress:
        reports = find(
            split_names(subset) or (),
            manifest=manifest or (),
            manifests=manifests,
            root=dict(split_option("root", one) for one in root or []),
            follow_links=follow_links,
            all_faces=all_faces,
            replace_boxes=replace_boxes,
            progress=lambda name, done, total: progress(f"{name}: finding faces", done, total),
            **settings,
        )
    show_faces(reports)
    if gone := sum(report.gone for report in reports):
        warn(f"{gone} rows of further faces are gone; --all-faces makes them again")
    if fakes := sum(report.further_fakes for report in reports):
        warn(f"{fakes} rows of further faces are fake as their images are, altered or not")
    if unreadable := sum(report.unreadable for report in reports):
        warn(f"exit code 3: {unreadable} images could not be read")
        raise typer.Exit(3)
    given = {
        "subset": subset,
        "manifest": manifest,
        "manifests": None if manifests == MANIFESTS else manifests,
        "root": root,
        "align": "deepfakebench",
    }
    tell_next(Run("extract", settings={name: one for name, one in given.items() if one}))

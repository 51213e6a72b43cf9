"""`clare manifest`: build the CSV of a subset from folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The list of a subset's images.", no_args_is_help=True)


@app.command()
def build(
    subset: Annotated[str, typer.Option(help="Name of the subset.")],
    out: Annotated[Path, typer.Option(help="The CSV to write (.csv or .csv.gz).")],
    real: Annotated[list[Path] | None, typer.Option(help="Folder of real images.")] = None,
    fake: Annotated[list[Path] | None, typer.Option(help="Folder of generated images.")] = None,
    hash_: Annotated[
        bool, typer.Option("--hash", help="Also record each file's sha256; finds duplicates.")
    ] = False,
) -> None:
    """Build a manifest from folders; the label is the option a folder is given by."""
    from clare.cli.output import console, progress_bar, table
    from clare.pipeline.discovery import build_manifest
    from clare.pipeline.manifest import write_manifest

    with progress_bar() as bar:
        task = bar.add_task("reading headers", total=None)
        built = build_manifest(
            subset,
            real or [],
            fake or [],
            hash=hash_,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    write_manifest(built.manifest, out)
    console.print(table(None, ("split", "real", "fake"), built.counts()))
    for line in built.remarks():
        console.print(line)
    console.print(f"{out}: {len(built.manifest.samples)} images, paths start at {built.root}")

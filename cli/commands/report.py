"""`clare report`: the page that a run, several runs or a sweep end with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of finished runs, or the folder of one sweep or of probes."),
    ],
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("report.html"),
    store: Annotated[
        Path | None,
        typer.Option(help="Where the feature store is now. [default: where it was]"),
    ] = None,
) -> None:
    """Write one self-contained page: answer, figures, images, cost and settings."""
    from clare.cli.command import typed
    from clare.cli.options import prepare_file
    from clare.cli.views.console import console, warn
    from clare.cli.wording import options
    from clare.heads.runs.record import require_run
    from clare.wording import size

    prepare_file(out, "out")
    for run in runs:
        if not run.is_dir():
            require_run(run)
    from clare.heads.report.write import report as write_report  # which brings torch

    page = write_report(runs, out, store, command=typed(), wording=options())
    for warning in page.warnings:
        warn(warning)
    console.print(f"{out}: {size(out.stat().st_size)}")

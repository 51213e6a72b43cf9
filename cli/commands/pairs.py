"""`clare pairs`: fakes made of one's own reals, each lying on its real."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clare.cli.command import AGAIN, when_stopped
from clare.cli.options import (
    MANIFESTS,
    Assignments,
    FollowLinks,
    Manifests,
    Settings,
    parse_assignments,
    with_settings,
)
from clare.pipeline.pairing.settings import PairSettings
from clare.pipeline.pairs import list_kinds


@with_settings
def pairs(
    settings: Annotated[
        dict[str, Any], Settings(PairSettings, {"side": "Pairs", "backbone": "Model"})
    ],
    kind: Annotated[str, typer.Option(help=f"{', '.join(list_kinds())}, or ./FILE.py.")],
    subset: Annotated[
        str | None, typer.Option("--subset", "-s", help="The subset whose reals are taken.")
    ] = None,
    manifest: Annotated[Path | None, typer.Option(help="Its manifest file.")] = None,
    manifests: Manifests = MANIFESTS,
    root: Annotated[
        list[str] | None,
        typer.Option(
            help="DIR or NAME=DIR: where the manifest's paths start. "
            "Else CLARE_ROOT, CLARE_ROOT_NAME."
        ),
    ] = None,
    follow_links: FollowLinks = None,
    out: Annotated[
        Path, typer.Option(help="Folder that gets the pictures, the masks and the manifest.")
    ] = Path("pairs"),
    name: Annotated[
        str | None, typer.Option(help="Of the pairs' subset. [default: SUBSET_KIND]")
    ] = None,
    sd_model: Annotated[
        str | None,
        typer.Option(
            help="Stable Diffusion by name, hub id, local folder or single file.",
            rich_help_panel="Model",
        ),
    ] = None,
    sd_revision: Annotated[
        str | None, typer.Option(help="Of the hub repository.", rich_help_panel="Model")
    ] = None,
    sd_config: Annotated[
        str | None,
        typer.Option(
            help="Of a single file: sd1.5, sd2.1-base, sd2.1, or a folder.",
            rich_help_panel="Model",
        ),
    ] = None,
    assignments: Assignments = None,
) -> None:
    """Make a fake of each real image that lies on it, pixel by pixel; run again, go on.

    Exit code 3: it is done, but some images gave no pair.
    """
    from clare.advice import Run
    from clare.cli.options import prepare_folder
    from clare.cli.views.console import console, show_progress, tell_next, warn
    from clare.pipeline.manifests.roots import split_option
    from clare.pipeline.pairing.pairs import pairs as make
    from clare.plugins import part_name
    from clare.wording import counted, name_rows

    when_stopped(lambda: AGAIN)
    own = parse_assignments(assignments or [])
    places = {"model": sd_model, "revision": sd_revision, "model_config": sd_config}
    if given := {key: value for key, value in places.items() if value is not None}:
        own.setdefault(part_name(kind), {}).update(given)
    if out.exists():
        prepare_folder(out, "out")
    with show_progress("pairs") as progress:
        report = make(
            kind,
            subset,
            out,
            manifest=manifest,
            manifests=manifests,
            root=dict(split_option("root", one) for one in root or []),
            follow_links=follow_links,
            name=name,
            notice=warn,
            progress=progress,
            **settings,
            settings=own,
        )
    before = f", {report.known:,} of them from before" if report.known else ""
    console.print(f"{report.manifest}: {counted(report.pairs, 'pair')}{before}")
    chosen = {"backbone": settings["backbone"]} if "backbone" in settings else {}
    tell_next(Run("extract", settings={"manifest": [report.manifest], "root": [out], **chosen}))
    if report.failures:
        reasons: dict[str, list[str]] = {}
        for sample, reason in report.failures.items():
            reasons.setdefault(reason.partition(":")[0], []).append(f"{sample} ({reason})")
        for some in reasons.values():
            warn(name_rows(some))
        warn(f"exit code 3: {counted(len(report.failures), 'image')} gave no pair")
        raise typer.Exit(3)

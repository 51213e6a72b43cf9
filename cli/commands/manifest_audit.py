"""`clare manifest audit`: what separates real from fake without looking at a pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clare.cli.options import (
    MANIFESTS,
    FollowLinks,
    Json,
    Manifests,
    Resamples,
    Settings,
    with_settings,
)
from clare.pipeline.images.settings import ImageSettings

if TYPE_CHECKING:
    from clare.bootstrap import Figure
    from clare.pipeline.checks.audit_report import Audit


@with_settings
def audit(
    *,
    subset: Annotated[
        str | None, typer.Argument(help="Subsets by name, comma-separated, taken together.")
    ] = None,
    manifest: Annotated[list[Path] | None, typer.Option(help="A manifest file.")] = None,
    manifests: Manifests = MANIFESTS,
    reals: Annotated[
        str | None,
        typer.Option(
            help="Subsets whose images stand beside, comma-separated, or none. [default: the "
            "registry's pools, for a subset of fakes alone]"
        ),
    ] = None,
    root: Annotated[
        list[str] | None,
        typer.Option(help="DIR or NAME=DIR: where a manifest's paths start."),
    ] = None,
    real: Annotated[
        list[Path] | None, typer.Option(help="Folder of real images: no manifest needed.")
    ] = None,
    fake: Annotated[list[str] | None, typer.Option(help="Folder of generated images.")] = None,
    follow_links: FollowLinks = None,
    limit: Annotated[
        int, typer.Option(min=0, help="Images of each label that are decoded; 0 for all.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of the draw and of the bootstrap.")] = 0,
    resamples: Resamples = 1000,
    json_: Json = False,
    images: Annotated[
        dict[str, Any],
        Settings(
            ImageSettings,
            {"resize": "Measure again as prepared"},
            without=("view_seed", "view_recipe"),
        ),
    ],
) -> None:
    """Measure what gives the label away besides the face, and what preparation leaves of it.

    Without --resize, --recode or --crop, the preparation that the shortcuts ask for is measured.
    """
    from clare.advice import Run
    from clare.cli.views.console import progress_bar, tell_next
    from clare.cli.wording import worded
    from clare.pipeline.checks.audit import audit as measure
    from clare.pipeline.datasets.select import select_audited

    asked = {"resize", "recode", "crop", "align"} & set(images)
    settings = ImageSettings(**images) if asked else None
    selected = select_audited(
        subset,
        manifest or [],
        manifests,
        root or [],
        real or [],
        fake or [],
        pools=reals,
        follow_links=follow_links,
    )
    with progress_bar() as bar:
        tasks: dict[str, Any] = {}

        def progress(title: str, done: int, total: int) -> None:
            if title not in tasks:
                tasks[title] = bar.add_task(title, total=total)
            bar.update(tasks[title], completed=done)

        report = measure(
            selected, settings, limit=limit, seed=seed, resamples=resamples, progress=progress
        )
    if json_:
        typer.echo(json.dumps(report.to_json(worded), indent=2))
        return
    _print(report)
    given = {
        "subset": subset,
        "manifest": manifest,
        "manifests": None if manifests == MANIFESTS else manifests,
        "root": root,
        "real": real,
        "fake": fake,
        "resize": report.prepared.resize,
        "recode": report.prepared.recode,
        "crop": None if report.prepared.crop == "none" else report.prepared.crop,
        "align": None if report.prepared.align == "none" else report.prepared.align,
    }
    tell_next(Run("extract", settings={name: one for name, one in given.items() if one}))


def _print(report: Audit) -> None:
    from clare.cli.views.console import console
    from clare.cli.views.table import table
    from clare.cli.wording import worded
    from clare.file_facts import FACTS
    from clare.pipeline.checks.audit_report import describe_preparation

    counts = [
        (
            one.split or "none",
            ("real", "fake")[one.label],
            one.images,
            one.videos or "–",
            one.identities or "–",
        )
        for one in report.counts
    ]
    heads = ("split", "label", "images", "videos", "identities")
    console.print(table(", ".join(report.subsets), heads, counts, left=2))
    prepared = describe_preparation(report.prepared.to_json()) or "no preparation"
    known = {fact.title: one for n, fact in FACTS.items() if (one := report.shortcuts.get(n))}
    paired = any(one.in_pairs is not None for one in known.values())
    facts = [
        (title, _cell(one.before), _cell(one.after), *([_cell(one.in_pairs)] if paired else []))
        for title, one in known.items()
    ]
    columns = ("", "as it is", prepared, *(["above its own real"] if paired else []))
    console.print(table("\nAUC of one fact alone, 95 % interval", columns, facts))
    if paired:
        told = "above its own real: the share of fakes that lie on a real and have more than it"
        console.print(told, style="dim")
    console.print(
        f"Laplacian energy and bytes of prepared pictures: of {report.decoded} of "
        f"{report.images} images, squashed to {report.side} pixels",
        style="dim",
    )
    console.print()
    for notice in report.notices:
        console.print(f"- {worded(notice)}")


def _cell(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "–"
    if figure.low is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f}  {figure.low:.2f}–{figure.high:.2f}"

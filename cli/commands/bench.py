"""`clare bench`: what an extraction will cost on this machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from clare.cli.extract_options import (
    CLIP,
    LARE,
    SETTINGS,
    TOWER,
    Fake,
    ManifestFiles,
    ManifestsFolder,
    Masks,
    Protocol,
    Real,
    Reals,
    Root,
    Subset,
    read_settings,
)
from clare.cli.options import (
    MANIFESTS,
    Assignments,
    FollowLinks,
    Json,
    MaskFakeOption,
    with_settings,
)

TRIAL = "Trial"


@with_settings
def bench(
    settings: Annotated[dict[str, Any], replace(SETTINGS, without=("max_failures", "strict"))],
    lare: Annotated[dict[str, Any], LARE],
    clip: Annotated[dict[str, Any], CLIP],
    tower: Annotated[dict[str, Any], TOWER],
    images: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images to say the cost of. [default: those that are named, or 10,000]",
            rich_help_panel=TRIAL,
        ),
    ] = None,
    size: Annotated[
        int,
        typer.Option(
            min=16,
            help="Side of the pictures that are drawn where no images are named, in pixels.",
            rich_help_panel=TRIAL,
        ),
    ] = 1024,
    seconds: Annotated[
        float,
        typer.Option(
            min=0.1,
            help="About how long it takes, beside loading the models; slow models take longer.",
            rich_help_panel=TRIAL,
        ),
    ] = 30.0,
    scratch: Annotated[
        Path | None,
        typer.Option(
            help="Folder for its files, which are gone at the end. [default: the store's]",
            rich_help_panel=TRIAL,
        ),
    ] = None,
    subset: Subset = None,
    protocol: Protocol = None,
    manifest: ManifestFiles = None,
    manifests: ManifestsFolder = MANIFESTS,
    root: Root = None,
    real: Real = None,
    fake: Fake = None,
    masks: Masks = None,
    mask_fake: MaskFakeOption = None,
    reals: Reals = None,
    follow_links: FollowLinks = None,
    set_: Assignments = None,
    json_: Json = False,
) -> None:
    """Measure what an extraction will cost here: rates, bottleneck, memory, time and disk.

    It takes the options of `clare extract`, and leaves the store alone.
    """
    from clare.pipeline.extraction.source import Source

    source = Source(
        subset=subset,
        protocol=protocol,
        manifest=manifest or [],
        manifests=manifests,
        root=root or [],
        real=real or [],
        fake=fake or [],
        masks=masks or [],
        mask_fake=mask_fake,
        reals=reals,
        follow_links=follow_links,
    )
    how = read_settings(settings, lare, clip, tower, set_)

    # Not before all settings are checked: they bring torch.
    from clare.cli.views.bench import BenchView, cost_json, print_cost
    from clare.pipeline.extraction.bench import run_bench

    with BenchView() as view:
        cost = run_bench(
            how,
            None if source.is_empty else source.select(view),
            images=images,
            size=size,
            seconds=seconds,
            scratch=scratch,
            observer=view,
        )
    if json_:
        typer.echo(json.dumps(cost_json(cost), indent=2))
    else:
        print_cost(cost)

"""`clare extract`: stage one on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clare.cli.command import AGAIN, typed, when_stopped
from clare.cli.extract_options import (
    CLIP,
    DATA,
    LARE,
    SETTINGS,
    TOWER,
    Fake,
    Masks,
    Real,
    Split,
)
from clare.cli.options import (
    MANIFESTS,
    STORE,
    Assignments,
    FollowLinks,
    Identities,
    MaskFakeOption,
    Video,
    folder_rules,
    parse_assignments,
    split_names,
    with_settings,
)
from clare.pipeline.extraction.presets import merge_settings


@with_settings
def extract(
    settings: Annotated[dict[str, Any], SETTINGS],
    lare: Annotated[dict[str, Any], LARE],
    clip: Annotated[dict[str, Any], CLIP],
    tower: Annotated[dict[str, Any], TOWER],
    subset: Annotated[
        str | None,
        typer.Option(
            "--subset", "-s", help="Subsets by name, comma-separated.", rich_help_panel=DATA
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="All that a protocol trains and tests on, NAME or NAME/KEY; "
            "`clare manifest protocols` lists them.",
            rich_help_panel=DATA,
        ),
    ] = None,
    manifest: Annotated[
        list[Path] | None, typer.Option(help="A manifest file.", rich_help_panel=DATA)
    ] = None,
    manifests: Annotated[
        Path,
        typer.Option(
            envvar="CLARE_MANIFESTS",
            help="Folder that holds NAME.csv for --subset NAME.",
            rich_help_panel=DATA,
        ),
    ] = MANIFESTS,
    root: Annotated[
        list[str] | None,
        typer.Option(
            help="DIR or NAME=DIR: where a manifest's paths start. "
            "Else CLARE_ROOT, CLARE_ROOT_NAME.",
            rich_help_panel=DATA,
        ),
    ] = None,
    real: Real = None,
    fake: Fake = None,
    masks: Masks = None,
    mask_fake: MaskFakeOption = None,
    reals: Annotated[
        str | None,
        typer.Option(
            help="Subsets of reals to extract beside a --subset of fakes alone, comma-separated, "
            "or none. [default: the registry's pools for its domains]",
            rich_help_panel=DATA,
        ),
    ] = None,
    follow_links: FollowLinks = None,
    video: Video = None,
    identities: Identities = False,
    split: Split = None,
    test_only: Annotated[
        str | None,
        typer.Option(
            help="Subsets of --fake NAME=DIR that are for tests alone, all their images, "
            "comma-separated.",
            rich_help_panel=DATA,
        ),
    ] = None,
    set_: Assignments = None,
) -> None:
    """Extract features, each image once; run again, it does only what is missing.

    Exit code 3: it is done, but more images failed than --max-failures allows.
    """
    from clare.advice import Run
    from clare.pipeline.extraction.job import run_job
    from clare.pipeline.extraction.settings import build_extraction
    from clare.pipeline.extraction.source import Source
    from clare.plugins import trust_named

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
        rules=folder_rules(video, identities, split),
        test_only=split_names(test_only) or (),
    )
    own = merge_settings(
        {"lare": lare, "clip": clip, "tower": tower}, parse_assignments(set_ or [])
    )
    named = {name: values for name, values in own.items() if values}
    job = build_extraction({**settings, "settings": named})
    trust_named([*job.features, job.images.view_recipe])

    # Not before all settings are checked: they bring torch.
    from clare.cli.views.console import tell_next, warn
    from clare.cli.views.progress import ExtractView

    when_stopped(lambda: AGAIN)
    with ExtractView() as view:
        selection = source.select(view)
        report = run_job(job, selection, view, typed())
    view.finished(report)
    if report.too_many_failed:
        failed = f"{len(report.failures)} of {report.rows} rows failed"
        warn(f"exit code 3: {failed}, more than --max-failures {job.max_failures} allows")
        raise typer.Exit(3)
    samples = (sample for manifest, _ in selection for sample in manifest.samples)
    if any(sample.label and sample.split == "train" for sample in samples):
        store = {} if job.store == STORE else {"store": job.store}
        tests = {} if protocol is None else {"protocol": protocol}
        tell_next(Run("train_head", settings={**store, **tests}))

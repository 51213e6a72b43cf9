"""`clare extract`: stage one on the command line."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clare.cli.command import AGAIN, typed, when_stopped
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
    Split,
    Subset,
    TestOnly,
    read_settings,
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
    split_names,
    with_settings,
)


@with_settings
def extract(
    settings: Annotated[dict[str, Any], SETTINGS],
    lare: Annotated[dict[str, Any], LARE],
    clip: Annotated[dict[str, Any], CLIP],
    tower: Annotated[dict[str, Any], TOWER],
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
    video: Video = None,
    identities: Identities = False,
    split: Split = None,
    test_only: TestOnly = None,
    set_: Assignments = None,
) -> None:
    """Extract features, each image once; run again, it does only what is missing.

    Exit code 3: it is done, but more images failed than --max-failures allows.
    """
    from clare.advice import Run
    from clare.pipeline.extraction.job import run_job
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
        rules=folder_rules(video, identities, split),
        test_only=split_names(test_only) or (),
    )
    job = read_settings(settings, lare, clip, tower, set_)

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

"""`clare extract`: stage one on the command line."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clare.cli.command import AGAIN, typed, when_stopped
from clare.cli.extract_options import EXTRACTION, IMAGES
from clare.cli.options import STORE, Cluster, with_settings
from clare.pipeline.extraction.settings import ExtractSettings


@with_settings
def extract(
    job: Annotated[ExtractSettings, EXTRACTION],
    source: Annotated[Any, IMAGES],
    cluster: Cluster = None,
) -> None:
    """Extract features, each image once; run again, it does only what is missing.

    Exit code 3: it is done, but more images failed than --max-failures allows; 75: a scheduler
    stopped it (SIGTERM, or SIGUSR1 as a warning), and work remains.
    """
    when_stopped(lambda: AGAIN)
    from clare.advice import Run

    if cluster is not None:
        from clare.cluster.connect import require_cluster

        require_cluster(cluster)

    # Not before all settings are checked: they bring torch.
    from clare.cli.views.console import tell_next, warn
    from clare.cli.views.progress import ExtractView
    from clare.pipeline.cluster.job import run_cluster_job
    from clare.pipeline.extraction.job import run_job

    with ExtractView() as view:
        selection = source.select(view)
        if cluster is None:
            report = run_job(job, selection, view, typed())
        else:
            report = run_cluster_job(job, selection, cluster, view, typed())
    view.finished(report)
    if report.too_many_failed:
        failed = f"{len(report.failures)} of {report.rows} rows failed"
        warn(f"exit code 3: {failed}, more than --max-failures {job.max_failures} allows")
        raise typer.Exit(3)
    if report.left:  # what other tasks have is not yet there to train on
        return
    samples = (sample for manifest, _ in selection for sample in manifest.samples)
    if any(sample.label and sample.split == "train" for sample in samples):
        store = {} if job.store == STORE else {"store": job.store}
        tests = {} if source.protocol is None else {"protocol": source.protocol}
        tell_next(Run("train_head", settings={**store, **tests}))

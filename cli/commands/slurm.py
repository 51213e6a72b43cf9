"""`clare slurm`: job scripts, which their user reads and submits."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from clare.advice import Name
from clare.cli.command import Command, running, subgroup, typed
from clare.cli.extract_options import EXTRACTION, IMAGES
from clare.cli.head_options import HEAD, Head
from clare.cli.job_script import JobSettings, job_script, own_words
from clare.cli.options import Settings, with_settings
from clare.cli.sweep_options import SWEEP, Sweep
from clare.errors import InputError
from clare.pipeline.extraction.settings import ExtractSettings
from clare.settings import build_settings

app = subgroup("Job scripts for SLURM: printed, never submitted.")

JOB = Settings(JobSettings, {"array": "Job"}, extra={"job_name": {"default": "clare-COMMAND"}})
_PLAIN_FOLDERS = ("real", "fake")


@app.command(cls=Command)
@with_settings
def extract(
    job: Annotated[dict[str, Any], JOB],
    how: Annotated[ExtractSettings, EXTRACTION],
    source: Annotated[Any, IMAGES],
) -> None:
    """Print a job script that extracts features; its tasks share the work, and go on after a limit.

    All options of `clare extract` are checked here, and not on a node hours later.
    """
    from clare.cli.views.console import warn
    from clare.pipeline.extraction.plan import Observer

    if not any(getattr(source, name) for name in _PLAIN_FOLDERS):  # whose images nobody waits for
        source.select(Observer())
    if how.device != "auto":
        warn(f"every task takes {how.device}: without --device each takes the GPU that it is given")
    _print(job)


@app.command(cls=Command)
@with_settings
def sweep(
    job: Annotated[dict[str, Any], JOB],
    found: Annotated[Sweep, SWEEP],
) -> None:
    """Print a job script that trains a sweep; its tasks share the runs, and go on after a limit.

    All options of `clare sweep` are checked here. A task that finds all that is left with others
    ends; the last one writes the whole tables.
    """
    _print(job)


@app.command("train-head", cls=Command)
@with_settings
def train_head(
    job: Annotated[dict[str, Any], replace(JOB, without=("array",))],
    asked: Annotated[Head, HEAD],
) -> None:
    """Print a job script that trains a head, and goes on after a limit.

    All options of `clare train-head` are checked here; the run's folder has to be named.
    """
    if asked.out is None and asked.resume is None:
        raise InputError(
            "a job that is queued again has to know its run's folder", Name("it", "out", "runs/esa")
        )
    _print(job)


def _print(given: dict[str, Any]) -> None:
    from clare.store.bucket.places import require_plain_words

    settings = build_settings("job", JobSettings, given)
    names = {one.name for _, one in JOB.parameters()}
    context = running()
    assert context is not None
    own = [form for one in context.command.params if one.name in names for form in one.opts]
    words = own_words(typed(), own)
    words.remove("slurm")
    known = {
        name: value
        for name, value in os.environ.items()
        if name in ("CLARE_STORE", "CLARE_ROOT", "CLARE_MANIFESTS")
        or name.startswith("CLARE_ROOT_")
    }
    require_plain_words((*words, *known.values()))  # a key would stand in the script
    typer.echo(job_script(settings, words, Path.cwd(), known, typed()), nl=False)

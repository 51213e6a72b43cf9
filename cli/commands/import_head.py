"""`clare import-head`: published weights as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clare.cli import train_options as options
from clare.cli.options import STORE
from clare.heads.checkpoints import list_checkpoints

MODELS = "Models, where no store has their features yet"


def import_head(
    file: Annotated[Path, typer.Argument(help="The published checkpoint.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    format_: Annotated[
        str | None,
        typer.Option(
            "--as",
            help=f"{', '.join(list_checkpoints())}, or ./FILE.py. [default: known by its tensors]",
        ),
    ] = None,
    store: options.Store = STORE,
    features: options.Features = None,
    as_prepared: Annotated[
        bool,
        typer.Option(
            "--as-prepared",
            help="Take features of images that were prepared otherwise than published; every test "
            "says so.",
        ),
    ] = False,
    clip_model: Annotated[
        str | None,
        typer.Option(help="A name of open_clip or a local folder.", rich_help_panel=MODELS),
    ] = None,
    clip_weights: Annotated[
        str | None, typer.Option(help="A tag or a local file.", rich_help_panel=MODELS)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="EXTRACTOR.SETTING=VALUE.", rich_help_panel=MODELS),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
) -> None:
    """Make a run of published weights: tested, compared and judging as any other."""
    from clare.cli.command import typed
    from clare.cli.options import parse_assignments, parse_digests
    from clare.cli.views.imported import print_imported
    from clare.inference.import_head import import_head as make
    from clare.pipeline.extraction.presets import merge_settings
    from clare.plugins import trust_named

    trust_named([format_])
    models = {
        name: value
        for name, value in {"model": clip_model, "weights": clip_weights}.items()
        if value is not None
    }
    settings = merge_settings({"clip": models} if models else {}, parse_assignments(set_ or []))
    run = make(
        file,
        out,
        format_,
        store=store,
        features=parse_digests(features) if features else {},
        settings=settings,
        as_prepared=as_prepared,
        device=device,
        command=typed(),
    )
    print_imported(run)

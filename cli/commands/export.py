"""`clare export`: a finished run for other people's code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from clare.cli.options import ClipModel, ClipWeights, ModelSettings


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="The file, or the folder, that is made.")],
    to: Annotated[
        Literal["onnx", "torchscript", "pt2", "safetensors", "folder"] | None,
        typer.Option(
            help="onnx, torchscript (.pt) and pt2 run by themselves; safetensors is weights alone; "
            "folder is for a model hub, with a model card. [default: what the ending of --out says]"
        ),
    ] = None,
    head_only: Annotated[
        bool,
        typer.Option("--head-only", help="The head alone, from features: of LaRE it is all."),
    ] = False,
    store: Annotated[
        Path | None,
        typer.Option(
            help="With --head-only: where the text tower is. [default: the run's own store]"
        ),
    ] = None,
    clip_model: ClipModel = None,
    clip_weights: ClipWeights = None,
    set_: ModelSettings = None,
) -> None:
    """Write a run as ONNX, TorchScript, torch.export, safetensors or a folder for a model hub.

    The finished file is compared with the run on random inputs before it takes its name.
    """
    from clare.cli.options import parse_assignments
    from clare.cli.views.console import show_progress
    from clare.cli.views.exports import show_export
    from clare.exports.kinds import choose_kind
    from clare.heads.runs.record import require_run
    from clare.pipeline.extraction.presets import merge_settings

    require_run(run)
    choose_kind(to, out)
    from clare.exports.export import export as write_export

    overrides = {"clip": {"model": clip_model, "weights": clip_weights}}
    settings = merge_settings(overrides, parse_assignments(set_ or []))
    with show_progress("exporting"):
        made = write_export(run, out, to=to, head_only=head_only, store=store, settings=settings)
    show_export(made)

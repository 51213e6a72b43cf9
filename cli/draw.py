"""`clare draw`: toy pictures to try the pipeline with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def draw(
    folder: Annotated[Path, typer.Argument(help="Folder that gets real/ and fake/.")],
    count: Annotated[int, typer.Option(min=2, help="Pictures in all, half of each kind.")] = 64,
    seed: Annotated[int, typer.Option(help="Other seeds give other pictures.")] = 0,
) -> None:
    """Draw toy faces, so that the pipeline can be tried without a dataset."""
    from clare.pipeline.drawing import draw_faces

    draw_faces(folder / "real", count - count // 2, seed=seed, kind="real")
    draw_faces(folder / "fake", count // 2, seed=seed, kind="fake")
    typer.echo(f"{count} toy pictures in {folder}/real and {folder}/fake")

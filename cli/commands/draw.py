"""`clare draw`: pictures to try the pipeline with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def draw(
    folder: Annotated[Path, typer.Argument(help="Folder that gets the pictures.")],
    count: Annotated[
        int, typer.Option(min=2, help="Toy pictures in all; with --mini, pictures of each kind.")
    ] = 64,
    seed: Annotated[int, typer.Option(help="Other seeds give other pictures.")] = 0,
    mini: Annotated[
        bool,
        typer.Option(
            "--mini",
            help="The miniature: people, fakes by models of its own, manifests (DIR/manifests).",
        ),
    ] = False,
    kinds: Annotated[
        str | None, typer.Option(help="With --mini: kinds of fakes, comma-separated.")
    ] = None,
    marks: Annotated[
        bool,
        typer.Option(
            "--marks",
            help="With --mini: the manifests say where faces are, as `clare pairs` needs it.",
        ),
    ] = False,
) -> None:
    """Draw faces, so that the pipeline can be tried without a dataset."""
    from clare.advice import LeaveOut, Run, Set
    from clare.cli.views.console import tell_next
    from clare.errors import InputError

    if mini:
        _draw_miniature(folder, count, seed, kinds, marks)
        return
    if kinds is not None:
        raise InputError(
            "kinds are of the miniature's fakes", Set("mini", True, "draws it"), LeaveOut("kinds")
        )
    if marks:
        raise InputError(
            "marks are of the miniature's faces", Set("mini", True, "draws it"), LeaveOut("marks")
        )
    from clare.pipeline.synthetic.toys import draw_faces

    draw_faces(folder / "real", count - count // 2, seed=seed, kind="real")
    draw_faces(folder / "fake", count // 2, seed=seed, kind="fake")
    typer.echo(f"{count} toy pictures in {folder}/real and {folder}/fake")
    places = {"real": [folder / "real"], "fake": [folder / "fake"]}
    tell_next(Run("extract", settings={**places, "backbone": "tiny"}))


def _draw_miniature(folder: Path, count: int, seed: int, kinds: str | None, marks: bool) -> None:
    from clare.advice import Run
    from clare.cli.options import split_names
    from clare.cli.views.console import tell_next
    from clare.pipeline.synthetic.dataset import REALS, write_miniature
    from clare.pipeline.synthetic.fakes import KINDS

    names = KINDS if kinds is None else tuple(split_names(kinds) or ())
    write_miniature(
        folder,
        count,
        names,
        seed,
        progress=lambda name, done: typer.echo(f"{done} pictures in {folder / name}"),
        marks=marks,
    )
    manifests = folder / "manifests"
    typer.echo(f"manifests in {manifests}")
    chosen = {"subset": ",".join((REALS, *names)), "manifests": manifests, "root": [folder]}
    tell_next(Run("extract", settings={**chosen, "backbone": "mini"}))

"""`clare models`: the published weights that are known."""

from __future__ import annotations

import json

import typer

from clare.cli.options import Json


def models(json_: Json = False) -> None:
    """What published weights can be imported: source, licence, what they read."""
    from dataclasses import asdict

    from clare.cli.views.console import console
    from clare.cli.views.table import table
    from clare.heads.checkpoints import list_checkpoints
    from clare.heads.importing import find_format

    known = {name: find_format(name).about for name in list_checkpoints()}
    if json_:
        typer.echo(json.dumps({name: asdict(about) for name, about in known.items()}, indent=2))
        return
    columns = ("--as", "weights", "licence", "reads")
    rows = [(name, about.title, about.licence, about.needs) for name, about in known.items()]
    console.print(table("published weights", columns, rows))
    for name, about in known.items():
        told = f"{name}: {about.weights} ({about.url}); trained on {about.trained_on}"
        console.print(told + (f"; {about.figure}" if about.figure else ""))

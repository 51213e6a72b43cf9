"""`clare models`: the published weights that are known, of heads and of image towers."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from clare.cli.options import Json


def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Heads (as of --as) and towers of open_clip or timm. [default: all]"),
    ] = None,
    json_: Json = False,
) -> None:
    """Published heads that can be imported; what image towers cost and have seen."""
    from dataclasses import asdict

    from clare.cli.views.console import console
    from clare.cli.views.models import print_heads, print_towers
    from clare.heads.checkpoints import list_checkpoints
    from clare.heads.importing import find_format
    from clare.models.known import listed_models
    from clare.models.tower_facts import tower_facts

    heads = [name for name in list_checkpoints() if not names or name in names]
    known = {name: find_format(name).about for name in heads}
    others = [name for name in names or () if name not in known]
    with console.status("counting what towers cost"):
        towers = tower_facts(listed_models(others) if others or not names else [])
    if json_:
        found = {name: asdict(about) for name, about in known.items()}
        plain = {name: asdict(facts) for name, facts in towers.items()}
        typer.echo(json.dumps({**found, **({"towers": plain} if plain else {})}, indent=2))
        return
    print_heads(known)
    print_towers(towers)

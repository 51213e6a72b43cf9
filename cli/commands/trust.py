"""`clare trust`: code outside of the package that may be used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def trust(
    file: Annotated[Path, typer.Argument(help="A part's Python file, which you have read.")],
) -> None:
    """Let runs and stores that name a file as their part use its code."""
    from clare import plugins
    from clare.cli.views.console import console

    console.print(f"{plugins.trust(file)}: runs and stores that name it may use it as it is now")

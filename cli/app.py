"""The `clare` command: its sub-commands, and the one place where errors become sentences."""

from __future__ import annotations

import sys

import typer

from clare.cli import defaults as config
from clare.cli.commands import (
    compare,
    draw,
    evaluate,
    extract,
    manifest,
    predict,
    report,
    score,
    store,
    sweep,
    train_head,
)
from clare.errors import ClareError

EXIT_ERROR = 1

app = typer.Typer(
    name="clare",
    help="Detect generated faces: extract LaRE and CLIP features once, train heads many times.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # Rich's own takes "[default: 4]" for a style and drops it
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("extract")(extract.extract)
app.command("train-head")(train_head.train_head)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("sweep")(sweep.sweep)
app.command("report")(report.report)
app.command("score")(score.score)
app.command("compare")(compare.compare)
app.add_typer(manifest.app, name="manifest")
app.add_typer(store.app, name="store")
app.command("draw")(draw.draw)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from clare import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; a user's error is one sentence, a bug keeps its traceback."""
    try:
        config.load_defaults()
        app()
    except ClareError as error:
        print(f"clare: {error}", file=sys.stderr)
        sys.exit(EXIT_ERROR)

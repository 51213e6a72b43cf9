"""The `clare` command: its sub-commands, and the one place where errors become sentences."""

from __future__ import annotations

import sys

import typer

from clare.cli.command import lazy_group
from clare.cli.defaults import load_defaults
from clare.cli.wording import worded
from clare.errors import ClareError

EXIT_ERROR = 1

app = lazy_group(
    {
        "extract": "Extract features, each image once; run again, it does only what is missing.",
        "train-head": "Train a head on a store's features; checkpoint and threshold come from "
        "validation.",
        "evaluate": "Test runs on rows that they have never seen, at the threshold from "
        "validation.",
        "predict": "Judge images with a run: extract their features as it was trained, and score "
        "them.",
        "sweep": "Train every combination; run again, it does only what is missing.",
        "report": "Write one self-contained page: answer, figures, images, cost and settings.",
        "score": "Measure any detector's scores, as `clare evaluate` measures a run's.",
        "compare": "Compare two detectors on the rows that both have scored, with paired "
        "intervals.",
        "manifest": "The lists of the subsets' images.",
        "store": "The feature store.",
        "trust": "Let runs and stores that name a file as their part use its code.",
        "draw": "Draw faces, so that the pipeline can be tried without a dataset.",
    },
    name="clare",
    help="Detect generated faces: extract LaRE and CLIP features once, train heads many times.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from clare.version import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; a user's error is one sentence, a bug keeps its traceback."""
    try:
        load_defaults()
        app()
    except ClareError as error:
        print(f"clare: {worded(error)}", file=sys.stderr)
        sys.exit(EXIT_ERROR)

"""`clare score`: the figures of any detector's scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def score(
    file: Annotated[Path, typer.Argument(help="A CSV with a column of labels and one of scores.")],
    label: Annotated[str, typer.Option(help="Column: 0 or real, 1 or fake.")] = "label",
    score: Annotated[
        str, typer.Option(help="Column: probability of fake, or any number that rises with it.")
    ] = "score",
    subset: Annotated[str, typer.Option(help="Column, if there.")] = "subset",
    video: Annotated[str, typer.Option(help="Column, if there.")] = "video",
    reals: Annotated[
        str | None,
        typer.Option(
            help="Subsets whose reals stand beside fakes that have none, comma-separated. "
            "[default: all subsets of reals alone]"
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="From which on a row is called fake. [default: even odds]"),
    ] = None,
    resamples: Annotated[
        int, typer.Option(min=0, help="Of the bootstrap behind each interval.")
    ] = 1000,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure any detector's scores, as `clare evaluate` measures a run's."""
    from clare.cli.figures import print_report
    from clare.cli.lists import split_names
    from clare.heads.predictions import read_predictions
    from clare.heads.report import measure_subsets

    predictions = read_predictions(file, label=label, score=score, subset=subset, video=video)
    report = measure_subsets(
        predictions,
        predictions.even if threshold is None else threshold,
        reals=split_names(reals),
        resamples=resamples,
    )
    if json_:
        typer.echo(json.dumps(report, indent=2))
    else:
        print_report(report)

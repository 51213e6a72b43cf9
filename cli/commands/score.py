"""`clare score`: the figures of any detector's scores."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from clare.cli.options import (
    FakeLabel,
    Json,
    LabelColumn,
    RealLabel,
    Reals,
    Resamples,
    ScoreColumn,
    SubsetColumn,
    split_names,
)
from clare.heads.metrics.score_csv import Scale


def score(
    file: Annotated[Path, typer.Argument(help="A CSV with a column of labels and one of scores.")],
    label: LabelColumn = None,
    score: ScoreColumn = None,
    read_as: Annotated[
        Scale | None,
        typer.Option(
            help="What the scores are: probability, margin (a logit: fake above 0) or number "
            "(they rank alone). [default: probability if all lie in 0 to 1, else number; "
            "margin in a column of this name]"
        ),
    ] = None,
    subset: SubsetColumn = None,
    video: Annotated[
        str | None, typer.Option(help="Column of videos. [default: a customary name, if there]")
    ] = None,
    real_label: RealLabel = None,
    fake_label: FakeLabel = None,
    reals: Reals = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Value of the score's column from which on a row is called fake. "
            "[default: even odds; none for numbers]"
        ),
    ] = None,
    resamples: Resamples = 1000,
    json_: Json = False,
) -> None:
    """Measure any detector's scores, as `clare evaluate` measures a run's."""
    from clare.bootstrap import Resampling
    from clare.cli.views.console import console, show_progress
    from clare.cli.views.figures import print_aside, print_report, print_scores
    from clare.cli.wording import worded
    from clare.errors import InputError
    from clare.heads.evaluation.compare import read_aside
    from clare.heads.metrics.by_subset import measure_subsets, turned_round
    from clare.heads.metrics.predictions import read_predictions
    from clare.heads.metrics.score_csv import ScoreColumns
    from clare.labels import Labels
    from clare.typed_json import to_json

    if threshold is not None and not math.isfinite(threshold):
        raise InputError(f"the threshold can't be {threshold}: it is a value of the scores")
    labels = Labels(tuple(split_names(real_label) or ()), tuple(split_names(fake_label) or ()))
    aside = read_aside(file)
    with show_progress("reading") as show:
        # Names of samples are not needed, and those of a million rows fill much memory.
        columns = ScoreColumns(label, score, subset, video)
        predictions = read_predictions(file, columns, names=False, read_as=read_as, labels=labels)
        report = measure_subsets(
            predictions,
            predictions.even if threshold is None else threshold,
            Resampling(resamples),
            reals=split_names(reals),
            aside=aside,
            progress=show,
        )
    if json_:
        scores = {"columns": dict(predictions.columns), "read_as": predictions.scale}
        typer.echo(json.dumps({"scores": scores, **to_json(report)}, indent=2))
    else:
        print_report(report)
        print_aside(report)
        print_scores(predictions)
        for notice in turned_round(report):
            console.print(worded(notice), style="yellow")

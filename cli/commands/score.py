"""`clare score`: the figures of any detector's scores."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from clare.cli.options import FakeLabel, Json, RealLabel, Reals, Resamples, split_names
from clare.heads.metrics.predictions import Scale


def score(
    file: Annotated[Path, typer.Argument(help="A CSV with a column of labels and one of scores.")],
    label: Annotated[str, typer.Option(help="Column: 0 or 1, or words: real, fake.")] = "label",
    score: Annotated[
        str | None,
        typer.Option(
            help="Column: probability of fake, or any number that rises with it. "
            "[default: margin if there, else score]"
        ),
    ] = None,
    read_as: Annotated[
        Scale | None,
        typer.Option(
            help="What the scores are: probability, margin (a logit: fake above 0) or number "
            "(they rank alone). [default: probability if all lie in 0 to 1, else number; "
            "margin in a column of this name]"
        ),
    ] = None,
    subset: Annotated[str, typer.Option(help="Column, if there.")] = "subset",
    video: Annotated[str, typer.Option(help="Column, if there.")] = "video",
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
    from clare.cli.views.console import show_progress
    from clare.cli.views.figures import print_aside, print_report, print_scores
    from clare.errors import InputError
    from clare.heads.evaluation.compare import read_aside
    from clare.heads.metrics.by_subset import measure_subsets
    from clare.heads.metrics.predictions import read_predictions
    from clare.labels import Labels
    from clare.typed_json import to_json

    if threshold is not None and not math.isfinite(threshold):
        raise InputError(f"the threshold can't be {threshold}: it is a value of the scores")
    labels = Labels(tuple(split_names(real_label) or ()), tuple(split_names(fake_label) or ()))
    aside = read_aside(file)
    with show_progress("reading") as show:
        # Names of samples are not needed, and those of a million rows fill much memory.
        predictions = read_predictions(
            file,
            label=label,
            score=score,
            subset=subset,
            video=video,
            sample=None,
            read_as=read_as,
            labels=labels,
        )
        report = measure_subsets(
            predictions,
            predictions.even if threshold is None else threshold,
            Resampling(resamples),
            reals=split_names(reals),
            aside=aside,
            progress=show,
        )
    if json_:
        scores = {"column": predictions.column, "read_as": predictions.scale}
        typer.echo(json.dumps({"scores": scores, **to_json(report)}, indent=2))
    else:
        print_report(report)
        print_aside(report)
        print_scores(predictions)

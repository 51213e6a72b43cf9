"""`clare compare`: two detectors on the same test rows."""

from __future__ import annotations

import json
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


def compare(
    first: Annotated[Path, typer.Argument(help="A run that was evaluated, or a CSV of scores.")],
    second: Annotated[Path, typer.Argument(help="The other one.")],
    label: LabelColumn = None,
    score: ScoreColumn = None,
    id_: Annotated[
        str | None,
        typer.Option("--id", help="Column of the images' names. [default: a customary name]"),
    ] = None,
    subset: SubsetColumn = None,
    real_label: RealLabel = None,
    fake_label: FakeLabel = None,
    reals: Reals = None,
    resamples: Resamples = 1000,
    json_: Json = False,
) -> None:
    """Compare two detectors on the rows that both have scored, with paired intervals."""
    from clare.heads.evaluation.compare import compare as compare_detectors
    from clare.typed_json import to_json

    report = compare_detectors(
        first,
        second,
        label=label,
        score=score,
        id=id_,
        subset=subset,
        real_label=split_names(real_label) or (),
        fake_label=split_names(fake_label) or (),
        reals=split_names(reals),
        resamples=resamples,
    )
    if json_:
        typer.echo(json.dumps(to_json(report), indent=2))
    else:
        from clare.cli.views.comparison import print_comparison  # which brings torch

        names = (first.name, second.name)
        if names[0] == names[1]:
            names = (str(first), str(second))
        print_comparison(report, names)

"""Options that mean the same in `clare train-head` and `clare sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clare.cli.part_names import preset_names

HEAD, DATA, LEARNING, RUN = "Head", "Data", "Learning", "Run"

Preset = Annotated[
    str | None,
    typer.Option(help=f"{preset_names()}. [default: clare]", rich_help_panel=HEAD),
]
Config = Annotated[
    Path | None,
    typer.Option(help="YAML of the presets' form, or a run's config.json.", rich_help_panel=HEAD),
]
Query = Annotated[
    str | None,
    typer.Option(help="Of cross_attn: all, or mean as published.", rich_help_panel=HEAD),
]
Tokens = Annotated[
    str | None,
    typer.Option(help="Field of the tokens, as clip_tokens_20.", rich_help_panel=HEAD),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="PART.SETTING=VALUE: any setting of fusion, classifier or train.",
        rich_help_panel=HEAD,
    ),
]
Train = Annotated[
    str | None,
    typer.Option(
        help="Subsets to train on, comma-separated. [default: all of the store]",
        rich_help_panel=DATA,
    ),
]
Reals = Annotated[
    str | None,
    typer.Option(help="Subsets whose real rows join, comma-separated.", rich_help_panel=DATA),
]
Store = Annotated[
    Path, typer.Option(envvar="CLARE_STORE", help="The feature store.", rich_help_panel=DATA)
]
Features = Annotated[
    str | None,
    typer.Option(
        help="EXTRACTOR=FINGERPRINT, comma-separated, where the store has several.",
        rich_help_panel=DATA,
    ),
]
ShuffleLabels = Annotated[
    bool,
    typer.Option(
        "--shuffle-labels", help="The control: has to find nothing.", rich_help_panel=DATA
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the rows.", rich_help_panel=LEARNING)]
Batch = Annotated[int | None, typer.Option(help="Rows a step.", rich_help_panel=LEARNING)]
Evaluate = Annotated[
    str | None,
    typer.Option(help="Subsets to test on afterwards, comma-separated.", rich_help_panel=RUN),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.", rich_help_panel=RUN)]
Memory = Annotated[
    str, typer.Option(help="Where features lie: auto, device, host, disk.", rich_help_panel=RUN)
]

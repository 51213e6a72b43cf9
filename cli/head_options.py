"""Options of `clare train-head`, which `clare slurm train-head` checks too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from clare.cli import train_options as options
from clare.cli.options import STORE, Arguments, ClipModel, ClipWeights
from clare.cli.train_options import MACHINE, RUN, TRAINING
from clare.errors import InputError
from clare.heads.config import TrainConfig


@dataclass(frozen=True)
class Head:
    """A run as it is asked for.

    Args:
        config: of a new run; None of one that is resumed.
        resume: folder of a run that is gone on with.
        out: folder of a new run, where one is named.
        store: the feature store.
        machine: settings of `clare.heads.config.Machine`.
        places: where image towers that are tuned are, if not where they were.
        of_tower: texts of ``--set`` that say so.
        clip_model: where a CLIP that is tuned is, if not where it was.
        clip_weights: likewise.
        evaluate: subsets to test on afterwards, comma-separated.
    """

    config: TrainConfig | None
    resume: Path | None
    out: Path | None
    store: Path
    machine: Mapping[str, Any]
    places: Mapping[str, Mapping[str, Any]]
    of_tower: list[str]
    clip_model: str | None
    clip_weights: str | None
    evaluate: str | None


def read_head(
    *,
    training: Annotated[dict[str, Any], TRAINING],
    machine: Annotated[dict[str, Any], MACHINE],
    preset: options.Preset = None,
    config: options.Config = None,
    cross_attn_query: options.Query = None,
    tokens: options.Tokens = None,
    cls: options.Vector = None,
    set_: options.Assignments = None,
    store: options.Store = STORE,
    features: options.Features = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run's folder. [default: runs/ and the names of its parts]",
            rich_help_panel=RUN,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Run to go on with, as it was begun, on its own store if none is named.",
            rich_help_panel=RUN,
        ),
    ] = None,
    evaluate: options.Evaluate = None,
    clip_model: ClipModel = None,
    clip_weights: ClipWeights = None,
) -> Head:
    """What a run is asked for, checked; files of the user's own that it names may be run.

    Raises:
        InputError: a name, a value or a combination is not usable.
    """
    from clare.heads.config import create_config
    from clare.heads.runs.record import require_run
    from clare.plugins import trust_named

    own, of_tower, places = options.split_places(set_, clip_model, clip_weights)
    trust_named([*training.values(), *options.assigned(own).values()])
    refined = (cross_attn_query, tokens, cls, features, own)
    found = None
    if resume is not None:
        if any((preset, config, out, training, *refined)):
            raise InputError(
                "a run that is resumed goes on as it was begun", "leave other options out"
            )
        require_run(resume)
    else:
        found = create_config(training, options.base_config(preset, config, training))
        found = options.refine(found, *refined)
        options.require_tuned([found], of_tower)
    options.require_extras(machine)
    return Head(
        config=found,
        resume=resume,
        out=out,
        store=store,
        machine=machine,
        places=places,
        of_tower=of_tower,
        clip_model=clip_model,
        clip_weights=clip_weights,
        evaluate=evaluate,
    )


HEAD = Arguments(read_head)

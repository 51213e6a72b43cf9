"""`clare train-head`: stage two on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clare.cli import train_options as options
from clare.cli.command import typed, when_stopped
from clare.cli.options import STORE, ClipModel, ClipWeights, split_names, with_settings
from clare.cli.train_options import MACHINE, RUN, TRAINING


@with_settings
def train_head(
    context: typer.Context,
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
) -> None:
    """Train a head on a store's features; checkpoint and threshold come from validation.

    Exit code 75: a scheduler stopped it (SIGTERM, or SIGUSR1 as a warning); resume it.
    """
    from clare.advice import Run
    from clare.errors import InputError
    from clare.heads.config import create_config
    from clare.heads.runs.record import is_finished, is_run, require_run
    from clare.plugins import trust_named

    own, of_tower, places = options.split_places(set_, clip_model, clip_weights)
    trust_named([*training.values(), *options.assigned(own).values()])
    refined = (cross_attn_query, tokens, cls, features, own)
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

    # Not before all names are checked: they bring torch.
    from clare.cli.views.console import tell_next
    from clare.cli.views.figures import print_validation
    from clare.cli.views.progress import TrainView
    from clare.heads.runs.run import choose_folder, read_unfinished
    from clare.heads.sweeps.tests import require_tests
    from clare.heads.training.trainer import train_run
    from clare.store.feature_store import open_store

    chosen = options.create_machine(machine, places)
    if resume is not None:
        source_of = context.get_parameter_source("store")
        named = source_of is not None and source_of.name == "COMMANDLINE"
        found, source = read_unfinished(resume, store if named else None, store)
        folder = resume
    else:
        folder, source = choose_folder(out, found), store
    if evaluate is not None:
        require_tests(open_store(source), split_names(evaluate) or [], [found])

    def stopped() -> Run | None:
        if is_finished(folder):
            return Run("evaluate", (folder,), effect="tests what is trained")
        settings = {"resume": folder}
        return Run("train_head", settings=settings, effect="goes on") if is_run(folder) else None

    when_stopped(stopped)
    with TrainView() as view:
        train_run(found, source, folder, chosen, view, typed())
    print_validation(folder)
    if evaluate is not None:
        from clare.cli.commands.evaluate import evaluate as evaluate_runs

        evaluate_runs(
            [folder],
            subset=evaluate,
            store=source,
            device=chosen.device,
            clip_model=clip_model,
            clip_weights=clip_weights,
            set_=of_tower,
        )
    else:
        tests = {} if found.protocol is None else {"protocol": found.protocol}
        tell_next(Run("evaluate", (folder,), tests))

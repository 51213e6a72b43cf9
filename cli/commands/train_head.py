"""`clare train-head`: stage two on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from clare.cli.command import typed, when_stopped
from clare.cli.head_options import HEAD, Head
from clare.cli.options import split_names, with_settings
from clare.cli.train_options import create_machine


@with_settings
def train_head(context: typer.Context, asked: Annotated[Head, HEAD]) -> None:
    """Train a head on a store's features; checkpoint and threshold come from validation.

    Exit code 75: a scheduler stopped it (SIGTERM, or SIGUSR1 as a warning); resume it.
    """
    # Not before all names are checked: they bring torch.
    from clare.advice import Run
    from clare.cli.views.console import tell_next
    from clare.cli.views.figures import print_validation
    from clare.cli.views.progress import TrainView
    from clare.heads.runs.record import is_finished, is_run
    from clare.heads.runs.run import choose_folder, read_begun, read_unfinished
    from clare.heads.sweeps.tests import require_tests
    from clare.heads.training.train_head import is_trained
    from clare.heads.training.trainer import train_run
    from clare.slurm import is_queued_again
    from clare.store.feature_store import open_store

    chosen, store, evaluate = (
        create_machine(asked.machine, asked.places),
        asked.store,
        asked.evaluate,
    )
    # What was stopped while it was tested goes on with that, and a job that ended with its run and
    # is queued again all the same has nothing left to do.
    may_be_done, done = evaluate is not None or is_queued_again(), False
    if asked.resume is not None:
        source_of = context.get_parameter_source("store")
        named = source_of is not None and source_of.name == "COMMANDLINE"
        done = may_be_done and is_finished(asked.resume)
        read = read_begun if done else read_unfinished
        found, store = read(asked.resume, store if named else None, store)
        folder = asked.resume
    else:
        assert asked.config is not None
        found = asked.config
        done = may_be_done and is_trained(asked.out, found, store, chosen)
        folder = asked.out if done and asked.out else choose_folder(asked.out, found)
    if evaluate is not None:
        require_tests(open_store(store), split_names(evaluate) or [], [found])

    def stopped() -> Run | None:
        if is_finished(folder):
            return Run("evaluate", (folder,), effect="tests what is trained")
        settings = {"resume": folder}
        return Run("train_head", settings=settings, effect="goes on") if is_run(folder) else None

    when_stopped(stopped)
    if not done:
        with TrainView() as view:
            train_run(found, store, folder, chosen, view, typed())
    print_validation(folder)
    if evaluate is not None:
        from clare.cli.commands.evaluate import evaluate as evaluate_runs

        evaluate_runs(
            [folder],
            subset=evaluate,
            store=store,
            device=chosen.device,
            clip_model=asked.clip_model,
            clip_weights=asked.clip_weights,
            set_=asked.of_tower,
        )
    else:
        tests = {} if found.protocol is None else {"protocol": found.protocol}
        tell_next(Run("evaluate", (folder,), tests))

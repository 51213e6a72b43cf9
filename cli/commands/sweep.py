"""`clare sweep`: many heads on one read of the features."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from clare.advice import LeaveOut, Run
from clare.cli.command import AGAIN, typed, when_stopped
from clare.cli.options import Cluster, with_settings
from clare.cli.sweep_options import SWEEP, Sweep
from clare.cli.train_options import RUN, create_machine
from clare.errors import InputError
from clare.slurm import array_tasks


@with_settings
def sweep(
    found: Annotated[Sweep, SWEEP],
    cluster: Cluster = None,
    shared_by: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that share the runs, each started with this command: one takes so "
            "large a part at a time. [default: the tasks of a SLURM array, or 1]",
            rich_help_panel=RUN,
        ),
    ] = None,
) -> None:
    """Train every combination; run again, it does only what is missing.

    Exit code 3: it is done, but some runs failed or could not be tested; 75: a scheduler stopped
    it (SIGTERM, or SIGUSR1 as a warning), and work remains.
    """
    when_stopped(lambda: AGAIN)
    processes = array_tasks() if shared_by is None else shared_by
    if cluster is not None:
        from clare.cluster.connect import require_cluster

        require_cluster(cluster)
        if shared_by is not None:
            raise InputError(
                "a cluster's workers share the runs already",
                LeaveOut("shared_by"),
                LeaveOut("cluster"),
            )

    # Not before all names are checked: they bring torch.
    from clare.cli.views.console import console, tell_next, warn
    from clare.cli.views.progress import TrainView
    from clare.cli.views.sweep import print_figures, print_leaderboard
    from clare.cli.wording import worded
    from clare.heads.sweeps.figures import figure_lines
    from clare.heads.sweeps.sharing import Sharing
    from clare.heads.sweeps.sweep import Train, run_sweep
    from clare.heads.sweeps.table import RESULTS, leaderboard, options_of
    from clare.heads.sweeps.tests import SweepTests, require_tests
    from clare.heads.training.trainer import train_runs
    from clare.store.feature_store import open_store

    axes, out = found.axes, found.out
    chosen = create_machine(found.machine, found.places)
    # On a cluster one path has to lead every machine to the store.
    opened = open_store(found.store if cluster is None else found.store.resolve())
    subsets = found.evaluate or []
    train: Train | Sharing = train_runs
    if found.evaluate is not None:
        require_tests(opened, subsets, found.configs.values())
    with TrainView(epochs=False) as view:
        tests = SweepTests(
            opened,
            subsets,
            device=chosen.device,
            progress=view.testing,
            training=found.train_figures,
            settings=chosen.settings,
        )
        test = tests if subsets else None
        if cluster is not None:
            from clare.heads.sweeps.cluster import ClusterTraining

            # Which device is the best, each worker knows.
            chosen = replace(chosen, device=found.machine.get("device", "auto"))
            train = ClusterTraining(
                cluster, subsets, train_figures=found.train_figures, notice=warn
            )
        elif processes > 1:
            train = Sharing(out, processes, test, notice=warn)
        results = run_sweep(found.configs, axes, opened, out, chosen, view, test, typed(), train)
    control = all(one.shuffle_labels for one in found.configs.values())
    print_leaderboard(leaderboard(results, axes), options_of(axes), control=control)
    print_figures(figure_lines(out, results, axes), options_of(axes))
    failed = [line["failure"] for line in results if line["failure"]]
    for reason in failed:
        console.print(reason)
    for run, reason in tests.failures.items():
        console.print(f"{run} was not tested: {worded(reason)}")
    console.print(f"{len(results)} runs, {len(failed)} failed: {out / RESULTS}")
    if len(failed) < len(results):
        tell_next(Run("report", (out,)))
    if failed or tests.failures:
        warn(f"exit code 3: {len(failed)} runs failed, {len(tests.failures)} were not tested")
        raise typer.Exit(3)

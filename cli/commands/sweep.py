"""`clare sweep`: many heads on one read of the features."""

from __future__ import annotations

from typing import Annotated

import typer

from clare.advice import Run
from clare.cli.command import AGAIN, typed, when_stopped
from clare.cli.options import Cluster, with_settings
from clare.cli.sweep_options import SWEEP, Sweep
from clare.cli.train_options import RUN


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
    if cluster is not None:  # before torch is imported
        from clare.cluster.connect import require_cluster

        require_cluster(cluster)

    # Not before all names are checked: they bring torch.
    from clare.cli.views.console import console, tell_next, warn
    from clare.cli.views.progress import TrainView
    from clare.cli.views.sweep import print_figures, print_leaderboard
    from clare.cli.wording import worded
    from clare.heads.config import Machine
    from clare.heads.sweeps.call import Where, run_anywhere
    from clare.heads.sweeps.table import RESULTS, options_of

    with TrainView(epochs=False) as view:
        swept = run_anywhere(
            found.configs,
            found.axes,
            found.store,
            found.out,
            Machine(**{"device": "auto", **found.machine, "settings": found.places}),
            Where(cluster, shared_by),
            evaluate=found.evaluate,
            train_figures=found.train_figures,
            observer=view,
            progress=view.testing,
            notice=warn,
            command=typed(),
        )
    results, names = swept.results, options_of(found.axes)
    control = all(one.shuffle_labels for one in found.configs.values())
    print_leaderboard(swept.leaderboard, names, control=control)
    print_figures(swept.figures, names)
    failed = [line["failure"] for line in results if line["failure"]]
    for reason in failed:
        console.print(reason)
    for run, reason in swept.untested.items():
        console.print(f"{run} was not tested: {worded(reason)}")
    console.print(f"{len(results)} runs, {len(failed)} failed: {found.out / RESULTS}")
    if len(failed) < len(results):
        tell_next(Run("report", (found.out,)))
    if failed or swept.untested:
        warn(f"exit code 3: {len(failed)} runs failed, {len(swept.untested)} were not tested")
        raise typer.Exit(3)

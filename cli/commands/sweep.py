"""`clare sweep`: many heads on one read of the features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clare.cli import options as shared
from clare.cli.options import RUN

AXES = "Axes (comma lists; 0-4 is a range)"


def sweep(
    fusion: Annotated[
        str | None, typer.Option(help="Fusions, comma-separated.", rich_help_panel=AXES)
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(help="Classifiers, comma-separated.", rich_help_panel=AXES)
    ] = None,
    fraction: Annotated[
        str | None,
        typer.Option(help="Shares of the training rows, as 0.25,0.5,1.", rich_help_panel=AXES),
    ] = None,
    lr: Annotated[str | None, typer.Option(help="Learning rates.", rich_help_panel=AXES)] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="NAME or NAME/KEY: what trains; NAME alone stands for all its trainings.",
            rich_help_panel=AXES,
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds, as 0-4. [default: 0]", rich_help_panel=AXES)
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="SETTING=V1,V2: any other setting of a configuration.", rich_help_panel=AXES
        ),
    ] = None,
    preset: shared.Preset = None,
    config: shared.Config = None,
    query: shared.Query = None,
    tokens: shared.Tokens = None,
    set_: shared.Assignments = None,
    train: shared.Train = None,
    reals: shared.Reals = None,
    store: shared.Store = Path("features.zarr"),
    features: shared.Features = None,
    shuffle_labels: shared.ShuffleLabels = False,
    epochs: shared.Epochs = None,
    batch: shared.Batch = None,
    out: Annotated[
        Path, typer.Option(help="Folder that gets a folder a run.", rich_help_panel=RUN)
    ] = Path("runs/sweep"),
    evaluate: shared.Evaluate = None,
    device: shared.Device = "auto",
    memory: shared.Memory = "auto",
) -> None:
    """Train every combination; run again, it does only what is missing."""
    from clare.cli.sweep_axes import read_axes
    from clare.cli.train_options import (
        create_machine,
        read_base,
        refine,
        require_tests,
    )
    from clare.cli.views.console import console
    from clare.cli.views.sweep import print_leaderboard
    from clare.cli.views.training import TrainView
    from clare.heads.config import create_config
    from clare.heads.sweeps.sweep import expand, run_sweep
    from clare.heads.sweeps.table import RESULTS, leaderboard, options_of
    from clare.heads.sweeps.tests import SweepTests
    from clare.store.feature_store import open_store

    named = {
        "fusion": fusion,
        "classifier": classifier,
        "fraction": fraction,
        "lr": lr,
        "protocol": protocol,
        "seed": seeds,
    }
    common = {
        "train": train,
        "reals": reals,
        "epochs": epochs,
        "batch": batch,
        "shuffle_labels": shuffle_labels or None,
    }
    common = {name: value for name, value in common.items() if value is not None}
    axes = read_axes(named, vary or [], common, set_ or [])
    base = create_config(common, read_base(preset, config))
    parts = [*axes.get("fusion", []), *axes.get("classifier", [])]
    configs = expand(
        base, axes, lambda one: refine(one, query, tokens, features, set_ or [], parts)
    )
    machine = create_machine(device, memory, False, 0, False)
    subsets = require_tests(store, evaluate, configs.values()) if evaluate is not None else []
    opened = open_store(store)
    with TrainView(epochs=False) as view:
        tests = SweepTests(opened, subsets, device=machine.device, progress=view.testing)
        test = tests if subsets else None
        results = run_sweep(configs, axes, opened, out, machine, view, test)
    names = options_of(axes)
    control = all(one.shuffle_labels for one in configs.values())
    print_leaderboard(leaderboard(results, axes), names, control=control)
    failed = [line["failure"] for line in results if line["failure"]]
    for reason in failed:
        console.print(reason)
    for run, reason in tests.failures.items():
        console.print(f"{run} was not tested: {reason}")
    console.print(f"{len(results)} runs, {len(failed)} failed: {out / RESULTS}")
    if failed or tests.failures:
        raise typer.Exit(3)

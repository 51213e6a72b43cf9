"""`clare train-head`: stage two on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clare.cli import options as shared
from clare.cli.options import DATA, HEAD, LEARNING, RUN
from clare.cli.part_names import names_of


def train_head(
    context: typer.Context,
    fusion: Annotated[
        str | None,
        typer.Option(help=f"{names_of('fusion')}. [default: the preset's]", rich_help_panel=HEAD),
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option(
            help=f"{names_of('classifiers')}. [default: the preset's]", rich_help_panel=HEAD
        ),
    ] = None,
    preset: shared.Preset = None,
    config: shared.Config = None,
    query: shared.Query = None,
    scope: Annotated[
        str | None,
        typer.Option(
            "--train-scope",
            help="full, or as-published: the prompt learner alone. [default: full]",
            rich_help_panel=HEAD,
        ),
    ] = None,
    tokens: shared.Tokens = None,
    set_: shared.Assignments = None,
    train: shared.Train = None,
    reals: shared.Reals = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="NAME, NAME/KEY or FILE.yaml: decides subsets, reals, domains and frames; "
            "`clare manifest protocols` lists them.",
            rich_help_panel=DATA,
        ),
    ] = None,
    domains: Annotated[
        str | None,
        typer.Option(help="Rows of these domains alone, as ff.", rich_help_panel=DATA),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(help="Of each video at most. [default: all]", rich_help_panel=DATA),
    ] = None,
    sampling: Annotated[
        str | None,
        typer.Option(help="Which frames: even, or first_n. [default: even]", rich_help_panel=DATA),
    ] = None,
    store: shared.Store = Path("features.zarr"),
    features: shared.Features = None,
    fraction: Annotated[
        float | None,
        typer.Option(help="Share of the training rows, whole videos.", rich_help_panel=DATA),
    ] = None,
    shuffle_labels: shared.ShuffleLabels = False,
    epochs: shared.Epochs = None,
    batch: shared.Batch = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate.", rich_help_panel=LEARNING)
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="adamw or sgd.", rich_help_panel=LEARNING)
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Epochs without a gain before it stops.", rich_help_panel=LEARNING),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of everything but the data.", rich_help_panel=LEARNING)
    ] = None,
    data_seed: Annotated[
        int | None, typer.Option(help="Of the order of rows and views.", rich_help_panel=LEARNING)
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(
            help="Run whose parameters are taken over where they fit.", rich_help_panel=LEARNING
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32 or bfloat16.", rich_help_panel=LEARNING)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run's folder. [default: runs/FUSION-CLASSIFIER]", rich_help_panel=RUN
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Run to go on with, as it was begun, on its own store if none is named.",
            rich_help_panel=RUN,
        ),
    ] = None,
    evaluate: shared.Evaluate = None,
    device: shared.Device = "auto",
    memory: shared.Memory = "auto",
    compile_: Annotated[
        bool, typer.Option("--compile", help="torch.compile the step.", rich_help_panel=RUN)
    ] = False,
    every_k: Annotated[
        int, typer.Option(min=0, help="Keep the head of every k-th epoch.", rich_help_panel=RUN)
    ] = 0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write its files too.", rich_help_panel=RUN)
    ] = False,
) -> None:
    """Train a head on a store's features; checkpoint and threshold come from validation."""
    from clare.cli.train_options import (
        build_config,
        choose_folder,
        create_machine,
        is_named,
        print_run,
        read_resumed,
        require_tests,
    )
    from clare.cli.views.console import console
    from clare.cli.views.training import TrainView
    from clare.heads.training.trainer import train_run

    options: dict[str, Any] = {
        "fusion": fusion,
        "classifier": classifier,
        "scope": scope,
        "train": train,
        "reals": reals,
        "protocol": protocol,
        "domains": domains,
        "frames": frames,
        "sampling": sampling,
        "fraction": fraction,
        "shuffle_labels": shuffle_labels or None,
        "epochs": epochs,
        "batch": batch,
        "lr": lr,
        "optimizer": optimizer,
        "patience": patience,
        "seed": seed,
        "data_seed": data_seed,
        "init_from": None if init_from is None else str(init_from),
        "precision": precision,
    }
    machine = create_machine(device, memory, compile_, every_k, tensorboard)
    if resume is not None:
        others = (preset, config, out, query, tokens, features, set_ or None)
        named = is_named(context, "store")
        chosen, source = read_resumed(resume, store, named, [*options.values(), *others])
        folder = resume
    else:
        chosen = build_config(preset, config, options, query, tokens, features, set_ or [])
        folder, source = choose_folder(out, chosen), store
    if evaluate is not None:
        require_tests(source, evaluate, [chosen])
    with TrainView() as view:
        train_run(chosen, source, folder, machine, view)
    print_run(folder)
    if evaluate is not None:
        from clare.cli.commands.evaluate import evaluate as evaluate_runs

        evaluate_runs([folder], subset=evaluate, store=source, device=device)
    else:
        tests = "" if chosen.protocol is None else f" --protocol {chosen.protocol}"
        console.print(f"next: clare evaluate {folder}{tests}")

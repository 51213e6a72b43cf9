"""`clare sweep`: many heads on one read of the features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

AXES, DATA, RUN = "Axes (comma lists; 0-4 is a range)", "Data", "Run"


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
    seeds: Annotated[str, typer.Option(help="Seeds, as 0-4.", rich_help_panel=AXES)] = "0",
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="SETTING=V1,V2: any other setting of a configuration.", rich_help_panel=AXES
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="What all runs begin from. [default: clare]")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML or config.json that all runs begin from.")
    ] = None,
    query: Annotated[str | None, typer.Option(help="Of cross_attn: all or mean.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Field of the tokens.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the rows.")] = None,
    batch: Annotated[int | None, typer.Option(help="Rows a step.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="PART.SETTING=VALUE, for runs with this part.")
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(
            help="Subsets to train on, comma-separated. [default: all of the store]",
            rich_help_panel=DATA,
        ),
    ] = None,
    reals: Annotated[
        str | None,
        typer.Option(help="Subsets whose real rows join, comma-separated.", rich_help_panel=DATA),
    ] = None,
    store: Annotated[
        Path, typer.Option(envvar="CLARE_STORE", help="The feature store.", rich_help_panel=DATA)
    ] = Path("features.zarr"),
    features: Annotated[
        str | None, typer.Option(help="EXTRACTOR=FINGERPRINT, …", rich_help_panel=DATA)
    ] = None,
    shuffle_labels: Annotated[
        bool,
        typer.Option(
            "--shuffle-labels",
            help="The control; with --seeds 0-19 its twenty shuffles.",
            rich_help_panel=DATA,
        ),
    ] = False,
    out: Annotated[
        Path, typer.Option(help="Folder that gets a folder a run.", rich_help_panel=RUN)
    ] = Path("runs/sweep"),
    evaluate: Annotated[
        str | None,
        typer.Option(help="Also test every run on these subsets.", rich_help_panel=RUN),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1.", rich_help_panel=RUN)
    ] = "auto",
    memory: Annotated[
        str,
        typer.Option(help="Where features lie: auto, device, host, disk.", rich_help_panel=RUN),
    ] = "auto",
) -> None:
    """Train every combination; run again, it does only what is missing."""
    from clare.cli.output import console
    from clare.cli.train_options import create_machine, print_leaderboard, read_base, refine
    from clare.cli.train_view import TrainView
    from clare.data_manifests.protocol import list_trainings
    from clare.errors import InputError
    from clare.heads.config import create_config
    from clare.heads.sweep import expand, parse_values, run_sweep
    from clare.heads.sweep_table import RESULTS, leaderboard

    asked = {"fusion": fusion, "classifier": classifier, "fraction": fraction, "lr": lr}
    for text in vary or []:
        name, equals, values = text.partition("=")
        if not equals:
            raise InputError(f"--vary {text} is not of the form SETTING=V1,V2")
        asked[name] = values
    asked["seed"] = seeds
    axes: dict[str, list[Any]] = {n: parse_values(v) for n, v in asked.items() if v is not None}
    if protocol is not None:
        if train or reals:
            raise InputError(
                "--protocol names its subsets and reals: leave --train and --reals out"
            )
        axes["protocol"] = [one for name in parse_values(protocol) for one in list_trainings(name)]
    common = {
        "train": train,
        "reals": reals,
        "epochs": epochs,
        "batch": batch,
        "shuffle_labels": shuffle_labels or None,
    }
    base = create_config(
        {name: value for name, value in common.items() if value is not None},
        read_base(preset, config),
    )
    parts = [*axes.get("fusion", []), *axes.get("classifier", [])]
    configs = expand(
        base, axes, lambda one: refine(one, query, tokens, features, set_ or [], parts)
    )
    machine = create_machine(device, memory, False, 0, False)

    def test(run: Path) -> Any:
        from clare.heads.evaluation import evaluate as evaluate_run

        names = [name.strip() for name in str(evaluate).split(",")]
        report = evaluate_run(run, store, names, device=machine.device).report
        return report["macro"]["subsets"]["frame"]

    with TrainView(epochs=False) as view:
        results = run_sweep(
            configs, axes, store, out, machine, view, test if evaluate is not None else None
        )
    names = [name for name in axes if name not in ("seed", "data_seed")]
    print_leaderboard(leaderboard(results, axes), names)
    failed = [line for line in results if line["failure"]]
    for line in failed:
        console.print(line["failure"])
    console.print(f"{len(results)} runs, {len(failed)} failed: {out / RESULTS}")
    if failed:
        raise typer.Exit(3)

"""`clare sweep`: many heads on one read of the features."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from clare.cli import train_options as options
from clare.cli.command import AGAIN, typed, when_stopped
from clare.cli.options import STORE, ClipModel, ClipWeights, split_names, with_settings
from clare.cli.train_options import MACHINE, RUN, TRAINING, names_of

AXES = "Axes (comma lists; 0-4 is a range)"
_OWN_AXES = (
    "preset",
    "fusion",
    "classifier",
    "decoder",
    "tokens",
    "fraction",
    "lr",
    "protocol",
    "seed",
)


@with_settings
def sweep(
    *,
    preset: Annotated[
        str | None,
        typer.Option(help=options.PRESET_HELP, rich_help_panel=AXES),
    ] = None,
    fusion: Annotated[
        str | None, typer.Option(help=f"{names_of('fusion')}.", rich_help_panel=AXES)
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(help=f"{names_of('classifiers')}.", rich_help_panel=AXES)
    ] = None,
    decoder: Annotated[
        str | None, typer.Option(help=options.DECODER_HELP, rich_help_panel=AXES)
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            "--tokens",
            help="Fields of tokens, as clip_tokens_12,clip_tokens_20; with + what a decoder takes "
            "together, as clip_tokens_20+lare.",
            rich_help_panel=AXES,
        ),
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
    training: Annotated[
        dict[str, Any],
        replace(TRAINING, without=_OWN_AXES),
    ],
    machine: Annotated[
        dict[str, Any], replace(MACHINE, without=("compile", "keep_every", "tensorboard", "wandb"))
    ],
    config: options.Config = None,
    cross_attn_query: options.Query = None,
    set_: options.Assignments = None,
    store: options.Store = STORE,
    features: options.Features = None,
    out: Annotated[
        Path, typer.Option(help="Folder that gets a folder a run.", rich_help_panel=RUN)
    ] = Path("runs/sweep"),
    evaluate: options.Evaluate = None,
    train_figures: Annotated[
        bool,
        typer.Option(
            help="With --evaluate, score the rows that runs were trained on too.",
            rich_help_panel=RUN,
        ),
    ] = True,
    clip_model: ClipModel = None,
    clip_weights: ClipWeights = None,
) -> None:
    """Train every combination; run again, it does only what is missing.

    Exit code 3: it is done, but some runs failed or could not be tested; 75: a scheduler stopped
    it (SIGTERM, or SIGUSR1 as a warning), and work remains.
    """
    when_stopped(lambda: AGAIN)
    from clare.heads.config import SETTABLE, create_config
    from clare.heads.sweeps.axes import expand
    from clare.plugins import trust_named

    own, of_tower, places = options.split_places(set_, clip_model, clip_weights)
    texts = (preset, fusion, classifier, decoder, tokens, fraction, lr, protocol, seeds)
    axes = read_axes(dict(zip(_OWN_AXES, texts, strict=True)), vary or [], training, own)
    presets: Sequence[str | None] = axes.get("preset") or [None]
    starts = [options.base_config(one, config, training | axes) for one in presets]
    if len(presets) == 1:
        axes.pop("preset", None)  # of one nothing is compared
    base = training if "preset" in axes else create_config(training, starts[0])
    refined = (cross_attn_query, None, None, features, own)
    axis_values = (value for values in axes.values() for value in values)
    trust_named([*training.values(), *options.assigned(own).values(), *axis_values])
    parts = [name for kind in SETTABLE for name in axes.get(kind, [])]
    configs = expand(base, axes, lambda one: options.refine(one, *refined, parts))
    options.require_tuned(configs.values(), of_tower)

    # Not before all names are checked: they bring torch.
    from clare.advice import Run
    from clare.cli.views.console import console, tell_next, warn
    from clare.cli.views.progress import TrainView
    from clare.cli.views.sweep import print_figures, print_leaderboard
    from clare.cli.wording import worded
    from clare.heads.sweeps.figures import figure_lines
    from clare.heads.sweeps.sweep import run_sweep
    from clare.heads.sweeps.table import RESULTS, leaderboard, options_of
    from clare.heads.sweeps.tests import SweepTests, require_tests
    from clare.store.feature_store import open_store

    chosen = options.create_machine(machine, places)
    opened, subsets = open_store(store), split_names(evaluate) or []
    if evaluate is not None:
        require_tests(opened, subsets, configs.values())
    with TrainView(epochs=False) as view:
        tests = SweepTests(
            opened,
            subsets,
            device=chosen.device,
            progress=view.testing,
            training=train_figures,
            settings=chosen.settings,
        )
        results = run_sweep(
            configs, axes, opened, out, chosen, view, tests if subsets else None, typed()
        )
    control = all(one.shuffle_labels for one in configs.values())
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


def read_axes(
    named: Mapping[str, str | None],
    vary: Sequence[str],
    common: Collection[str],
    assignments: Sequence[str],
) -> dict[str, list[str]]:
    """Values by setting, the seeds last; of one seed, 0, where none is named.

    Whether an option or ``--vary`` names a setting decides nothing: the same values give the same
    axes in the same order, and so the same names of runs.

    Args:
        named: comma lists by setting, of the options that are axes, in their order. A protocol
            without a key stands for all its trainings.
        vary: texts of ``--vary``; settings that have no option come in this order.
        common: settings that are given for all runs.
        assignments: texts of ``--set``.

    Raises:
        InputError: a list is not usable, or a setting is named twice.
    """
    from clare.errors import InputError
    from clare.heads.config import refuse_beside_protocol
    from clare.heads.sweeps.axes import parse_values
    from clare.protocol import list_trainings

    asked = {name: text for name, text in named.items() if text is not None}
    assigned = options.assigned(assignments)
    given = {*asked, *common, *assigned}
    for text in vary:
        name, equals, values = text.partition("=")
        if not equals:
            raise InputError(f"--vary {text} is not of the form SETTING=V1,V2")
        if name in given:
            raise InputError(f"{name} is given twice, once as --vary {text}: name it once")
        asked[name] = values
        given.add(name)
    for name in set(asked) & set(assigned):
        raise InputError(f"{name} is an axis, and --set train.{name} would decide it for all")
    if "tokens" in asked and "fields" in assigned:
        raise InputError("tokens is an axis, and --set train.fields would decide it for all")
    if "protocol" in asked:
        refuse_beside_protocol(given)
    order = [name for name in (*named, *asked) if name in asked and name != "seed"]
    asked.setdefault("seed", "0")
    axes = {name: parse_values(asked[name]) for name in dict.fromkeys([*order, "seed"])}
    if "protocol" in axes:
        axes["protocol"] = [one for name in axes["protocol"] for one in list_trainings(name)]
    return axes

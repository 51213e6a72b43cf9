"""Options of `clare sweep`, which `clare slurm sweep` checks too, and what they come to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from clare.cli import train_options as options
from clare.cli.options import STORE, Arguments, ClipModel, ClipWeights, split_names
from clare.cli.train_options import MACHINE, RUN, TRAINING, names_of
from clare.heads.config import TrainConfig

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


@dataclass(frozen=True)
class Sweep:
    """A sweep as it is asked for.

    Args:
        configs: its runs by name.
        axes: values by setting.
        store: the feature store.
        out: folder that gets a folder a run.
        machine: settings of `clare.heads.config.Machine`.
        places: where image towers that are tuned are, if not where they were.
        evaluate: subsets to test on; None where no test is asked for.
        train_figures: whether rows that runs were trained on are scored too.
    """

    configs: Mapping[str, TrainConfig]
    axes: Mapping[str, list[str]]
    store: Path
    out: Path
    machine: Mapping[str, Any]
    places: Mapping[str, Mapping[str, Any]]
    evaluate: list[str] | None
    train_figures: bool


def read_sweep(
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
) -> Sweep:
    """What a sweep is asked for, checked; files of the user's own that it names may be run.

    Raises:
        InputError: a name, a value or a combination is not usable.
    """
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
    return Sweep(
        configs=configs,
        axes=axes,
        store=store,
        out=out,
        machine=machine,
        places=places,
        evaluate=split_names(evaluate),
        train_figures=train_figures,
    )


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


SWEEP = Arguments(read_sweep)

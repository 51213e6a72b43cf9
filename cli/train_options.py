"""Options that `clare train-head` and `clare sweep` have in common, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from clare.advice import LeaveOut, Set
from clare.cli.options import Settings, parse_assignments, parse_digests, weights_at
from clare.errors import InputError
from clare.heads import classifiers, decoders, fusion
from clare.heads.config import (
    DEFAULT_DECODER_PRESET,
    DEFAULT_PRESET,
    Machine,
    TrainConfig,
    assign_settings,
    begin_from,
    list_presets,
    read_config,
)
from clare.heads.tokens import take_tokens, take_vector
from clare.models import tuning
from clare.models.towers import TOWERS
from clare.plugins import list_parts, part_name, resolve_part

HEAD, DATA, LEARNING, RUN = "Head", "Data", "Learning", "Run"


def names_of(package: str) -> str:
    """What names a part of a package of `clare.heads`, comma-separated; imports none of them."""
    names = list_parts(import_module(f"clare.heads.{package}"))
    return f"{', '.join(sorted(names, key=_numbers_in_order))}, or ./FILE.py"


def _numbers_in_order(name: str) -> list[tuple[int, str]]:
    return [(int(word) if word.isdigit() else 0, word) for word in name.split("_")]


DECODER_HELP = (
    "Instead of fusion and classifier, to find which pixels are fake: "
    f"{names_of('decoders').replace('_', '-')}."
)
TRAINING = Settings(
    TrainConfig,
    {"fusion": HEAD, "train": DATA, "seed": LEARNING},
    flags={"scope": "--train-scope"},
    without=("preset",),
    extra={
        "fusion": {"help": f"{names_of('fusion')}.", "default": "the preset's"},
        "classifier": {"help": f"{names_of('classifiers')}.", "default": "the preset's"},
        "decoder": {"help": DECODER_HELP},
        "select": {"default": "auc; with a decoder iou"},
        "score": {"default": "the preset's"},
    },
)
MACHINE = Settings(
    Machine,
    {"device": RUN},
    flags={"keep_every": "--every-k"},
    extra={"device": {"default": "auto"}},
)
PRESET_HELP = (
    f"{', '.join(list_presets())}. [default: {DEFAULT_PRESET}; with a decoder "
    f"{DEFAULT_DECODER_PRESET}]"
)
Preset = Annotated[str | None, typer.Option(help=PRESET_HELP, rich_help_panel=HEAD)]
Config = Annotated[
    Path | None,
    typer.Option(help="YAML of the presets' form, or a run's config.json.", rich_help_panel=HEAD),
]
Query = Annotated[
    str | None,
    typer.Option("--query", help="Of cross_attn: all, or mean as published.", rich_help_panel=HEAD),
]
Tokens = Annotated[
    str | None,
    typer.Option(
        "--tokens",
        help="Field of the tokens, as clip_tokens_20; of a decoder all that it takes, as "
        "clip_tokens_20+lare.",
        rich_help_panel=HEAD,
    ),
]
Vector = Annotated[
    str | None,
    typer.Option(
        "--cls",
        help="Field of the image vector, as clip_cls_pre or tower_cls.",
        rich_help_panel=HEAD,
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="PART.SETTING=VALUE: any setting of fusion, classifier, decoder, way of tuning (tune) "
        "or train; tower.model=FOLDER where a tower that is tuned is.",
        rich_help_panel=HEAD,
    ),
]
Store = Annotated[
    Path, typer.Option(envvar="CLARE_STORE", help="The feature store.", rich_help_panel=DATA)
]
Features = Annotated[
    str | None,
    typer.Option(
        help="EXTRACTOR=FINGERPRINT or FIELD=FINGERPRINT, comma-separated, where the store has "
        "several; clip=A,clip=B reads two beside each other.",
        rich_help_panel=DATA,
    ),
]
Evaluate = Annotated[
    str | None,
    typer.Option(help="Subsets to test on afterwards, comma-separated.", rich_help_panel=RUN),
]


def base_config(preset: str | None, file: Path | None, named: Mapping[str, Any]) -> TrainConfig:
    """What holds where no option is given.

    Args:
        preset: that is named.
        file: of a configuration.
        named: settings that are given.

    Raises:
        InputError: both are given, or one is not usable.
    """
    if preset is not None and file is not None:
        raise InputError(
            "a preset and a configuration are two beginnings",
            LeaveOut("preset"),
            LeaveOut("config"),
        )
    return begin_from(preset, named) if file is None else read_config(file)


def refine(
    config: TrainConfig,
    query: str | None,
    tokens: str | None,
    cls: str | None,
    features: str | None,
    assignments: Sequence[str],
    others: Iterable[str] = (),
) -> TrainConfig:
    """A configuration with the settings that depend on its parts.

    Args:
        config: fusion and classifier are chosen.
        query: of cross_attn.
        tokens: the fields of the tokens, as `take_tokens` reads them.
        cls: the field of the image vector.
        features: ``EXTRACTOR=FINGERPRINT,…``.
        assignments: texts ``PART.SETTING=VALUE``; they win over the others.
        others: further parts of a sweep, whose settings are left aside here.

    Raises:
        InputError: one is not usable, or is for a part that is not there.
    """
    known = set(others)
    packages = {"fusion": fusion, "classifier": classifiers, "decoder": decoders, "tune": tuning}
    for kind, name in config.detector.parts.items():
        resolve_part(packages[kind], name)  # before torch is imported
    if query is not None:
        fusions = {config.detector.fusion, *known}
        if "cross_attn" not in fusions:
            head = part_name(config.detector.decoder or config.detector.fusion)
            raise InputError(f"{head} has no query, which is cross_attn's", LeaveOut("query"))
        config = assign_settings(config, {"cross_attn": {"query": query}}, known=known)
    if tokens is not None:
        config = take_tokens(config, tokens)
    if cls is not None:
        config = take_vector(config, cls)
    if features is not None:
        config = replace(config, features={**config.features, **parse_digests(features)})
    return assign_settings(config, parse_assignments(assignments), known=known)


def split_places(
    assignments: Sequence[str] | None, clip_model: str | None, clip_weights: str | None
) -> tuple[list[str], list[str], dict[str, dict[str, Any]]]:
    """Texts of ``--set``: those of the head, those of an image tower, and where that is.

    Args:
        assignments: the texts.
        clip_model: where a CLIP that is tuned is, if not where it was.
        clip_weights: likewise.

    Raises:
        InputError: a text assigns nothing.
    """
    texts = assignments or []
    places = [text for text in texts if text.partition(".")[0] in TOWERS]
    own = [text for text in texts if text not in places]
    return own, places, weights_at(clip_model, clip_weights, places)


def require_tuned(configs: Iterable[TrainConfig], places: Sequence[str]) -> None:
    """Refuse settings of an image tower where none is tuned.

    Raises:
        InputError: there are some.
    """
    if places and not any(config.detector.is_tuned for config in configs):
        raise InputError(
            f"{places[0]} is of a tower that is tuned, and none is",
            LeaveOut("set"),
            Set("tune", "ln", "tunes its LayerNorms"),
        )


def assigned(assignments: Sequence[str] | None) -> dict[str, Any]:
    """The settings of a run itself among texts of ``--set``."""
    return parse_assignments(assignments or []).get("train", {})


def require_extras(given: Mapping[str, Any]) -> None:
    """See that what is asked for beside the package is installed, before anything is loaded.

    Raises:
        InputError: it is not.
    """
    from clare.heads.training.boards import require_boards

    require_boards(given)


def create_machine(given: Mapping[str, Any], places: Mapping[str, Mapping[str, Any]]) -> Machine:
    """Where and how is trained; the device is the best that there is, where none is given.

    Args:
        given: settings of `Machine`.
        places: where image towers that are tuned are, if not where they were.

    Raises:
        InputError: there is no such device.
    """
    from clare.models.runtime import choose_runtime

    device = choose_runtime(given.get("device", "auto")).device
    return Machine(**{**given, "device": device, "settings": places})

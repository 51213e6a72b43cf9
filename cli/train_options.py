"""From the options of `clare train-head` and `clare sweep` to configurations; what they print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from clare.cli.lists import read_choice, split_names
from clare.cli.views.console import console, table
from clare.errors import InputError
from clare.heads import fusion
from clare.heads.base import Fusion
from clare.heads.config import (
    DEFAULT_PRESET,
    Machine,
    Memory,
    TrainConfig,
    assign_settings,
    create_config,
    read_config,
    read_preset,
)
from clare.heads.data.samples import subsets_of
from clare.heads.evaluation.test_rows import list_wanted
from clare.heads.runs.record import RunRecord, is_finished, open_own_store, read_validation
from clare.plugins import find_part, list_parts
from clare.settings import parse_assignments
from clare.store.feature_store import open_store

SHOWN = ("auc", "ap", "eer", "balanced_accuracy", "accuracy", "accuracy_at_0.5")


def build_config(
    preset: str | None,
    file: Path | None,
    options: Mapping[str, Any],
    query: str | None,
    tokens: str | None,
    features: str | None,
    assignments: Sequence[str],
) -> TrainConfig:
    """A preset or a file, then the options that were given, then ``--set``.

    Raises:
        InputError: both a preset and a file, or an option that is not usable.
    """
    base = read_base(preset, file)
    given = {name: value for name, value in options.items() if value is not None}
    if "protocol" in given and {"train", "reals", "domains"} & set(given):
        raise InputError(
            "--protocol names its subsets, reals and domains: leave --train, --reals and "
            "--domains out"
        )
    config = create_config(given, base)
    return refine(config, query, tokens, features, assignments)


def read_base(preset: str | None, file: Path | None) -> TrainConfig:
    """What holds where no option is given.

    Raises:
        InputError: both are given, or one is not usable.
    """
    if preset is not None and file is not None:
        raise InputError("--preset and --config are two beginnings: give one of them")
    return read_preset(preset or DEFAULT_PRESET) if file is None else read_config(file)


def refine(
    config: TrainConfig,
    query: str | None,
    tokens: str | None,
    features: str | None,
    assignments: Sequence[str],
    others: Iterable[str] = (),
) -> TrainConfig:
    """Settings that depend on the parts of a configuration.

    Args:
        config: fusion and classifier are chosen.
        query: ``--query``.
        tokens: ``--tokens``.
        features: ``--features``.
        assignments: texts of ``--set``.
        others: further fusions and classifiers of a sweep, whose settings are left aside here.

    Raises:
        InputError: an option is not usable.
    """
    known = set(others)
    if query is not None:
        if config.fusion == "cross_attn":
            settings = {**config.fusion_settings, "query": query}
            config = replace(config, fusion_settings=settings)
        elif "cross_attn" not in known:
            raise InputError(f"--query is for cross_attn; {config.fusion} has no such choice")
    if tokens is not None:
        if reads_tokens(config.fusion):
            config = replace(config, fields={**config.fields, "tokens": tokens})
        elif not any(map(reads_tokens, known.intersection(list_parts(fusion)))):
            raise InputError(f"--tokens is for fusions that read tokens; {config.fusion} has none")
    if features is not None:
        config = replace(config, features={**config.features, **_fingerprints(features)})
    return assign_settings(config, parse_assignments(assignments), known=known)


def reads_tokens(name: str) -> bool:
    """Whether a fusion reads tokens.

    Raises:
        InputError: there is no such fusion.
    """
    return "tokens" in find_part(fusion, name, Fusion).roles  # type: ignore[type-abstract]


def is_named(context: typer.Context, option: str) -> bool:
    """Whether an option stands on the command line, and not in the environment alone."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def require_tests(store: Path, evaluate: str, configs: Iterable[TrainConfig]) -> list[str]:
    """The subsets of ``--evaluate``, of which each run can be tested once it is trained.

    Args:
        store: the store.
        evaluate: the option.
        configs: of the runs.

    Raises:
        InputError: there is none, or a run would have nothing to be tested on.
        StoreError: the store, or a subset, is not there.
    """
    names, opened = split_names(evaluate), open_store(store)
    if not names:
        raise InputError("--evaluate names no subset")
    known = {(config.train, config.reals): config for config in configs}
    for config in known.values():
        try:
            trained = subsets_of(opened, config)
        except InputError:
            continue  # training says so, in a sweep of this run alone
        list_wanted(opened, names, trained=(config.reals, trained))
    return names


def read_resumed(
    run: Path, store: Path, named: bool, given: Iterable[Any]
) -> tuple[TrainConfig, Path]:
    """The configuration and the store of a run that is gone on with.

    Args:
        run: its folder.
        store: taken where it was named, or where the run's own is not there any more.
        named: whether the store was named on the command line.
        given: other options, which have no place beside ``--resume``.

    Raises:
        InputError: the folder is no run, or is finished, or further options are given.
    """
    if any(value is not None for value in given):
        raise InputError("--resume goes on with a run as it was begun: leave other options out")
    record = RunRecord.read(run)
    if is_finished(run):
        raise InputError(f"{run} is finished: see `clare evaluate {run}`")
    own = Path(record.store)
    if named or (store.is_dir() and not own.is_dir()):
        return record.config, store
    return record.config, open_own_store(run, record).path


def choose_folder(out: Path | None, config: TrainConfig) -> Path:
    """The run's folder: as asked for, or the first free ``runs/FUSION-CLASSIFIER-n``."""
    if out is not None:
        if is_finished(out):
            raise InputError(f"{out} is a finished run; name another --out")
        return out
    plain = Path("runs") / f"{config.fusion}-{config.classifier}"
    folder, number = plain, 1
    while folder.exists():
        number += 1
        folder = plain.with_name(f"{plain.name}-{number}")
    return folder


def create_machine(
    device: str, memory: str, compile_: bool, keep_every: int, tensorboard: bool
) -> Machine:
    """Device, memory and the like.

    Raises:
        InputError: the device is not there, or memory is of no known kind.
    """
    from clare.models.runtime import choose_runtime

    return Machine(
        memory=read_choice("--memory", memory, Memory),
        device=choose_runtime(device).device,
        compile=compile_,
        keep_every=keep_every,
        tensorboard=tensorboard,
    )


def print_run(folder: Path) -> None:
    """Print a finished run's figures on validation.

    Raises:
        InputError: they can't be read.
    """
    found = read_validation(folder)
    rows = [
        (name, figure["value"], figure["low"], figure["high"])
        for name, figure in found["metrics"].items()
        if name in SHOWN and figure["value"] is not None
    ]
    console.print(
        table(
            f"validation, epoch {found['epoch']}, threshold {found['threshold']:.4f}, "
            f"n {found['metrics']['auc']['n']}",
            ("figure", "value", "95 % from", "to"),
            [(name, *(_number(value) for value in values)) for name, *values in rows],
        )
    )
    console.print("checkpoint and threshold were chosen on these rows, all subsets together")
    console.print(f"{folder}: detector, history, figures and predictions on validation")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _fingerprints(text: str) -> dict[str, str]:
    found = {}
    for part in text.split(","):
        extractor, equals, digest = part.strip().partition("=")
        if not (extractor and equals and digest):
            raise InputError(f"--features {text} is not of the form EXTRACTOR=FINGERPRINT,…")
        # The whole name of the folder serves too.
        found[extractor] = digest.removeprefix(f"{extractor}-")
    return found

"""`clare probe`: which cached features tell fakes from reals, by linear probes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from clare.cli.options import STORE, Json, Resamples, Store, split_names

DATA = "Rows"
PROBES = "Probes"

T = TypeVar("T")


def probe(
    store: Store = STORE,
    out: Annotated[Path, typer.Option(help="Folder that gets figures and lines.")] = Path("probes"),
    train: Annotated[
        str | None,
        typer.Option(
            help="Subsets to train on, comma-separated. [default: all of the store's]",
            rich_help_panel=DATA,
        ),
    ] = None,
    reals: Annotated[
        str | None,
        typer.Option(help="Subsets whose reals join, comma-separated.", rich_help_panel=DATA),
    ] = None,
    domains: Annotated[
        str | None,
        typer.Option(help="Rows of these domains alone, comma-separated.", rich_help_panel=DATA),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            help="Subsets to test on, comma-separated. [default: all that have test fakes]",
            rich_help_panel=DATA,
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="Beginnings of the fingerprints to read, comma-separated. [default: all]",
            rich_help_panel=DATA,
        ),
    ] = None,
    seen_until: Annotated[
        str | None,
        typer.Option(
            help="Date of the newest image that towers can have seen in training, where `clare "
            "models` does not know it: figures on newer images stand beside.",
            rich_help_panel=DATA,
        ),
    ] = None,
    fractions: Annotated[
        str, typer.Option(help="Shares of the training rows, as 0.25,1.", rich_help_panel=DATA)
    ] = "1",
    seeds: Annotated[
        str, typer.Option(help="Seeds of shares below 1, as 0-4.", rich_help_panel=DATA)
    ] = "0",
    inputs: Annotated[
        str | None,
        typer.Option(
            help="FIELD, FIELD:POOLING or sums with +, comma-separated. [default: every field in "
            "every pooling]",
            rich_help_panel=PROBES,
        ),
    ] = None,
    norms: Annotated[
        str | None,
        typer.Option(
            help="none, l2, standard, whiten; comma-separated. [default: all that can be]",
            rich_help_panel=PROBES,
        ),
    ] = None,
    kinds: Annotated[
        str,
        typer.Option(help="ridge, logistic, centroid; comma-separated.", rich_help_panel=PROBES),
    ] = "ridge,centroid",
    strengths: Annotated[
        str | None,
        typer.Option(
            help="Of regularisation, of which validation chooses. [default: 0.0001 to 10]",
            rich_help_panel=PROBES,
        ),
    ] = None,
    ask: Annotated[
        list[str] | None,
        typer.Option(
            help='"does lare add to clip_cls?" [default: does any field add to the best input?]',
            rich_help_panel=PROBES,
        ),
    ] = None,
    resamples: Resamples = 1000,
    json_: Json = False,
) -> None:
    """Fit linear probes to every cached feature, in minutes, and say what adds to what."""
    import json

    from clare.advice import Name, Run
    from clare.cli.command import typed
    from clare.errors import InputError
    from clare.heads.linear.norms import norm_named
    from clare.heads.linear.solvers import STRENGTHS, kind_named
    from clare.heads.probing.probe import probe as run_probes
    from clare.heads.sweeps.axes import parse_values
    from clare.typed_json import to_json

    def numbers(text: str, setting: str, kind: Callable[[str], T]) -> list[T]:
        try:
            return [kind(value) for value in parse_values(text)]
        except ValueError as error:
            raise InputError(f"{text!r} are no numbers", Name("some", setting)) from error

    from clare.cli.views.console import console, show_progress, tell_next
    from clare.cli.views.probes import as_typed, print_probes

    with show_progress("probing") as show:
        found = run_probes(
            store,
            out,
            train=split_names(train) or (),
            reals=split_names(reals) or (),
            domains=split_names(domains) or (),
            test=split_names(test),
            inputs=split_names(inputs) or (),
            norms=[norm_named(one) for one in parse_values(norms)] if norms else (),
            kinds=[kind_named(one) for one in parse_values(kinds)],
            strengths=numbers(strengths, "strengths", float) if strengths else STRENGTHS,
            fractions=numbers(fractions, "fractions", float),
            seeds=numbers(seeds, "seeds", int),
            ask=ask,
            features=split_names(features) or (),
            seen_until=seen_until,
            resamples=resamples,
            progress=show,
            command=typed(),
        )
    if json_:
        typer.echo(json.dumps(to_json(found), indent=2))
        return
    print_probes(found)
    console.print(f"{out}: probes.csv, probes.json")
    tell_next(Run("report", (out,)))
    best = next(iter(found.best().values()))
    if (head := found.head_of(best)) is not None:
        tell_next(Run("train_head", settings=as_typed(found.store, head)))

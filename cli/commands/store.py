"""`clare store`: look into a feature store, check it, take it along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from clare.cli.command import Command, subgroup
from clare.cli.options import STORE, Json, Store, parse_digests, split_names

app = subgroup("The feature store.")

StorePath = Annotated[
    Path,
    typer.Argument(
        envvar="CLARE_STORE", help="The store's folder, or its URL in a bucket.", show_default=True
    ),
]


@app.command(cls=Command)
def info(
    store: StorePath = STORE,
    json_: Json = False,
) -> None:
    """Show what is in a store: subsets, rows, features, failures and sizes."""
    from clare.cli.views.store import print_info
    from clare.store.feature_store import open_store
    from clare.store.info import store_info

    found = store_info(open_store(store))
    if json_:
        typer.echo(json.dumps(found, indent=2))
    else:
        print_info(store, found)


@app.command(cls=Command)
def verify(
    store: StorePath = STORE,
    repair: Annotated[
        bool, typer.Option("--repair", help="Queue what is damaged for the next extraction.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Read the records alone; of arrays and text towers see that each has its size, "
            "of pictures that they are there.",
        ),
    ] = False,
) -> None:
    """Check that a store is as it was written: every byte, or with --quick every record."""
    from clare.advice import Run
    from clare.cli.views.console import console, progress_bar
    from clare.cli.views.table import table
    from clare.cli.wording import command_line
    from clare.store.maintenance.repair import repair_store
    from clare.store.maintenance.verify import verify_store

    with progress_bar() as bar:
        task = bar.add_task("verifying", total=None)
        problems = verify_store(
            store,
            quick=quick,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if not problems:
        what = "every record is as it was written, every array has its size, pictures are there"
        console.print(f"{store}: {what if quick else 'every byte is as it was written'}")
        return
    console.print(table(None, ("where", "what"), [(p.where, p.what) for p in problems], left=2))
    if not repair:
        found = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        mend = command_line(Run("store.verify", (store,), {"repair": True}))
        console.print(f"{found}; mend with `{mend}`")
        raise typer.Exit(1)
    done, remaining = repair_store(store, problems)
    for line in done:
        console.print(line)
    for problem in remaining:
        advice = "delete it if nobody needs it" if problem.kind == "extra" else "still damaged"
        console.print(f"{problem.where}: left alone ({problem.what}); {advice}")
    if any(problem.kind != "extra" for problem in remaining):
        raise typer.Exit(1)


@app.command(cls=Command)
def claims(
    store: StorePath = STORE,
    free: Annotated[
        str | None, typer.Option(help="Give up what this process claims, if it works no more.")
    ] = None,
    watch: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds to watch processes of other hosts; default: 2.5 beats."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    json_: Json = False,
) -> None:
    """Show which processes work on what in a store, since when, and whether they live."""
    from clare.cli.views.console import console
    from clare.cli.views.store import print_claims
    from clare.store.claims.listing import free_claims, list_claims
    from clare.store.feature_store import open_store

    own = open_store(store).layout.claims
    found = list_claims(own, watch)
    if json_:
        typer.echo(json.dumps([one.to_json() for one in found], indent=2))
    else:
        print_claims(store, found)
    if free is None:
        return
    if not yes and any(one.state == "silent" and one.owner.token.startswith(free) for one in found):
        console.print(
            "If it only sleeps it will lose what it works on; nothing is damaged by that."
        )
        if not typer.confirm("free what it claims?"):
            raise typer.Exit(1)
    freed = free_claims(own, found, free)
    console.print(f"freed: {sum(map(len, freed.claims.values()))} claims of {freed.owner.token}")


@app.command(cls=Command)
def drop(
    store: StorePath = STORE,
    subset: Annotated[
        str | None, typer.Option(help="Subsets, comma-separated; without --features, whole.")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="EXTRACTOR=FINGERPRINT, comma-separated.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Remove subsets, or features that are not needed any more; says what that frees, and asks."""
    from clare.cli.views.console import console
    from clare.store.feature_store import open_store
    from clare.store.maintenance.drop import drop as drop_from
    from clare.store.maintenance.drop import plan_drop
    from clare.wording import listed, size

    opened = open_store(store)
    named = split_names(subset) or ()
    digests = parse_digests(features) if features else None
    plan = plan_drop(opened, named, digests)
    what = [f"subset {name}" for name in plan.subsets]
    what += [f"{key} of {name}" for name, key in plan.features if name not in plan.subsets]
    what += [f"{key}, which no subset uses then" for key in plan.extractors]
    console.print(f"{store} would lose {listed(what)}: {size(plan.bytes)}", soft_wrap=True)
    if not yes and not typer.confirm("remove this for good?"):
        raise typer.Exit(1)
    drop_from(opened, named, digests)
    console.print(f"removed; {size(plan.bytes)} are free")


@app.command(cls=Command)
def stats(
    store: StorePath = STORE,
    subset: Annotated[str | None, typer.Option(help="Only this subset.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, every channel.")] = False,
) -> None:
    """Show the mean, deviation, outliers and NaN share of every field, over its channels."""
    from clare.cli.views.store import print_statistics
    from clare.store.feature_store import open_store
    from clare.store.statistics import store_statistics

    found = store_statistics(open_store(store), subset=subset)
    if json_:
        typer.echo(json.dumps(found))
    else:
        print_statistics(found)


BucketUrl = Annotated[str, typer.Argument(help="s3://BUCKET/NAME.zarr, or az:// likewise.")]


@app.command(cls=Command)
def push(
    store: Annotated[Path, typer.Argument(help="The store's folder, or its URL in a bucket.")],
    url: BucketUrl,
) -> None:
    """Bring a store into a bucket, or what is new in it; every shard is checked on its way."""
    from clare.cli.views.console import progress_bar
    from clare.cli.views.store import print_carried
    from clare.store.transfer import push_store

    with progress_bar() as bar:
        task = bar.add_task("pushing", total=None)
        found = push_store(
            store, url, lambda done, total: bar.update(task, completed=done, total=total)
        )
    print_carried(url, found)


@app.command(cls=Command)
def pull(
    url: BucketUrl,
    store: Annotated[Path, typer.Argument(help="A folder, made if need be.")] = STORE,
) -> None:
    """Bring a store out of a bucket into a folder, or what is new in it; likewise checked."""
    from clare.cli.views.console import progress_bar
    from clare.cli.views.store import print_carried
    from clare.store.transfer import pull_store

    with progress_bar() as bar:
        task = bar.add_task("pulling", total=None)
        found = pull_store(
            url, store, lambda done, total: bar.update(task, completed=done, total=total)
        )
    print_carried(store, found)


@app.command("export", cls=Command)
def export(
    subset: Annotated[str, typer.Option(help="The subset to export.")],
    out: Annotated[Path, typer.Option(help="The HDF5 file to write.")],
    store: StorePath = STORE,
    features: Annotated[
        str | None, typer.Option(help="Only these fingerprints: lare=DIGEST,clip=DIGEST.")
    ] = None,
) -> None:
    """Write one subset, index included, as one HDF5 file."""
    from clare.cli.views.console import console
    from clare.store.export import export_hdf5
    from clare.store.feature_store import open_store
    from clare.wording import size

    export_hdf5(
        open_store(store),
        subset,
        out,
        digests=None if features is None else parse_digests(features),
    )
    console.print(f"{out}: {size(out.stat().st_size)}")


@app.command("import", cls=Command)
def import_(
    file: Annotated[Path, typer.Argument(help="An HDF5 file that `clare store export` wrote.")],
    store: Store = STORE,
) -> None:
    """Bring an exported subset into a store; the store is made if it is not there."""
    from clare.advice import Run
    from clare.cli.views.console import console, tell_next
    from clare.store.export import import_hdf5

    subset = import_hdf5(store, file)
    console.print(f"{store}: {subset} is in")
    tell_next(Run("store.info", (store,)))

"""`clare manifest variants`: deliveries of a subset's images as a manifest of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from clare.cli.options import MANIFESTS, Manifests, split_names


def variants(
    subset: Annotated[str, typer.Argument(help="Subsets whose images are delivered, by commas.")],
    set_: Annotated[
        str,
        typer.Option(
            "--set",
            help="Sets of deliveries, by commas: clipping, compact, gend, platform, univfd, or "
            "FILE.yaml.",
        ),
    ] = "compact",
    split: Annotated[
        Literal["train", "val", "test"], typer.Option(help="Whose images are taken.")
    ] = "test",
    manifests: Manifests = MANIFESTS,
    out: Annotated[
        Path | None,
        typer.Option(help="The CSV to write, of one subset. [default: SUBSET_variants.csv there]"),
    ] = None,
) -> None:
    """Write the deliveries of images, as a JPEG of quality 30, as rows that extract makes.

    Reals and fakes are damaged alike; where they are two subsets, name both.
    """
    from clare.advice import LeaveOut, Notice, Run
    from clare.augmentation.deliveries import read_set
    from clare.cli.views.console import console, tell_next
    from clare.cli.wording import worded
    from clare.errors import InputError
    from clare.pipeline.datasets.select import read_named, registered_pools
    from clare.pipeline.manifests.csv_io import manifest_name, write_manifest
    from clare.pipeline.manifests.variants import join_sets, make_variants
    from clare.wording import counted, listed

    names = split_names(subset) or []
    if out is not None and len(names) > 1:
        raise InputError("several subsets have a manifest each", LeaveOut("out"))
    deliveries = join_sets(read_set(one) for one in split_names(set_) or [])
    read = [read_named(name, manifests) for name in names]
    name = "" if out is None else manifest_name(out)
    made = [make_variants(one, deliveries, split=split, name=name) for one in read]
    for manifest in made:
        file = out or manifests / f"{manifest.name}.csv"
        write_manifest(manifest, file)
        images = counted(len(manifest.samples) // len(deliveries), "image")
        ways = f"{len(deliveries)} ways"
        console.print(f"{file}: {images} delivered in {ways}, {len(manifest.samples):,} rows")
    labels = {sample.label for manifest in made for sample in manifest.samples}
    if len(labels) == 1:
        kinds = ("reals", "fakes")
        (own,) = labels
        missing = registered_pools(read, manifests) if own else []
        of = f" (those of {listed(missing)})" if missing else ""
        settings = {"set": set_, **({} if split == "test" else {"split": split})}
        again = Run("manifest.variants", (",".join(missing) or "NAME",), settings)
        what = f"{listed(names)} has {kinds[own]} alone: {kinds[1 - own]} beside them{of} need "
        console.print(worded(Notice(f"{what}the same deliveries", again)))
    subsets = {"subset": ",".join(one.name for one in made)}
    tell_next(Run("extract", settings=subsets if out is None else {"manifest": [out]}))

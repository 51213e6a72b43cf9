"""`clare manifest import-json`, `import-csv`: a manifest from a list of somebody else's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clare.cli.options import (
    MANIFESTS,
    FakeLabel,
    FollowLinks,
    Manifests,
    MaskFakeOption,
    RealLabel,
    split_names,
)


def import_json(
    file: Annotated[Path, typer.Argument(help="A list of DeepfakeBench or DF40.")],
    root: Annotated[
        list[str] | None,
        typer.Option(
            help="DIR or NAME=DIR: folders to look in, all for every file. "
            "Else CLARE_ROOT, CLARE_ROOT_NAME."
        ),
    ] = None,
    subset: Annotated[
        str | None,
        typer.Option(help="Name of the subset. [default: the registry's, or the list's]"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The CSV to write. [default: MANIFESTS/SUBSET.csv, if new]")
    ] = None,
    manifests: Manifests = MANIFESTS,
    compression: Annotated[
        str | None, typer.Option(help="raw, c23 or c40, where the list has them. [default: c23]")
    ] = None,
    resplit: Annotated[
        bool,
        typer.Option("--resplit", help="Assign new splits; repairs a val or train that is tested."),
    ] = False,
    with_reals: Annotated[
        bool,
        typer.Option("--with-reals", help="Also take reals that belong to a shared pool."),
    ] = False,
    follow_links: FollowLinks = None,
    real_label: RealLabel = None,
    fake_label: FakeLabel = None,
) -> None:
    """Turn a DeepfakeBench or DF40 JSON list into a manifest, its files found on this disk."""
    import os

    from clare.advice import Run
    from clare.cli.views.console import console, progress_bar, tell_next
    from clare.cli.views.table import table
    from clare.cli.wording import worded
    from clare.labels import Labels
    from clare.pipeline.manifests.csv_io import manifest_name, write_manifest
    from clare.pipeline.manifests.roots import Roots
    from clare.pipeline.official_lists.importer import SIDES, import_list

    with progress_bar() as bar:
        task = bar.add_task("finding files", total=None)
        imported = import_list(
            file,
            Roots.from_options(root or [], os.environ, follow_links),
            subset=subset or (manifest_name(out) if out else None),
            compression=compression,
            resplit=resplit,
            with_reals=with_reals,
            folder=manifests,
            labels=Labels(split_names(real_label) or (), split_names(fake_label) or ()),
            progress=lambda done, total: bar.update(
                task, description="reading headers", completed=done, total=total
            ),
        )
    target = out or manifests / f"{imported.manifest.name}.csv"
    _refuse_there(target, out)
    write_manifest(imported.manifest, target)
    rows = [
        (
            SIDES[one.label] + ("" if one.kept else " (left to their pool)"),
            one.videos,
            one.files,
            one.found,
            f"{one.found / max(one.files, 1):.1%}",
        )
        for one in imported.resolutions
    ]
    console.print(table(file.name, ("label", "videos", "files", "on disk", ""), rows))
    console.print()
    console.print(table(None, ("split", "real", "fake"), imported.counts()))
    for notice in imported.notices:
        console.print(f"- {worded(notice)}")
    console.print(f"{target}: {len(imported.manifest.samples)} images")
    tell_next(Run("manifest.audit", settings={"manifest": [target], "root": root or []}))


def import_csv(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Tables of paths and labels: CSV, or text lists `path label`. Files named train, "
            "val and test say the split."
        ),
    ],
    root: Annotated[
        Path | None,
        typer.Option(help="DIR: where the paths start. [default: the folder of the first file]"),
    ] = None,
    subset: Annotated[
        str | None, typer.Option(help="Name of the subset. [default: the file's]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The CSV to write. [default: MANIFESTS/SUBSET.csv, if new]")
    ] = None,
    manifests: Manifests = MANIFESTS,
    path: Annotated[
        str | None,
        typer.Option(help="Column of paths. [default: a customary name, as path, image, file]"),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column of labels.")] = None,
    video: Annotated[str | None, typer.Option(help="Column of videos; none: images alone.")] = None,
    split: Annotated[str | None, typer.Option(help="Column of train, val, test.")] = None,
    identity: Annotated[str | None, typer.Option(help="Column of the people shown.")] = None,
    mask: Annotated[str | None, typer.Option(help="Column of the masks' paths.")] = None,
    mask_fake: MaskFakeOption = None,
    real_label: RealLabel = None,
    fake_label: FakeLabel = None,
    follow_links: FollowLinks = None,
    hash_: Annotated[
        bool, typer.Option("--hash", help="Also record each file's sha256; finds duplicates.")
    ] = False,
) -> None:
    """Turn a plain table of paths and labels into a manifest."""
    from clare.advice import Run
    from clare.cli.views.console import console, progress_bar, tell_next
    from clare.cli.views.table import table
    from clare.cli.wording import worded
    from clare.labels import Labels
    from clare.pipeline.manifests.csv_io import manifest_name, write_manifest
    from clare.pipeline.manifests.tables import import_csv as import_tables

    roles = {
        "path": path,
        "label": label,
        "video": video,
        "split": split,
        "identity": identity,
        "mask": mask,
    }
    with progress_bar() as bar:
        task = bar.add_task("reading headers", total=None)
        imported = import_tables(
            files,
            root=root,
            subset=subset or (manifest_name(out) if out else None),
            columns={role: column for role, column in roles.items() if column},
            labels=Labels(split_names(real_label) or (), split_names(fake_label) or ()),
            mask_fake=mask_fake,
            hash=hash_,
            follow_links=follow_links,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    built = imported.built
    target = out or manifests / f"{built.manifest.name}.csv"
    _refuse_there(target, out)
    write_manifest(built.manifest, target)
    console.print(table(None, ("split", "real", "fake"), built.counts()))
    for notice in imported.notices:
        console.print(f"- {worded(notice)}")
    console.print(f"{target}: {len(built.manifest.samples)} images, paths start at {built.root}")
    tell_next(Run("manifest.audit", settings={"manifest": [target], "root": [built.root]}))


def _refuse_there(target: Path, out: Path | None) -> None:
    from clare.advice import Name
    from clare.errors import InputError

    if out is None and target.exists():
        raise InputError(
            f"{target} is there already",
            Name("another subset", "subset"),
            Name("the file", "out"),
        )

"""`clare manifest`: build the lists of images, see what is there, and check them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clare.cli.command import Command, subgroup
from clare.cli.commands import manifest_audit, manifest_import, manifest_variants
from clare.cli.options import (
    MANIFESTS,
    FollowLinks,
    Identities,
    Json,
    Manifests,
    MaskFakeOption,
    Video,
    folder_rules,
    split_names,
)

if TYPE_CHECKING:
    from clare.pipeline.datasets.build import BuiltDataset
    from clare.pipeline.manifests.folder_rules import FolderRules
    from clare.pipeline.manifests.mask_folders import MaskFolder

app = subgroup("The lists of the subsets' images.")
app.command("import-json", cls=Command)(manifest_import.import_json)
app.command("import-csv", cls=Command)(manifest_import.import_csv)
app.command("audit", cls=Command)(manifest_audit.audit)
app.command("variants", cls=Command)(manifest_variants.variants)

RootOption = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=DIR, or DIR of a dataset with one root: where it is, on a disk or in a bucket "
        "(s3://…). Else CLARE_ROOT_NAME."
    ),
]
List = Annotated[
    bool,
    typer.Option("--list", help="Show each subset with its rows, every remark, and each folder."),
]
FOLDERS, DATASET = "Plain folders", "A registered dataset"


@app.command(cls=Command)
def build(
    subset: Annotated[
        str | None,
        typer.Option(help="Name of the subset; of a dataset, the ones to build, comma-separated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The CSV to write (.csv or .csv.gz). [default: NAME.csv of the manifests]",
            rich_help_panel=FOLDERS,
        ),
    ] = None,
    real: Annotated[
        list[Path] | None, typer.Option(help="Folder of real images.", rich_help_panel=FOLDERS)
    ] = None,
    fake: Annotated[
        list[Path] | None, typer.Option(help="Folder of generated images.", rich_help_panel=FOLDERS)
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the fakes' masks, each of the path and name of its image, or "
            "NAME_mask.",
            rich_help_panel=FOLDERS,
        ),
    ] = None,
    mask_fake: MaskFakeOption = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="df40, ffpp, celebdf, celebdf1, dfd, dfdc, dfdcp, ffiw, dolos, autosplice, or "
            "your own entry.",
            rich_help_panel=DATASET,
        ),
    ] = None,
    root: RootOption = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a dataset DOMAIN=RULE, as ff=carved: listed, carved, held-out, identity or "
            "official. "
            "Of plain folders: folders keeps train/, val/ and test/ as they are, random deals all "
            "images out. [default: the registry's; folders]",
        ),
    ] = None,
    video: Video = None,
    identities: Identities = False,
    test_only: Annotated[
        bool,
        typer.Option("--test-only", help="All images are for tests.", rich_help_panel=FOLDERS),
    ] = False,
    manifests: Manifests = MANIFESTS,
    follow_links: FollowLinks = None,
    hash_: Annotated[
        bool, typer.Option("--hash", help="Also record each file's sha256; finds duplicates.")
    ] = False,
    list_: List = False,
) -> None:
    """Build manifests: of a dataset that the registry knows, or of folders that you label."""
    from clare.advice import LeaveOut, Run
    from clare.errors import InputError
    from clare.pipeline.manifests.folder_rules import FolderRules
    from clare.pipeline.manifests.mask_folders import mask_folders
    from clare.settings import build_settings

    if dataset is not None:
        folders = {"real": real, "fake": fake, "masks": masks, "mask_fake": mask_fake, "out": out}
        if named := [name for name, value in folders.items() if value]:
            raise InputError(
                "a registered dataset has folders and files of its own",
                LeaveOut(*named),
                LeaveOut("dataset"),
            )
        if named := [*folder_rules(video, identities, None, test_only)]:
            raise InputError(
                "the registry knows a dataset's videos, people and splits", LeaveOut(*named)
            )
        _build_dataset(
            dataset, subset, root or [], split or [], manifests, hash_, follow_links, list_
        )
        return
    if subset is None or not (real or fake):
        raise InputError(
            "there is nothing to build a manifest of",
            Run("manifest.build", settings={"dataset": "df40", "root": ["NAME=DIR"]}),
            Run(
                "manifest.build",
                settings={"subset": "NAME", "real": ["DIR"], "fake": ["DIR"]},
            ),
        )
    own = split[-1] if split else None
    given = folder_rules(video, identities, own, test_only)
    rules: FolderRules = build_settings("folders", FolderRules, given)
    place = out or manifests / f"{subset}.csv"
    aside = mask_folders([] if masks is None else [str(masks.absolute())], mask_fake).get("")
    _build_folders(subset, place, real or [], fake or [], aside, rules, hash_, follow_links)


@app.command(cls=Command)
def status(
    manifests: Manifests = MANIFESTS,
    list_: List = False,
    json_: Json = False,
) -> None:
    """What is there of each registered subset: ok, partial or absent; counts, domains, reals."""
    from clare.advice import Run
    from clare.cli.views.console import tell_next
    from clare.cli.views.manifests import show_status
    from clare.cli.wording import worded
    from clare.pipeline.checks.status import list_status

    found = list_status(manifests)
    if json_:
        _print_json([one.to_json(worded) for one in found])
    else:
        show_status(found, in_full=list_)
        is_there = any(one.state != "absent" for one in found)
        begin = Run("manifest.build", settings={"dataset": "df40", "root": ["NAME=DIR"]})
        tell_next(Run("manifest.check") if is_there else begin)


@app.command(cls=Command)
def protocols(
    name: Annotated[
        str | None, typer.Argument(help="NAME or FILE.yaml, to see it whole. [default: all]")
    ] = None,
) -> None:
    """What there is for --protocol: titles and trainings, or all of one."""
    from clare.cli.views.manifests import show_protocol, show_protocols

    show_protocols() if name is None else show_protocol(name)


@app.command(cls=Command)
def check(
    subset: Annotated[
        str | None, typer.Argument(help="Subsets, comma-separated. [default: all]")
    ] = None,
    manifests: Manifests = MANIFESTS,
    root: RootOption = None,
    follow_links: FollowLinks = None,
    decode: Annotated[
        bool,
        typer.Option(
            help="Decode every image and mask: finds what breaks off, and masks that are not right."
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Check manifests: exit code 1 if a gate fails. Files are looked at where a root is known."""
    import os

    from clare.advice import Run
    from clare.cli.views.console import progress_bar, tell_next
    from clare.cli.views.manifests import show_findings
    from clare.cli.wording import worded
    from clare.pipeline.checks.check import check_manifests
    from clare.pipeline.checks.files import FileCheck
    from clare.pipeline.manifests.roots import Roots

    names = split_names(subset) or []
    with progress_bar() as bar:
        task = bar.add_task("checking manifests", total=None)
        findings = check_manifests(
            manifests,
            names,
            look=FileCheck(Roots.from_options(root or [], os.environ, follow_links), decode=decode),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if json_:
        _print_json([one.to_json(worded) for one in findings])
    else:
        show_findings(findings)
    if any(finding.gate for finding in findings):
        raise typer.Exit(1)
    if names and not json_:
        tell_next(Run("extract", settings={"subset": ",".join(names), "root": root or []}))


def _build_dataset(
    dataset: str,
    subsets: str | None,
    roots: list[str],
    rules: list[str],
    manifests: Path,
    hash: bool,
    follow_links: Path | None,
    in_full: bool,
) -> None:
    import os

    from clare.advice import Run
    from clare.cli.views.console import progress_bar, tell_next
    from clare.cli.views.manifests import show_build
    from clare.pipeline.datasets.build import (
        build_dataset,
        dataset_roots,
        require_images,
        write_dataset,
    )
    from clare.pipeline.datasets.registry import load_registry

    registry = load_registry(manifests)
    names = split_names(subsets) or []
    places = dataset_roots(registry, dataset, roots, os.environ)
    with progress_bar() as bar:
        task = bar.add_task("listing files", total=None)

        def report(done: int, total: int) -> None:
            what = "reading headers" if total else "listing files"
            bar.update(task, description=what, completed=done, total=total or None)

        built: BuiltDataset = build_dataset(
            registry,
            dataset,
            places,
            wanted=[registry.subset(name).id for name in names],
            rules=_rules(rules),
            hash=hash,
            follow_links=follow_links,
            progress=report,
        )
        refused = write_dataset(built, dataset, manifests)
    show_build(built, refused, dataset, manifests, in_full=in_full)
    require_images(built, registry, places)
    tell_next(Run("manifest.check"))


def _rules(options: list[str]) -> dict[str, str]:
    from clare.advice import Name
    from clare.errors import InputError

    rules = {}
    for option in options:
        domain, equals, rule = option.partition("=")
        if not equals:
            raise InputError(f"split {option} names no rule", Name("one", "split", "ff=carved"))
        rules[domain] = rule
    return rules


def _build_folders(
    subset: str,
    out: Path,
    real: list[Path],
    fake: list[Path],
    masks: MaskFolder | None,
    rules: FolderRules,
    hash: bool,
    follow_links: Path | None,
) -> None:
    from clare.advice import Run
    from clare.cli.views.console import console, progress_bar, tell_next
    from clare.cli.views.table import table
    from clare.cli.wording import worded
    from clare.pipeline.manifests.csv_io import write_manifest
    from clare.pipeline.manifests.folders import build_manifest

    with progress_bar() as bar:
        task = bar.add_task("reading headers", total=None)
        built = build_manifest(
            subset,
            real,
            fake,
            masks=masks,
            rules=rules,
            hash=hash,
            follow_links=follow_links,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    write_manifest(built.manifest, out)
    console.print(table(None, ("split", "real", "fake"), built.counts()))
    for notice in built.notices():
        console.print(worded(notice))
    console.print(f"{out}: {len(built.manifest.samples)} images, paths start at {built.root}")
    tell_next(Run("manifest.audit", settings={"manifest": [out], "root": [built.root]}))


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, indent=2))

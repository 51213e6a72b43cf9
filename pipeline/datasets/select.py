"""Which manifests a command works on: named subsets, files, or plain folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clare.advice import LeaveOut, Name, Notice, Run, Set
from clare.errors import InputError
from clare.pipeline.datasets.build import build_dataset, write_dataset
from clare.pipeline.datasets.dated import with_dates
from clare.pipeline.datasets.plain_folders import select_folders
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.datasets.schema import Registry, Subset
from clare.pipeline.manifests.csv_io import (
    find_manifest,
    list_manifests,
    manifest_name,
    read_manifest,
)
from clare.pipeline.manifests.folder_rules import FolderRules
from clare.pipeline.manifests.mask_folders import MaskFolder
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest
from clare.progress import Progress
from clare.protocol import read_protocol, split_name
from clare.settings import build_settings
from clare.wording import listed

NO_POOLS = "none"
"""What a user says who wants no reals beside fakes."""


def select_manifests(
    subsets: str | None,
    files: Sequence[Path],
    folder: Path,
    roots: Sequence[str],
    reals: Sequence[Path],
    fakes: Sequence[str],
    *,
    masks: Mapping[str, MaskFolder] | None = None,
    follow_links: Path | None = None,
    rules: Mapping[str, Any] | None = None,
    test_only: Sequence[str] = (),
    pools: str | Sequence[str] | None = (),
    notice: Callable[[Notice], None] = lambda notice: None,
    progress: Progress | None = None,
) -> list[tuple[Manifest, Roots]]:
    """Read the manifests that were named, or build them from folders.

    A registered subset that has no manifest yet gets one, where a root of it is known. Rows that
    are copies of others (status ``duplicate``) are left out.

    With folders of images, each ``NAME=DIR`` of ``fakes`` is a subset of that name (``fake``
    without one) and all reals together are the subset ``real``, so that several fakes share one
    extraction of the reals. With one subset name beside, reals and fakes are that one subset.

    Args:
        subsets: comma-separated names, each a file of ``folder``; with manifest files those of
            them that are meant; or the name for plain folders.
        files: manifest files.
        folder: where named manifests are.
        roots: ``DIR`` or ``NAME=DIR``: where the paths of manifests start.
        reals: folders of real images.
        fakes: ``DIR`` or ``NAME=DIR``: folders of generated images.
        masks: folders of the fakes' masks by subset, "" for all others; see `mask_folders`.
        follow_links: a folder that links may lead into, out of their root or folder.
        rules: how names of files and folders are read, where folders of images are given: fields
            of `FolderRules`.
        test_only: subsets of plain folders that are for tests alone, with all their images.
        pools: subsets of reals to take along, comma-separated or a list; see `named_pools`. If
            None, named subsets of fakes alone bring the pools that the registry has for their
            domains, as far as they are there.
        notice: told what was taken for granted.
        progress: called with (files indexed, files in all) while folders are read.

    Raises:
        InputError: nothing was named, too much was, or a name has no manifest and none could be
            built, because it is not registered or no root of it is known.
        ManifestError: a manifest breaks a rule.
    """
    pools = named_pools(pools)
    names = _names(subsets or "")
    if reals or fakes:
        if files:
            raise InputError(
                "manifests and folders of images don't go together",
                LeaveOut("manifest"),
                LeaveOut(*(name for name, given in (("real", reals), ("fake", fakes)) if given)),
            )
        if roots:
            raise InputError("folders of images name their place themselves", LeaveOut("root"))
        if pools:
            raise InputError(
                "folders of images bring their own reals, by folder and not by a pool's name",
                LeaveOut("reals"),
                Name("them", "real", "DIR"),
            )
        if len(names) > 1:
            raise InputError(
                "folders of images make one subset, not several", Name("one", "subset")
            )
        return select_folders(
            names[0] if names else None,
            reals,
            fakes,
            masks or {},
            build_settings("folders", FolderRules, rules or {}),
            test_only,
            follow_links,
            notice,
            progress,
        )
    if masks:
        raise InputError("masks of a manifest stand in its column mask_path", LeaveOut("masks"))
    if given := [*(rules or ()), *(["test_only"] if test_only else [])]:
        raise InputError("videos and splits of a manifest stand in its columns", LeaveOut(*given))
    if not (names or files):
        raise InputError(
            "no images are named",
            Name("a subset", "subset"),
            Name("a manifest", "manifest"),
            Name("folders of reals", "real"),
            Name("folders of fakes", "fake", "NAME=DIR"),
        )
    places = Roots.from_options(roots, os.environ, follow_links)
    if names and files:
        files, names = _of_names(files, names), []
    found = [_find(name, folder, places, progress) for name in names] + list(files)
    selected = [(_read(path, folder), places) for path in found]
    if pools is None and names and _are_fakes(selected):
        selected += _pools_of([m for m, _ in selected], folder, places, notice, progress)
    for pool in pools or ():
        manifest = _read(_find(pool, folder, places, progress), folder)
        if any(sample.label for sample in manifest.samples):
            raise InputError(f"{pool} has fakes too", Name("it among the subsets", "subset"))
        if manifest.name not in [one.name for one, _ in selected]:
            selected.append((manifest, places))
    return _without_repeats(selected)


def named_pools(pools: str | Sequence[str] | None) -> list[str] | None:
    """The subsets of reals that a user named, each once; none of them for the word "none".

    Args:
        pools: comma-separated, or a list.

    Returns:
        None where nothing was said.
    """
    found = _names(pools) or None if isinstance(pools, str) else pools
    if found is None:
        return None
    return [] if list(found) == [NO_POOLS] else list(dict.fromkeys(found))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def select_audited(
    subsets: str | None,
    files: Sequence[Path],
    folder: Path,
    roots: Sequence[str],
    reals: Sequence[Path],
    fakes: Sequence[str],
    *,
    pools: str | Sequence[str] | None = None,
    follow_links: Path | None = None,
) -> list[tuple[Manifest, Roots]]:
    """What an audit compares: the manifests that were named, and the reals that belong beside them.

    Args:
        subsets: as for `select_manifests`, and so are the next five.
        files: manifest files.
        folder: where named manifests are.
        roots: ``DIR`` or ``NAME=DIR``.
        reals: folders of real images.
        fakes: folders of generated images.
        pools: subsets of reals, see `named_pools`; by default those that the registry names for
            the domains of the fakes, if no real is there.
        follow_links: as for `select_manifests`.

    Raises:
        InputError: nothing was named, or a name has no manifest.
        ManifestError: a manifest breaks a rule.
    """
    links = follow_links
    selected = select_manifests(subsets, files, folder, roots, reals, fakes, follow_links=links)
    others = named_pools(pools)
    if others is None and _are_fakes(selected):
        others = registered_pools([manifest for manifest, _ in selected], folder)
    named = ",".join(others or ())
    beside = select_manifests(named, [], folder, roots, [], [], follow_links=links) if named else []
    names = {manifest.name for manifest, _ in selected}
    return [*selected, *(one for one in beside if one[0].name not in names)]


def select_protocol(
    name: str,
    folder: Path,
    roots: Sequence[str],
    *,
    follow_links: Path | None = None,
    progress: Progress | None = None,
) -> tuple[list[tuple[Manifest, Roots]], dict[str, str]]:
    """The rows that a protocol trains and tests on, each subset and each pool of reals once.

    They are those of its domains and splits. All frames of their videos stay: frames are chosen
    from what the store has, so a store of some frames would make the same protocol another one.

    Args:
        name: ``NAME``, or ``NAME/KEY`` for one of its trainings alone and the tests.
        folder: where manifests are; registered subsets without one get one, as `select_manifests`.
        roots: as `select_manifests`.
        follow_links: as `select_manifests`.
        progress: as `select_manifests`.

    Returns:
        The manifests with the roots of their paths, and why, by subset that can't be had.

    Raises:
        InputError: there is no such protocol, or none of its subsets.
        ManifestError: a manifest breaks a rule.
    """
    found, key = split_name(name)
    places = Roots.from_options(roots, os.environ, follow_links)
    selected, absent = [], {}
    for subset, needed in sorted(read_protocol(found).needs(key).items()):
        try:
            manifest = _read(_find(subset, folder, places, progress), folder)
        except InputError as error:
            absent[subset] = str(error)
            continue
        kept = tuple(
            sample
            for sample in manifest.samples
            if {(sample.domain, sample.split), ("", sample.split)} & needed
        )
        if kept:
            selected.append((Manifest(manifest.name, kept), places))
        else:
            absent[subset] = f"{manifest.name} has no rows of the protocol's domains and splits"
    if not selected:
        raise InputError(f"nothing of protocol {name} is there: {next(iter(absent.values()))}")
    return selected, absent


def _pools_of(
    manifests: Sequence[Manifest],
    folder: Path,
    places: Roots,
    notice: Callable[[Notice], None],
    progress: Progress | None,
) -> list[tuple[Manifest, Roots]]:
    """The reals that belong beside fakes, as far as they are there; it is said either way."""
    found = []
    names = listed(manifest.name for manifest in manifests)
    for pool in registered_pools(manifests, folder):
        try:
            manifest = _read(_find(pool, folder, places, progress), folder)
            for sample in {sample.root: sample for sample in manifest.samples}.values():
                places.resolve(sample)  # a pool whose folder is not known is not there
        except InputError as error:
            what = (
                f"{names} has no reals of its own, and its pool {pool} can't be had: {error.what}"
            )
            notice(Notice(what, *error.advice))
            continue
        what = f"{names} has no reals of its own: those of {pool} are extracted too"
        notice(Notice(what, Set("reals", NO_POOLS, effect="leaves them out")))
        found.append((manifest, places))
    return found


def _are_fakes(selected: Sequence[tuple[Manifest, Roots]]) -> bool:
    return all(sample.label for manifest, _ in selected for sample in manifest.samples)


def registered_pools(manifests: Sequence[Manifest], folder: Path) -> list[str]:
    """The subsets of reals that the registry has for the domains of these subsets."""
    registry = load_registry(folder)
    pools: dict[str, None] = {}
    for manifest in manifests:
        subset = registry.find(manifest.name)
        for domain in sorted({s.domain for s in manifest.samples}) if subset else ():
            if subset is not None and domain in subset.reals:
                pools[subset.reals[domain]] = None
    return list(pools)


def find_subset(registry: Registry, folder: Path, name: str) -> Path | None:
    """The manifest of a subset by its own name, its id or an alias; None where there is none."""
    subset = registry.find(name)
    return find_manifest(folder, name) or (subset and find_manifest(folder, subset.id)) or None


def read_named(name: str, folder: Path) -> Manifest:
    """The manifest of a subset by its own name, its id or an alias; copies are left out.

    Raises:
        InputError: it has none.
        ManifestError: it breaks a rule.
    """
    path = find_subset(load_registry(folder), folder, name)
    if path is None:
        raise no_manifest(folder, name)
    return _read(path, folder)


def no_manifest(folder: Path, name: str) -> InputError:
    """The error that says that a subset has no manifest."""
    there = ", ".join(list_manifests(folder)) or "no manifest"
    return InputError(
        f"there is no {folder / name}.csv; {folder} holds {there}",
        Run("manifest.build", effect="makes one"),
        Name("its file", "manifest"),
    )


def _of_names(files: Sequence[Path], names: Sequence[str]) -> list[Path]:
    """The manifest files that are of the subsets named."""
    held = {manifest_name(file): file for file in files}
    if absent := [name for name in names if name not in held]:
        raise InputError(
            f"no manifest given is of {', '.join(absent)}: they are of {', '.join(held)}",
            LeaveOut("subset"),
            LeaveOut("manifest"),
        )
    return [file for file in files if manifest_name(file) in names]


def _find(name: str, folder: Path, roots: Roots, progress: Progress | None) -> Path:
    registry = load_registry(folder)
    path = find_subset(registry, folder, name)
    if path is None and (subset := registry.find(name)) is not None:
        path = _build(registry, subset, folder, roots, progress)
    if path is None:
        raise no_manifest(folder, name)
    return path


def _build(
    registry: Registry,
    subset: Subset,
    folder: Path,
    roots: Roots,
    progress: Progress | None,
) -> Path:
    """Build the manifest of one registered subset and write it to the manifests' folder."""
    known = {root: found for root in subset.roots if (found := roots.folder(root)) is not None}
    if not known:
        raise InputError(
            f"{folder / subset.id}.csv is not built yet and no root of {subset.id} is known",
            Name("one", "root", f"{subset.roots[0]}=DIR"),
        )

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total or done)

    built = build_dataset(
        registry,
        subset.dataset,
        known,
        wanted=(subset.id,),
        follow_links=roots.follow_links,
        progress=report,
    )
    refused = write_dataset(built, subset.dataset, folder)
    path = find_manifest(folder, subset.id)
    if path is None:
        shown = ", ".join(str(place) for place in known.values())
        reason = refused.get(subset.id, "its folder is not there")
        raise InputError(f"nothing of {subset.id} was found below {shown}: {reason}")
    return path


def _read(path: Path, folder: Path) -> Manifest:
    """A manifest without copies, with the registry's dates where its rows have none."""
    manifest = read_manifest(path)
    kept = tuple(sample for sample in manifest.samples if sample.status != "duplicate")
    return with_dates(Manifest(manifest.name, kept), load_registry(folder))


def _without_repeats(selected: list[tuple[Manifest, Roots]]) -> list[tuple[Manifest, Roots]]:
    names = [manifest.name for manifest, _ in selected]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"subset {', '.join(repeated)} was named twice")
    return selected

"""Subsets of a user's own folders: the reals as one pool, and the fakes of each name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clare.advice import LeaveOut, Name, Notice
from clare.errors import InputError
from clare.foreign import opens_itself
from clare.pipeline.manifests.folder_rules import FolderRules, deal_together
from clare.pipeline.manifests.folders import BuiltManifest, build_manifest
from clare.pipeline.manifests.mask_folders import MaskFolder, refuse_images_in
from clare.pipeline.manifests.roots import PLAIN_FOLDER, Roots, split_option
from clare.pipeline.manifests.sample import Manifest
from clare.progress import Progress
from clare.store.bucket.files import common_folder, file_place
from clare.wording import counted, name_rows

REAL_POOL = "real"
"""The subset of all reals that several subsets of fakes share."""


def select_folders(
    subset: str | None,
    reals: Sequence[Path],
    fakes: Sequence[str],
    masks: Mapping[str, MaskFolder],
    rules: FolderRules,
    test_only: Sequence[str],
    follow_links: Path | None,
    notice: Callable[[Notice], None],
    progress: Progress | None,
) -> list[tuple[Manifest, Roots]]:
    """A manifest for each subset of plain folders; see `clare.pipeline.datasets.select`.

    Raises:
        InputError: names or folders contradict each other, or a file is given as real and as fake.
        ManifestError: a folder holds no image, or a rule of manifests is broken.
    """
    reals = [file_place(folder) for folder in reals]
    named: dict[str, list[Path]] = {}
    for option in fakes:
        name, path = split_option("fake", option)
        named.setdefault(name or "fake", []).append(file_place(path))
    if subset is not None:
        if set(named) - {"fake", subset}:
            raise InputError(
                f"subset {subset} joins all folders into one",
                Name("folders of fakes without names of their own", "fake"),
                LeaveOut("subset"),
            )
        groups = [(subset, list(reals), [p for paths in named.values() for p in paths])]
    else:
        if REAL_POOL in named:
            raise InputError(
                f"{REAL_POOL} is the subset of the reals", Name("the fakes otherwise", "fake")
            )
        groups = [(REAL_POOL, list(reals), [])] if reals else []
        groups += [(name, [], paths) for name, paths in named.items()]
    if strange := sorted({*masks} - {"", *(name for name, _, _ in groups)}):
        raise InputError(
            f"there are no fakes {', '.join(strange)} for those masks",
            Name("their fakes", "fake", f"{strange[0]}=DIR"),
        )
    if strange := sorted(set(test_only) - {name for name, _, _ in groups}):
        there = ", ".join(name for name, _, _ in groups)
        raise InputError(
            f"{', '.join(strange)} is no subset of these folders",
            Name(f"some of {there}", "test_only"),
        )
    folders = [folder.resolve() for _, own, others in groups for folder in (*own, *others)]
    for one in masks.values():
        refuse_images_in(one, folders)
    within = common_folder(folder.parent for folder in folders) if folders else None
    selected = []
    for name, real_folders, fake_folders in groups:
        own = replace(rules, test_only=rules.test_only or name in test_only)
        aside = masks.get(name, masks.get("")) if fake_folders else None
        built = build_manifest(
            name,
            real_folders,
            fake_folders,
            masks=aside,
            rules=own,
            follow_links=follow_links,
            within=within,
            progress=progress,
        )
        for told in (*built.assumed, *built.masks, *built.left_out()):
            notice(Notice(f"{name}: {told.what}", *told.advice))
        selected.append(_rooted(built, [*real_folders, *fake_folders], aside))
    if rules.identities:
        dealt = deal_together(
            [manifest.samples for manifest, _ in selected], by_role=bool(test_only)
        )
        selected = [
            (Manifest(manifest.name, tuple(samples)), roots)
            for (manifest, roots), samples in zip(selected, dealt, strict=True)
        ]
    _refuse_two_labels(selected)
    return selected


def _refuse_two_labels(selected: Sequence[tuple[Manifest, Roots]]) -> None:
    """Refuse a file that stands in folders of reals and of fakes; copies show when it is read."""
    known: dict[tuple[int, int] | Path, tuple[int, Path]] = {}
    both = []
    for manifest, roots in selected:
        for sample in manifest.samples:
            path = roots.resolve(sample)
            try:
                found = None if opens_itself(path) else path.stat()
            except OSError:
                continue  # it stays, as missing
            key = path if found is None else (found.st_dev, found.st_ino)
            label, first = known.setdefault(key, (sample.label, path))
            if label != sample.label:
                both.append(f"{first} and {path}" if first != path else str(path))
    if both:
        raise InputError(
            f"{counted(len(both), 'file')} given as real and as fake: {name_rows(both)}",
            Name("folders that share no file", "real"),
        )


def _rooted(
    built: BuiltManifest, folders: Sequence[Path], masks: MaskFolder | None
) -> tuple[Manifest, Roots]:
    """Each sample below the parent of its own folder, under a name that tells parents apart.

    So a folder that is named beside it moves no sample, and one of another place that has the
    same name is not taken for it. A sample with a mask is below what holds both folders.
    """
    places: dict[str, Path] = {}
    samples = []
    parents = {folder.resolve(): folder.resolve().parent for folder in folders}
    for sample in built.manifest.samples:
        image = built.root / sample.path
        parent = next(parents[above] for above in image.parents if above in parents)
        mask = sample.mask_path
        if mask and masks is not None:
            holds_both = common_folder([parent, masks.folder.resolve()])
            assert holds_both is not None  # else there were no manifest
            parent = holds_both
            mask = (built.root / mask).relative_to(parent).as_posix()
        name = PLAIN_FOLDER + hashlib.sha256(os.fsencode(parent)).hexdigest()[:8]
        places[name] = parent
        path = image.relative_to(parent).as_posix()
        samples.append(replace(sample, root=name, path=path, mask_path=mask))
    return Manifest(built.manifest.name, tuple(samples)), Roots(None, places, built.follow_links)

"""A manifest from plain folders; the label is the argument that a folder is given in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clare.advice import Name, Notice
from clare.columns import SPLITS
from clare.errors import InputError, ManifestError
from clare.foreign import opens_itself
from clare.pipeline.manifests.file_shortcuts import shortcuts_of
from clare.pipeline.manifests.folder_rules import FolderRules, apply_rules
from clare.pipeline.manifests.headers import HEIC, read_headers
from clare.pipeline.manifests.mask_folders import FoundMasks, MaskFolder, refuse_images_in
from clare.pipeline.manifests.masks import look_at_masks
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.manifests.scan import (
    LEAVES,
    LINKED_FOLDER,
    NO_IMAGE,
    VIDEOS,
    list_tree,
    suffix_of,
)
from clare.pipeline.manifests.validation import check_name, validate
from clare.store.bucket.files import common_folder, file_place
from clare.store.bucket.places import bucket_url
from clare.wording import counted, name_rows, natural_key


@dataclass(frozen=True)
class BuiltManifest:
    """A manifest with what was seen on the way to it.

    Args:
        manifest: the manifest, validated.
        root: the folder that its paths start at.
        follow_links: a folder that links lead into besides.
        ignored: files that stand beside images by design, counted by kind.
        unmatched: files that are neither images nor known to be anything else, by suffix.
        strange: files left out because no manifest can hold their names, and why.
        assumed: what was taken for granted of videos, people and splits.
        masks: what is not as it should be with the masks.
    """

    manifest: Manifest
    root: Path
    follow_links: Path | None = None
    ignored: Mapping[str, int] = field(default_factory=dict)
    unmatched: Mapping[str, int] = field(default_factory=dict)
    strange: Sequence[str] = ()
    assumed: tuple[Notice, ...] = ()
    masks: tuple[Notice, ...] = ()

    @property
    def roots(self) -> Roots:
        """Where its paths start, as an audit or an extraction asks for it."""
        return Roots(self.root, {}, self.follow_links)

    def counts(self) -> list[tuple[str, int, int]]:
        """Rows of each split as (split, real, fake)."""
        rows = Counter((sample.split, sample.label) for sample in self.manifest.samples)
        return [(split, rows[split, 0], rows[split, 1]) for split in SPLITS]

    def left_out(self) -> list[Notice]:
        """The files that no manifest can hold; none where there are none."""
        if not self.strange:
            return []
        files = counted(len(self.strange), "file")
        what = f"{files} left out for their names: {name_rows(self.strange)}"
        return [Notice(what, "rename them")]

    def notices(self) -> list[Notice]:
        """One for each thing that deserves a look; none where all is plain."""
        bad: dict[str, list[str]] = {}
        for sample in self.manifest.samples:
            if sample.status != "ok":
                bad.setdefault(sample.status, []).append(sample.path)
        notices = [
            *self.assumed,
            *(
                Notice(f"{len(paths)} {status} (kept, and will fail): {name_rows(paths)}")
                for status, paths in sorted(bad.items())
            ),
        ]
        for title, kinds in (("ignored", self.ignored), ("not images", self.unmatched)):
            if kinds:
                shown = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
                notices.append(Notice(f"{title}: {shown}"))
        notices += [*self.masks, *self.left_out()]
        heic = sum(s.format == HEIC and s.width is None for s in self.manifest.samples)
        if heic:
            what = f"{counted(heic, 'image')} in HEIC, which this installation can't decode"
            notices.append(Notice(what, "install clare-features[heic]"))
        return [*notices, *shortcuts_of(self.manifest.samples)]


def build_manifest(
    subset: str,
    reals: Sequence[Path | str],
    fakes: Sequence[Path | str],
    *,
    masks: MaskFolder | None = None,
    rules: FolderRules = FolderRules(),  # noqa: B008
    hash: bool = False,
    follow_links: Path | None = None,
    within: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BuiltManifest:
    """List the images below folders, read their headers and assign splits.

    Paths are relative to the deepest folder that holds all the folders given. ``sample_id`` is
    ``<subset>/<name of the folder given>/<path in it>``, so that another folder beside it changes
    no id; folders of one name are told apart by their path from the common folder. Files that
    can't be opened as images stay, with their status. A link to a listed file is skipped, whichever
    comes first by name, and so are linked folders within the common folder: what they hold would
    stand twice. Files whose names no manifest can hold are left out and said.

    Args:
        subset: name of the manifest.
        reals: folders of real images, label 0, searched to any depth.
        fakes: folders of generated images, label 1.
        masks: where the masks of the fakes are; see `FoundMasks`.
        rules: how videos, people and splits are read from names.
        hash: also record the sha256 of each file, which finds copies under both labels.
        follow_links: a folder that links to files and folders may lead into, out of the common one.
        within: a folder over all whose inner folders' names may say a split; the common one if
            None.
        progress: called with (files read, files in all).

    Raises:
        InputError: a folder is missing or can't be listed; no fake has a mask in the folder of
            masks, or one has several.
        ManifestError: no folders; one holds another; a folder without images; links that leave
            the common folder and ``follow_links``; or a rule of `validate` is broken, such as
            one file under both labels.
    """
    check_name(subset)
    folders = {_real_folder(folder): label for folder, label in _labelled(reals, fakes)}
    if len(folders) < len(reals) + len(fakes) or not folders:
        raise ManifestError(f"{subset}: name at least one folder, and each folder once")
    _refuse_nested(subset, list(folders))
    if masks is not None:
        refuse_images_in(masks, folders)
    aside = None if masks is None else masks.folder.resolve()
    root = _common(subset, [folder.parent for folder in folders])
    # Names over the images say splits, whether or not masks lie elsewhere.
    common = root if aside is None else _common(subset, [root, aside])
    search = _Search(subset, root, follow_links)
    for folder, label in folders.items():
        search.add(folder, label, aside)
    images = search.images()
    found_masks = None if masks is None else FoundMasks(masks, common, follow_links)
    names = Counter(folder.name for folder in folders)
    listed: list[Sample] = []
    for folder, label in folders.items():
        paths = images.get(folder, [])
        if not paths:
            raise search.nothing_in(folder)
        place = folder.relative_to(root).as_posix()
        name = folder.name if names[folder.name] == 1 else place
        for path in paths:
            inner = path.removeprefix(place)
            sample = Sample(f"{subset}/{name}{inner}", path, label, subset)
            if masks is not None and found_masks is not None and label == 1:
                mask = found_masks.mask_of(inner.lstrip("/"), folder.name)
                sample = replace(sample, mask_path=mask, mask_fake=mask and masks.column)
            listed.append(sample)
    if found_masks is not None:
        found_masks.refuse_misfits()
    listed.sort(key=lambda sample: natural_key(sample.path))
    samples = tuple(read_headers(listed, lambda s: root / s.path, hash=hash, progress=progress))
    named = [folder.relative_to(root).as_posix() for folder in folders]
    above = root.relative_to(within).as_posix() if within is not None else ""
    found, assumed = apply_rules(samples, named, rules, above=above)
    if common != root:
        between = root.relative_to(common).as_posix()
        found = tuple(replace(sample, path=f"{between}/{sample.path}") for sample in found)
    manifest = Manifest(subset, found)
    validate(manifest)
    remarks = look_at_masks(found, lambda sample, path: common / path)
    return BuiltManifest(
        manifest,
        common,
        follow_links,
        dict(search.ignored),
        dict(search.unmatched),
        tuple(search.strange),
        tuple(assumed),
        (
            *(found_masks.notices() if found_masks is not None else ()),
            *(remark.notice for remark in remarks),
        ),
    )


def _labelled(
    reals: Sequence[Path | str], fakes: Sequence[Path | str]
) -> Iterator[tuple[Path, int]]:
    yield from ((file_place(folder), 0) for folder in reals)
    yield from ((file_place(folder), 1) for folder in fakes)


def _real_folder(folder: Path) -> Path:
    if not folder.is_dir():
        there = "is not a folder" if folder.exists() else "is not there"
        raise InputError(f"{folder} {there}: name a folder of images")
    if opens_itself(folder) and bucket_url(folder.parent) is None:
        raise InputError(f"{folder} is a whole bucket: name a folder in it")
    return folder.resolve()


def _common(subset: str, folders: Sequence[Path]) -> Path:
    found = common_folder(folders)
    if found is None:
        raise ManifestError(
            f"{subset}: {name_rows(sorted({str(one) for one in folders}))} are in different "
            "places, and the paths of a manifest start in one: name folders of one disk, or of one "
            "bucket"
        )
    return found


def _refuse_nested(subset: str, folders: Sequence[Path]) -> None:
    for folder in folders:
        for outer in folders:
            if outer in folder.parents:
                raise ManifestError(
                    f"{subset}: {outer} holds {folder}, so its files would stand twice: "
                    "name folders that lie beside each other"
                )


def _links(path: Path) -> int:
    """How many links lead from a path to its file, one after the other; loops end."""
    count = 0
    while count < 40 and path.is_symlink():
        path = path.parent / path.readlink()
        count += 1
    return count


class _Search:
    """Lists folders, and counts what it leaves out."""

    def __init__(self, subset: str, root: Path, follow_links: Path | None) -> None:
        self.ignored: Counter[str] = Counter()
        self.unmatched: Counter[str] = Counter()
        self.strange: list[str] = []
        self._subset = subset
        self._root = root
        self._follow_links = follow_links
        self._found: list[tuple[bool, Path, int, Path]] = []
        self._leaving: list[str] = []

    def add(self, folder: Path, label: int, aside: Path | None) -> None:
        """List a folder but for one that is set aside; `images` says what is taken of it."""
        for found in list_tree(
            folder,
            lambda path: folder / path != aside,
            within=self._root,
            follow_links=self._follow_links,
        ):
            place = folder / found.path
            self.ignored.update(found.ignored)
            for name, fault in found.unmatched:
                self._count(place / name, fault)
            self._found += [
                (name in found.links, place / name, label, folder) for name in found.images
            ]

    def images(self) -> dict[Path, list[str]]:
        """Paths of images relative to the root, by the folder given.

        A file goes before its links, and a link before those that lead through it.

        Raises:
            ManifestError: a link leaves the root, or one file has two labels.
        """
        if self._leaving:
            raise ManifestError(
                f"{self._subset}: {counted(len(self._leaving), 'link')} out of {self._root}: "
                f"{name_rows(self._leaving)}",
                Name("the folder that they may lead into", "follow_links"),
                "name the folder that they lead to",
            )
        first: dict[tuple[int, int], tuple[int, Path]] = {}
        taken: dict[Path, list[str]] = {}
        ranked = sorted(self._found, key=lambda one: _links(one[1]) or 1 if one[0] else 0)
        for _, path, label, folder in ranked:
            try:
                found = None if opens_itself(path) else path.stat()  # there each has one name
            except OSError:
                found = None  # a broken link stays, as missing
            if found is not None:
                other, known = first.setdefault((found.st_dev, found.st_ino), (label, path))
                if other != label:
                    raise ManifestError(
                        f"{self._subset}: {path} and {known} are one file with two labels"
                    )
                if known != path:
                    self.ignored["second links to a listed file"] += 1
                    continue
            taken.setdefault(folder, []).append(path.relative_to(self._root).as_posix())
        return taken

    def nothing_in(self, folder: Path) -> ManifestError:
        """The refusal of a folder that no image was found in."""
        seen = self.ignored + self.unmatched
        kinds = [f"{count} {kind}" for kind, count in sorted(seen.items())] + self.strange[:1]
        what = f"{self._subset}: no image below {folder} ({', '.join(kinds) or 'it is empty'})"
        return ManifestError(
            what, *(["extract the frames of its videos first"] if seen.keys() & VIDEOS else [])
        )

    def _count(self, path: Path, fault: str) -> None:
        if fault == LINKED_FOLDER:
            self.ignored["linked folders"] += 1
        elif fault == NO_IMAGE:
            self.unmatched[suffix_of(path.name) or "without a suffix"] += 1
        elif fault == LEAVES:
            self._leaving.append(repr(str(path)))
        else:
            self.strange.append(f"{str(path)!r} is {fault}")

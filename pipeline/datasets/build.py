"""Manifests of a registered dataset from what is on disk, however it was unpacked."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clare.advice import Name
from clare.errors import InputError, ManifestError
from clare.foreign import LIST, read_bytes
from clare.pipeline.datasets.identity_splits import IdentitySplit
from clare.pipeline.datasets.index import Indexed, SideFiles, index_folder, with_unique_ids
from clare.pipeline.datasets.layouts import Place, Placer
from clare.pipeline.datasets.record import BuildRecord, count_rows
from clare.pipeline.datasets.registry import readable
from clare.pipeline.datasets.schema import Registry, Subset
from clare.pipeline.datasets.video_lists import Said, VideoLists, is_list
from clare.pipeline.manifests.csv_io import write_manifest
from clare.pipeline.manifests.headers import read_headers
from clare.pipeline.manifests.masks import look_at_masks
from clare.pipeline.manifests.roots import Roots, split_option
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.manifests.scan import Folder, list_tree
from clare.progress import Progress
from clare.typed_json import to_json
from clare.version import __version__
from clare.wording import counted, natural_key


@dataclass
class Leftovers:
    """Files below the roots that became no row.

    Args:
        unmatched: (root, path, reason) of files that belong to no subset, sorted.
        ignored: files that stand beside images by design, by kind.
        by_owner: the same, by the subset that they lie at.
    """

    unmatched: list[tuple[str, str, str]] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    by_owner: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


@dataclass(frozen=True)
class BuiltSubset:
    """The manifest of one registered subset and what was seen on the way to it.

    Args:
        subset: its entry.
        samples: its rows; none where only other files were found.
        record: what ``NAME.meta.json`` keeps.
    """

    subset: Subset
    samples: tuple[Sample, ...]
    record: BuildRecord


@dataclass(frozen=True)
class BuiltDataset:
    """Everything that was found below the roots.

    Args:
        subsets: by id; those of which nothing is on disk are left out.
        leftovers: files that became no row.
        complete: whether all subsets of the dataset were looked for.
    """

    subsets: Mapping[str, BuiltSubset]
    leftovers: Leftovers
    complete: bool

    @property
    def rows(self) -> int:
        """Rows of all subsets."""
        return sum(len(built.samples) for built in self.subsets.values())


def build_dataset(
    registry: Registry,
    dataset: str,
    roots: Mapping[str, Path],
    *,
    wanted: Collection[str] = (),
    rules: Mapping[str, str] | None = None,
    hash: bool = False,
    follow_links: Path | None = None,
    progress: Progress | None = None,
) -> BuiltDataset:
    """Index what is below the roots of a dataset and of those that are built along with it.

    Every file ends as a row, as ignored by its kind, or in ``leftovers.unmatched``.

    Args:
        registry: what is known.
        dataset: id of the dataset.
        roots: folder by root name; not all need be there.
        wanted: ids of the subsets to build; all if empty. Folders of others are not looked into.
        rules: split rule by domain where it is not the registry's, see `IdentitySplit`.
        hash: also record each file's sha256.
        follow_links: a folder that links may lead into, out of their root.
        progress: called with (files done, files in all); 0 in all while they are still listed.

    Raises:
        InputError: the dataset, a root, a domain or a rule is not known, a folder is missing, or
            two roots are one folder; or labels stand in lists alone and none of them can be read.
    """
    places = _known_roots(registry, dataset, roots)
    splits = _splits(registry, rules or {})
    indexed: dict[str, Indexed] = defaultdict(Indexed)
    leftovers = Leftovers()
    listed = 0

    def count(files: int) -> None:
        nonlocal listed
        listed += files
        if progress is not None:
            progress(listed, 0)

    for root, (folder, skip) in places.items():
        placer = Placer(registry, root)
        tree = list_tree(
            folder,
            _entering(placer, wanted),
            skip=skip,
            follow_links=follow_links,
            progress=count,
        )
        lists = VideoLists(folder, tree, follow_links)
        _index_root(root, tree, placer, lists, splits, wanted, indexed, leftovers)
    leftovers.unmatched.sort(key=lambda one: (one[0], natural_key(one[1])))
    rows = [sample for one in indexed.values() for sample in one.samples]
    folders = {root: folder for root, (folder, _) in places.items()}
    read: dict[str, list[Sample]] = defaultdict(list)
    for sample in read_headers(
        rows, lambda s: folders[s.root] / s.path, hash=hash, progress=progress
    ):
        read[sample.subset].append(sample)
    seen = [name for name in registry.subsets if name in indexed or name in leftovers.by_owner]
    built = {}
    for name in seen:
        subset = registry.subsets[name]
        samples = tuple(with_unique_ids(read[name], subset.roots))
        left = leftovers.by_owner[name]
        record = _record(subset, samples, indexed[name], left, splits, folders)
        reals = [sample for pool in subset.reals.values() for sample in read[pool]]
        remarks = look_at_masks(samples, lambda s, path: folders[s.root] / path, reals=reals)
        masks = [str(remark) for remark in remarks]
        expected = any(layout.masks for layout in subset.layouts)
        if expected and not any(sample.mask_path for sample in samples):
            masks.append("no masks are there")
        record = replace(record, hash=hash, masks=tuple(masks))
        built[name] = BuiltSubset(subset, samples, record)
    return BuiltDataset(built, leftovers, not wanted)


def require_images(built: BuiltDataset, registry: Registry, roots: Mapping[str, Path]) -> None:
    """Refuse folders in which nothing of a dataset was found.

    Raises:
        InputError: there is no row; the message says what the roots should be.
    """
    if built.rows:
        return
    if videos := sum(one.record.videos for one in built.subsets.values()):
        there = ", ".join(map(str, roots.values()))
        raise InputError(
            f"{counted(videos, 'video')} and no frames below {there}", "extract their frames first"
        )
    known = {name: what for one in registry.datasets.values() for name, what in one.roots.items()}
    places = "; ".join(f"{folder} is not {known[name]}" for name, folder in roots.items())
    raise InputError(
        f"no image was found where it should lie: {places}", Name("another folder", "root")
    )


def dataset_roots(
    registry: Registry, dataset: str, options: Sequence[str], environ: Mapping[str, str]
) -> dict[str, Path]:
    """The folders that are known for the roots of a dataset, by root name.

    Args:
        registry: what is known.
        dataset: id of the dataset.
        options: ``NAME=DIR``, or ``DIR`` for a dataset with one root.
        environ: ``CLARE_ROOT_<NAME>`` counts where an option says nothing.

    Raises:
        InputError: an option names no root of the dataset.
    """
    known = [root for one in registry.built_with(dataset) for root in one.roots]
    own = list(registry.dataset(dataset).roots)
    named = []
    for option in options:
        name, place = split_option("root", option)
        if not name and len(own) == 1:
            name = own[0]
        if name not in known:
            raise InputError(
                f"{option!r} names no root of {dataset}, which has {', '.join(known)}",
                Name("one", "root", f"{known[0]}=DIR"),
            )
        named.append(f"{name}={place}")
    roots = Roots.from_options(named, environ)
    return {name: folder for name in known if (folder := roots.folder(name)) is not None}


def write_dataset(built: BuiltDataset, dataset: str, folder: Path) -> dict[str, str]:
    """Write a manifest and a ``.meta.json`` a subset, and the list of all unmatched files.

    Returns:
        Why a manifest was not written, by subset: a rule was broken, or there are no rows.

    Raises:
        ManifestError: the folder can't be written to.
    """
    refused: dict[str, str] = {}
    for name, one in built.subsets.items():
        path = folder / f"{name}.csv"
        record = one.record
        try:
            if one.samples:
                write_manifest(Manifest(name, one.samples), path)
                digest = hashlib.sha256(read_bytes(path, LIST)).hexdigest()
                record = replace(record, sha256=digest)
            else:
                refused[name] = _without_rows(record, one.subset, built.leftovers)
        except ManifestError as error:
            refused[name] = str(error)
            continue
        if one.samples or not path.exists():
            _write(folder / f"{name}.meta.json", json.dumps(to_json(record), indent=2) + "\n")
    if built.complete:
        lines = [
            f"{root}\t{path if path.isprintable() else repr(path)}\t{reason}\n"
            for root, path, reason in built.leftovers.unmatched
        ]
        _write(folder / f"{dataset}.unmatched.txt", "".join(lines))
    return refused


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ManifestError(f"{path} can't be written: {error.strerror or error}") from error


def _known_roots(
    registry: Registry, dataset: str, roots: Mapping[str, Path]
) -> dict[str, tuple[Path, frozenset[str]]]:
    datasets = registry.built_with(dataset)
    known = {root: one for one in datasets for root in one.roots}
    for name in roots:
        if name not in known:
            listed = "; ".join(f"{r}: {one.roots[r]}" for r, one in known.items())
            raise InputError(f"{dataset} has no root {name!r}; it has {listed}")
    if not roots:
        raise InputError("no root is known", Name("one", "root", f"{next(iter(known))}=DIR"))
    places: dict[Path, str] = {}
    for name, folder in roots.items():
        other = places.setdefault(folder.resolve(), name)
        if other != name:
            raise InputError(f"roots {other} and {name} are one folder, {folder}")
    return {name: (roots[name], one.skip) for name, one in known.items() if name in roots}


def _splits(registry: Registry, rules: Mapping[str, str]) -> dict[str, IdentitySplit]:
    for domain in rules:
        if domain not in registry.domains:
            raise InputError(f"domain {domain!r} is not one of {', '.join(registry.domains)}")
    return {
        name: IdentitySplit(domain, rules.get(name, domain.split))
        for name, domain in registry.domains.items()
    }


def _entering(placer: Placer, wanted: Collection[str]) -> Callable[[str], bool]:
    def enter(path: str) -> bool:
        owner = placer.owner(path)
        return owner is None or owner.id in wanted

    return enter if wanted else lambda path: True


def _index_root(
    root: str,
    tree: list[Folder],
    placer: Placer,
    lists: VideoLists,
    splits: Mapping[str, IdentitySplit],
    wanted: Collection[str],
    indexed: dict[str, Indexed],
    leftovers: Leftovers,
) -> None:
    sides = SideFiles(tree)
    listed: dict[bool, list[str]] = {True: [], False: []}
    for folder in tree:
        owner = placer.owner(folder.path)
        leftovers.ignored.update(folder.ignored)
        faults = [fault for fault in folder.unmatched if not is_list(fault[0])]
        if not folder.left_out and (folder.images or not folder.folders):
            place = placer.place(folder.path)
            if place is not None and (not wanted or place.subset.id in wanted):
                owner = place.subset
                by_list = place.label is None
                place = _listed(place, folder.path, lists)
                if by_list:
                    listed[place.label is not None].append(folder.path)
                if place.label is None:
                    reason = "no list beside the videos, as labels.csv, says whether it is real"
                    faults += [(name, reason) for name in folder.images]
                else:
                    split = splits[place.layout.domain]
                    index_folder(indexed[owner.id], folder, place, split, sides)
            elif folder.images:
                reason = "no layout fits" if owner else "no subset's folder on its path"
                faults += [(name, reason) for name in folder.images]
        if owner is not None:
            seen = leftovers.by_owner[owner.id]
            seen.update(folder.ignored)
            if faults:
                seen["unmatched"] += len(faults)
        _leave(leftovers, root, folder, faults)
    _leave_lists(leftovers, root, tree, lists)
    unread = (error for path in listed[False] for error in lists.faults(path))
    if not listed[True] and (error := next(unread, None)) is not None:
        raise error


def _leave(
    leftovers: Leftovers, root: str, folder: Folder, faults: Iterable[tuple[str, str]]
) -> None:
    leftovers.unmatched += [
        (root, f"{folder.path}/{name}" if folder.path else name, reason) for name, reason in faults
    ]


def _leave_lists(
    leftovers: Leftovers, root: str, tree: Sequence[Folder], lists: VideoLists
) -> None:
    """Lists are ignored by design, but for those that could not be read."""
    for folder in tree:
        for name in [name for name, _ in folder.unmatched if is_list(name)]:
            error = lists.fault(folder.path, name)
            if error is None:
                leftovers.ignored["list of videos"] += 1
            else:
                reason = error.what.partition(f"{name} ")[2]
                _leave(leftovers, root, folder, [(name, reason)])


def _listed(place: Place, folder: str, lists: VideoLists) -> Place:
    """A place with what a list beside the videos says where the place itself says nothing."""
    said = lists.of(folder, place.video, Said(place.label, place.official_split))
    return replace(place, label=said.label, official_split=said.split)


def _record(
    subset: Subset,
    samples: tuple[Sample, ...],
    indexed: Indexed,
    left: Mapping[str, int],
    splits: Mapping[str, IdentitySplit],
    folders: Mapping[str, Path],
) -> BuildRecord:
    record = count_rows(subset.id, samples)
    found: dict[str, dict[str, int]] = {}
    for (domain, official), number in sorted(indexed.folders.items()):
        found.setdefault(domain, {})[official] = number
    return replace(
        record,
        clare=__version__,
        folders=found,
        empty_folders=tuple(f"{root}/{path}" for root, path in indexed.empty),
        unassigned=dict(indexed.unassigned),
        ignored={kind: n for kind, n in left.items() if kind != "unmatched"},
        unmatched=left.get("unmatched", 0),
        splits={domain: splits[domain].rule for domain in record.counts},
        roots={root: str(folders[root]) for root in subset.roots if root in folders},
    )


def _without_rows(record: BuildRecord, subset: Subset, leftovers: Leftovers) -> str:
    if record.videos:
        return f"{counted(record.videos, 'video')} and no frames: extract their frames first"
    if record.empty_folders:
        return f"{counted(len(record.empty_folders), 'folder')}, all empty"
    names = {name.casefold() for name in subset.folders}
    other = next(
        p for _, p, _ in leftovers.unmatched if not names.isdisjoint(p.casefold().split("/"))
    )
    looked = dict.fromkeys(f"{subset.id}/{readable(one.path)}/" for one in subset.layouts)
    return (
        f"no image that fits a layout ({counted(record.unmatched, 'other file')}, the first is "
        f"{other}; looked for {', '.join(looked)})"
    )

"""The registry: which subsets CLaRE knows, how they lie on disk, and where their reals are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from clare.errors import InputError
from clare.pipeline.registry_entry import Entry
from clare.pipeline.rules import SPLITS, check_name

FILE = "subsets.yaml"
CATEGORIES = ("FS", "FR", "EFS", "FE", "real")
SPLIT_RULES = ("listed", "carved", "held-out", "identity")
LABELS = {"real": 0, "fake": 1}
LISTED = "listed"
"""An official split that stands in the lists of the layout's domain."""

_OWN_GROUPS = {"video": "(?P<video>[^/]+)", "label": "(?P<label>fake|real)"}


@dataclass(frozen=True)
class Dataset:
    """A release that is downloaded and unpacked as one.

    Args:
        id: its name on the command line.
        display: its name in text.
        source: where it is described.
        licence: in a few words.
        roots: what each of its roots is, by name.
        companions: datasets that are built along with it.
        skip: folders, in lower case, that the release holds but the registry does not speak of.
    """

    id: str
    display: str
    source: str
    licence: str
    roots: Mapping[str, str]
    companions: tuple[str, ...] = ()
    skip: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Domain:
    """The data that images were made from, and how its people are told apart.

    Args:
        id: value of the manifests' column ``domain``.
        display: its name in text.
        identity: finds identities in the name of a video; None where names hold none.
        split: one of `SPLIT_RULES`.
        pairs: groups of identities that belong together, by official split.
        test_videos: videos that the data's authors test on.
    """

    id: str
    display: str
    identity: re.Pattern[str] | None
    split: str
    pairs: Mapping[str, tuple[tuple[str, ...], ...]]
    test_videos: frozenset[str] = frozenset()

    def identities_in(self, name: str) -> tuple[str, ...]:
        """The identities in a name, each once, without the domain's own name before them."""
        return tuple(dict.fromkeys(self.identity.findall(name))) if self.identity else ()

    def official_split(self, video: str) -> str:
        """The split that the authors' lists give a video; empty where they say nothing."""
        if self.test_videos:
            return "test" if video in self.test_videos else "train"
        splits = {self.listed.get(one, "") for one in self.identities_in(video)}
        return splits.pop() if len(splits) == 1 else ""

    @cached_property
    def listed(self) -> Mapping[str, str]:
        """Official split by identity."""
        return {
            one: split for split, groups in self.pairs.items() for group in groups for one in group
        }


@dataclass(frozen=True)
class Layout:
    """One way in which images of a subset lie below its folder.

    Args:
        root: name of the root.
        path: regular expression of the folders between the subset's folder and the image.
        domain: id of the `Domain`.
        label: 0 real, 1 fake; None where a folder says so by its position.
        official_split: as the release has it; ``listed`` asks the domain's lists.
        compression: value of the manifests' column.
        bare: whether the subset's own folder is missing, so that ``path`` starts at the root.
    """

    root: str
    path: re.Pattern[str]
    domain: str
    label: int | None = None
    official_split: str = ""
    compression: str = ""
    bare: bool = False


@dataclass(frozen=True)
class Subset:
    """What the registry says of a subset.

    Args:
        id: canonical name: the name of its manifest.
        dataset: id of the `Dataset`.
        display: its authors' name.
        category: FS face swap, FR reenactment, EFS entire face synthesis, FE editing, or real.
        aliases: other names that it is found by.
        folders: names of its folder on disk, in lower case.
        layouts: the first that fits a folder wins.
        reals: subset of reals by domain; empty where it has reals of its own or is a pool itself.
        own_reals: whether reals and fakes lie together.
        video_level: whether a folder of frames is a clip, so that a score of videos has a meaning.
        identity_from: where identities stand, ``video`` or ``file``; the first that has some wins.
        pairs: whether a fake's name tells the real clip that it was made from.
        release: official splits that are published.
        lists: names of its official JSON lists.
        labels: how labels in such lists begin (``pixart`` for ``pixart_Fake``).
        expected: folders of its test release, or of all, by domain, where known.
        defects: known defects of the release.
    """

    id: str
    dataset: str
    display: str
    category: str
    aliases: tuple[str, ...]
    folders: frozenset[str]
    layouts: tuple[Layout, ...]
    reals: Mapping[str, str]
    own_reals: bool
    video_level: bool
    identity_from: tuple[str, ...]
    pairs: bool
    release: tuple[str, ...]
    lists: tuple[str, ...]
    labels: tuple[str, ...]
    expected: Mapping[str, int]
    defects: tuple[str, ...]

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains of its layouts, in their order."""
        return tuple(dict.fromkeys(layout.domain for layout in self.layouts))

    @property
    def roots(self) -> tuple[str, ...]:
        """Roots of its layouts, in their order."""
        return tuple(dict.fromkeys(layout.root for layout in self.layouts))


@dataclass(frozen=True)
class Registry:
    """All entries, each by its id.

    Args:
        datasets: releases.
        domains: data that images were made from.
        subsets: in the order of the file.
        buckets: spelling, by lower case, of folders that name a part of a domain.
    """

    datasets: Mapping[str, Dataset]
    domains: Mapping[str, Domain]
    subsets: Mapping[str, Subset]
    buckets: Mapping[str, str]

    def find(self, name: str) -> Subset | None:
        """A subset by its id or an alias, letter case aside; None if there is none."""
        return self._by_name.get(name.casefold())

    def subset(self, name: str) -> Subset:
        """A subset by its id or an alias, letter case aside.

        Raises:
            InputError: there is none; the message names those that are spelled alike.
        """
        found = self.find(name)
        if found is None:
            close = get_close_matches(name.casefold(), self._by_name, 3)
            alike = f"; is it {' or '.join(dict.fromkeys(close))}?" if close else ""
            raise InputError(f"no subset {name!r} is registered{alike}")
        return found

    def dataset(self, name: str) -> Dataset:
        """A dataset by its id.

        Raises:
            InputError: there is none.
        """
        if name.casefold() not in self.datasets:
            raise InputError(f"no dataset {name!r} is registered; {', '.join(self.datasets)} are")
        return self.datasets[name.casefold()]

    def built_with(self, dataset: str) -> tuple[Dataset, ...]:
        """A dataset and those that are built along with it."""
        first = self.dataset(dataset)
        return first, *(self.dataset(name) for name in first.companions)

    @cached_property
    def _by_name(self) -> Mapping[str, Subset]:
        return {
            name.casefold(): subset
            for subset in self.subsets.values()
            for name in (subset.id, *subset.aliases)
        }


def load_registry(folder: Path | None = None) -> Registry:
    """Read the registry that comes with CLaRE, and the user's own beside it.

    Args:
        folder: where the user's manifests are; entries of a ``subsets.yaml`` there win.

    Raises:
        InputError: an entry is not what its key asks for; the message names it.
    """
    own = None if folder is None else folder / FILE
    return _load(own.resolve() if own is not None and own.is_file() else None)


@cache
def _load(own: Path | None) -> Registry:
    package = files("clare.data_manifests").joinpath(FILE)
    merged = _parse(package.read_text("utf-8"), FILE)
    if own is not None:
        try:
            added = _parse(own.read_text("utf-8"), str(own))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{own} can't be read: {error}") from error
        for key, value in added.items():
            both = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = merged[key] | value if both else value
    return _read(Entry(FILE if own is None else str(own), merged))


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        parsed = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{name} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(parsed, dict):
        raise InputError(f"{name} is not a mapping of datasets, domains, layouts and subsets")
    return parsed


def _read(entry: Entry) -> Registry:
    lists = {name: _pairs(one) for name, one in entry.entries("identities")}
    videos = entry.mapping("test_videos")
    datasets = {one: _dataset(one, made) for one, made in entry.entries("datasets")}
    domains = {one: _domain(one, made, lists, videos) for one, made in entry.entries("domains")}
    groups = _OWN_GROUPS | {k: f"(?:{v})" for k, v in entry.mapping("placeholders").items()}
    buckets = {name.casefold(): name for name in entry.texts("buckets")}
    families = entry.raw("layouts", {})
    subsets = {}
    for name, made in entry.entries("subsets"):
        subsets[name] = _subset(name, made, groups, families)
    entry.done()
    registry = Registry(datasets, domains, subsets, buckets)
    _check_references(entry.where, registry)
    return registry


def _dataset(name: str, entry: Entry) -> Dataset:
    dataset = Dataset(
        id=name,
        display=entry.text("display", name),
        source=entry.text("source", ""),
        licence=entry.text("licence", ""),
        roots=entry.mapping("roots"),
        companions=entry.texts("with"),
        skip=frozenset(folder.casefold() for folder in entry.texts("skip")),
    )
    entry.done()
    return dataset


def _domain(name: str, entry: Entry, lists: Mapping[str, Any], videos: Mapping[str, str]) -> Domain:
    identity = entry.text("identity", "")
    domain = Domain(
        id=name,
        display=entry.text("display", name),
        identity=entry.pattern("identity", identity) if identity else None,
        split=entry.choice("split", SPLIT_RULES),
        pairs=entry.lookup("identities", lists, {}),
        test_videos=frozenset(entry.lookup("test_videos", videos, "").split()),
    )
    entry.done()
    if domain.split in ("listed", "carved") and not domain.pairs:
        raise entry.fault("split is listed, but `identities` names no lists")
    return domain


def _pairs(entry: Entry) -> dict[str, tuple[tuple[str, ...], ...]]:
    pairs = {
        split: tuple(tuple(pair.split("_")) for pair in entry.text(split, "").split())
        for split in SPLITS
    }
    entry.done()
    names = [one for groups in pairs.values() for group in groups for one in group]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise entry.fault(f"identity {', '.join(twice)} is listed twice")
    return pairs


def _subset(
    name: str, entry: Entry, groups: Mapping[str, str], families: Mapping[str, Any]
) -> Subset:
    check_name(name)
    aliases = entry.texts("aliases")
    reals = entry.raw("reals", {})
    own = reals == "own"
    subset = Subset(
        id=name,
        dataset=entry.text("dataset"),
        display=entry.text("display", name),
        category=entry.choice("category", CATEGORIES),
        aliases=aliases,
        folders=frozenset(f.casefold() for f in entry.texts("folders") or (name, *aliases)),
        layouts=tuple(_layouts(entry, groups, families)),
        reals={} if own else entry.mapping("reals"),
        own_reals=own,
        video_level=entry.flag("video_level"),
        identity_from=entry.texts("identity_from", ("video",)),
        pairs=entry.flag("pairs", False),
        release=entry.texts("release", SPLITS),
        lists=entry.texts("lists"),
        labels=entry.texts("labels"),
        expected=entry.counts("expected"),
        defects=entry.texts("defects"),
    )
    entry.done()
    if name != name.lower():
        raise entry.fault("the id of a subset is in lower case; other spellings are aliases")
    entry.among("identity_from", subset.identity_from, ("video", "file"))
    entry.among("release", subset.release, SPLITS)
    return subset


def _layouts(
    entry: Entry, groups: Mapping[str, str], families: Mapping[str, Any]
) -> Iterator[Layout]:
    named = entry.raw("layouts", None)
    if isinstance(named, str) and named not in families:
        raise entry.fault(f"layouts {named!r} are not below `layouts`")
    listed = families[named] if isinstance(named, str) else named
    if not isinstance(listed, list) or not listed:
        raise entry.fault("layouts is neither a list nor a name below `layouts`")
    for number, one in enumerate(listed):
        yield _layout(entry.below(f"layouts[{number}]", one), groups)


def _layout(entry: Entry, groups: Mapping[str, str]) -> Layout:
    path = entry.text("path")
    label = entry.text("label", "")
    try:
        filled = re.sub(r"\{([a-z]+)\}", lambda match: groups[match[1]], path)
    except KeyError as error:
        raise entry.fault(f"{{{error.args[0]}}} is not below `placeholders`") from error
    by_position = "(?P<label>" in filled
    if by_position == bool(label):
        raise entry.fault("the label stands either in `label` or, as {label}, in the path")
    official = entry.text("official_split", "")
    if official:
        entry.among("official_split", (official,), (*SPLITS, LISTED))
    layout = Layout(
        root=entry.text("root"),
        path=entry.pattern("path", filled),
        domain=entry.text("domain"),
        label=None if by_position else LABELS[entry.choice("label", tuple(LABELS))],
        official_split=official,
        compression=entry.text("compression", ""),
        bare=entry.flag("bare", False),
    )
    entry.done()
    return layout


def _check_references(where: str, registry: Registry) -> None:
    names: dict[str, str] = {}
    for subset in registry.subsets.values():
        here = Entry(f"{where}: subsets.{subset.id}", {})
        here.among("dataset", (subset.dataset,), registry.datasets)
        here.among("domain of a layout", subset.domains, registry.domains)
        here.among("root of a layout", subset.roots, registry.datasets[subset.dataset].roots)
        here.among("domain of reals", subset.reals, registry.domains)
        here.among("reals", subset.reals.values(), registry.subsets)
        here.among("domain of expected", subset.expected, registry.domains)
        for name in dict.fromkeys(one.casefold() for one in (subset.id, *subset.aliases)):
            if names.setdefault(name, subset.id) != subset.id:
                raise here.fault(f"name {name!r} belongs to {names[name]} already")
    for dataset in registry.datasets.values():
        Entry(f"{where}: datasets.{dataset.id}", {}).among(
            "with", dataset.companions, registry.datasets
        )

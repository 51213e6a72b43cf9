"""The registry, read from YAML: which subsets CLaRE knows, how they lie on disk, their reals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from clare.errors import InputError
from clare.pipeline.datasets.registry_entry import Entry
from clare.pipeline.datasets.schema import (
    LISTED,
    SPLIT_RULES,
    Dataset,
    Domain,
    Layout,
    Registry,
    Subset,
)
from clare.pipeline.manifests.validation import SPLITS, check_name

FILE = "subsets.yaml"
_PACKAGED = files("clare.data_manifests").joinpath(FILE)
CATEGORIES = ("FS", "FR", "EFS", "FE", "real")
LABELS = {"real": 0, "fake": 1}

_OWN_GROUPS = {"video": "(?P<video>(?!frames(?:/|$))[^/]+)", "label": "(?P<label>fake|real)"}


def load_registry(folder: Path | None = None) -> Registry:
    """Read the registry that comes with CLaRE, and the user's own beside it.

    Args:
        folder: where the user's manifests are; entries of a ``subsets.yaml`` there win.

    Raises:
        InputError: an entry is not what its key asks for; the message names it.
    """
    own = None if folder is None else (folder / FILE).resolve()
    # In CLaRE's own working tree, both are one file.
    known = own is not None and own.is_file() and str(own) != str(_PACKAGED)
    return _load(own if known else None)


@cache
def _load(own: Path | None) -> Registry:
    merged = _parse(_PACKAGED.read_text("utf-8"), FILE)
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
        file_clip=_file_clip(entry),
        video_is_clip=entry.flag("video_is_clip", False),
        release=entry.texts("release", SPLITS),
        lists=entry.texts("lists"),
        labels=entry.texts("labels"),
        expected=entry.counts("expected"),
        defects=entry.texts("defects"),
    )
    entry.done()
    if name != name.lower():
        raise entry.fault("the id of a subset is in lower case; other spellings are aliases")
    entry.among("release", subset.release, SPLITS)
    return subset


def _file_clip(entry: Entry) -> re.Pattern[str] | None:
    text = entry.text("file_clip", "")
    if text and "(?P<clip>" not in text:
        raise entry.fault("file_clip has no group (?P<clip>…)")
    return entry.pattern("file_clip", text) if text else None


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
    folders: dict[tuple[str, str], str] = {}
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
        for place in ((root, folder) for root in subset.roots for folder in subset.folders):
            if folders.setdefault(place, subset.id) != subset.id:
                raise here.fault(f"folder {place[1]!r} belongs to {folders[place]} already")
    for dataset in registry.datasets.values():
        Entry(f"{where}: datasets.{dataset.id}", {}).among(
            "with", dataset.companions, registry.datasets
        )

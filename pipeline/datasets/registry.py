"""The registry, read from YAML: which subsets CLaRE knows, how they lie on disk, their reals."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from clare.errors import InputError
from clare.foreign import read_value
from clare.names import is_plain
from clare.pipeline.datasets.schema import Dataset, Domain, Registry, Split, Subset
from clare.typed_json import from_json

T = TypeVar("T")

FILE = "subsets.yaml"
_PACKAGED = Path(str(files("clare.data_manifests").joinpath(FILE)))

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
    known = own is not None and own.exists() and own != _PACKAGED
    return _load(own if known else None)


@cache
def _load(own: Path | None) -> Registry:
    merged = dict(_packaged())
    if own is not None:
        for key, value in _parse(own).items():
            both = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = merged[key] | value if both else value
    return _read(FILE if own is None else str(own), merged)


@cache  # its entries stand behind every registry of a user's own
def _packaged() -> Mapping[str, Any]:
    return _parse(_PACKAGED)


def _parse(path: Path) -> dict[str, Any]:
    parsed = read_value(path, "a registry")
    if not isinstance(parsed, dict):
        raise InputError(f"{path} is not a mapping of datasets, domains, layouts and subsets")
    return parsed


@dataclass(frozen=True)
class _File:
    """The file's keys, each mapping by name; what stands in the entries is read one by one."""

    datasets: Mapping[str, Any]
    domains: Mapping[str, Any]
    subsets: Mapping[str, Any]
    identities: Mapping[str, Mapping[Split, str]] = field(default_factory=dict)
    test_videos: Mapping[str, str] = field(default_factory=dict)
    placeholders: Mapping[str, str] = field(default_factory=dict)
    layouts: Mapping[str, Any] = field(default_factory=dict)
    buckets: tuple[str, ...] = ()


def _read(where: str, values: Mapping[str, Any]) -> Registry:
    file = from_json(_File, values, where)
    pairs = {
        name: {split: [pair.split("_") for pair in one.split()] for split, one in lists.items()}
        for name, lists in file.identities.items()
    }
    videos = {name: text.split() for name, text in file.test_videos.items()}
    groups = _OWN_GROUPS | {k: f"(?:{v})" for k, v in file.placeholders.items()}

    def domain(entry: dict[str, Any]) -> dict[str, Any]:
        if "identities" in entry:
            entry["pairs"] = _named(pairs, "identities", entry.pop("identities"))
        if "test_videos" in entry:
            entry["test_videos"] = _named(videos, "test_videos", entry["test_videos"])
        return entry

    def subset(entry: dict[str, Any]) -> dict[str, Any]:
        if isinstance(entry.get("layouts"), str):
            entry["layouts"] = _named(file.layouts, "layouts", entry["layouts"])
        if isinstance(entry.get("layouts"), list):
            entry["layouts"] = [_filled(one, groups) for one in entry["layouts"]]
        if isinstance(entry.get("created"), int | date):  # as YAML takes 2024 and 2024-03-05
            entry["created"] = str(entry["created"])
        if entry.get("reals") == "own":
            entry |= {"reals": {}, "own_reals": True}
        return entry

    registry = Registry(
        datasets=_entries(Dataset, f"{where}: datasets", file.datasets),
        domains=_entries(Domain, f"{where}: domains", file.domains, domain),
        subsets=_entries(Subset, f"{where}: subsets", file.subsets, subset),
        buckets={name.casefold(): name for name in file.buckets},
    )
    _check_references(where, registry)
    return registry


def _entries(
    cls: type[T],
    where: str,
    found: Mapping[str, Any],
    resolve: Callable[[dict[str, Any]], dict[str, Any]] = lambda entry: entry,
) -> dict[str, T]:
    """Entries of one kind; what they name elsewhere in the file is put in its place first."""
    read = {}
    for name, entry in found.items():
        place = f"{where}.{name}"
        _require_plain(place, name)
        if not isinstance(entry, dict):
            raise InputError(f"{place} is not a mapping")
        try:
            resolved = resolve(dict(entry))
        except InputError as error:
            raise InputError(f"{place}: {error.what}") from None
        read[name] = from_json(cls, {"display": name, **resolved, "id": name}, place)
    return read


def _named(known: Mapping[str, Any], key: str, name: Any) -> Any:
    if not isinstance(name, str) or name not in known:
        raise InputError(f"{key} {name!r} is not one of {', '.join(known)}")
    return known[name]


def _filled(layout: Any, groups: Mapping[str, str]) -> Any:
    """A layout whose placeholders are the regular expressions that they stand for."""
    if not (isinstance(layout, dict) and isinstance(layout.get("path"), str)):
        return layout
    try:
        path = re.sub(r"\{([a-z]+)\}", lambda match: groups[match[1]], layout["path"])
    except KeyError as error:
        raise InputError(f"{{{error.args[0]}}} is not one of the placeholders") from error
    return {**layout, "path": path}


def readable(path: str) -> str:
    """A layout's expression for people: VIDEO for a folder of any name, groups without names."""
    text = path.replace(_OWN_GROUPS["video"], "VIDEO")
    text = re.sub(r"\(\?(?:P<\w+>|:)", "(", text)
    while (plainer := re.sub(r"\(([^()|]*)\)(?!\?)|\((\([^()]*\))\)", r"\1\2", text)) != text:
        text = plainer
    return text


def _check_references(where: str, registry: Registry) -> None:
    names: dict[str, str] = {}
    folders: dict[tuple[str, str], str] = {}
    for subset in registry.subsets.values():
        here = f"{where}: subsets.{subset.id}"
        _among(here, "dataset", (subset.dataset,), registry.datasets)
        _among(here, "domain of a layout", subset.domains, registry.domains)
        _among(here, "root of a layout", subset.roots, registry.datasets[subset.dataset].roots)
        _among(here, "domain of reals", subset.reals, registry.domains)
        _among(here, "reals", subset.reals.values(), registry.subsets)
        _among(here, "domain of expected", subset.expected, registry.domains)
        for name in dict.fromkeys(one.casefold() for one in (subset.id, *subset.aliases)):
            if names.setdefault(name, subset.id) != subset.id:
                raise InputError(f"{here}: name {name!r} belongs to {names[name]} already")
        for place in ((root, folder) for root in subset.roots for folder in subset.folders):
            if folders.setdefault(place, subset.id) != subset.id:
                raise InputError(f"{here}: folder {place[1]!r} belongs to {folders[place]} already")
    for dataset in registry.datasets.values():
        here = f"{where}: datasets.{dataset.id}"
        for root in dataset.roots:
            _require_plain(f"{here}.roots", root)
        _among(here, "companions", dataset.companions, registry.datasets)


def _require_plain(where: str, name: object) -> None:
    """Refuse a name that could lead a file that is named by it out of its folder."""
    if not is_plain(name):
        raise InputError(
            f"{where}: {name!r} is no name: use letters, digits, '.', '_' and '-', a letter or "
            "digit first"
        )


def _among(where: str, what: str, found: Iterable[str], known: Collection[str]) -> None:
    for one in found:
        if one not in known:
            raise InputError(f"{where}: {what} {one!r} is not one of {', '.join(known)}")

"""Protocols: which subsets a detector is trained on and tested on, read from YAML.

A protocol is a YAML file with these keys, and no others:

- ``title``, ``source``: texts. ``notes``: texts; what is not as its authors had it.
- ``train``: ``fakes``, ``reals``, ``domains``, ``frames``, ``sampling``; see `Training`. Where the
  protocol is trained in several ways, ``fakes`` is a mapping of lists, and one is asked for as
  ``NAME/KEY``.
- ``test``: ``frames``, ``sampling``, ``others`` (what a run was trained on is measured, but part of
  no mean), and ``sets``, a list of ``fakes``, ``reals``, ``domains``,
  ``split`` and ``beside``; see `Target`. Each fake in each domain is a set of its own, measured by
  itself.

``train`` or ``test`` may be the name or the path of another protocol, whose part it then is;
``train`` of one of its ways too, as ``NAME/KEY``.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from clare.errors import InputError
from clare.foreign import read_value
from clare.settings import build_settings

Sampling = Literal["even", "first_n"]
"""Which frames of a video are taken: evenly spaced ones, or the first."""

_KEYS = ("title", "source", "notes", "train", "test")


@dataclass(frozen=True)
class Training:
    """What a detector is trained and chosen on: the splits train and val of some subsets.

    Args:
        fakes: subsets.
        reals: subsets whose real rows join.
        domains: rows of these domains alone; all if empty.
        frames: of each video at most; all if None.
        sampling: which frames.
    """

    fakes: tuple[str, ...] = ()
    reals: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    frames: int | None = None
    sampling: Sampling = "even"

    def __post_init__(self) -> None:
        _require("train", self.fakes, self.frames)


@dataclass(frozen=True)
class Target:
    """One set that a detector is tested on.

    Args:
        name: the subset's, with ``_<domain>`` where it is one domain of it.
        fakes: the subset.
        domain: only its rows of this domain, beside reals of this domain; all if empty.
        reals: subsets whose real rows stand beside the fakes, and each of which has to have some;
            the subset's own if empty.
        split: ``test``, or ``val``.
        beside: measured, but not part of any mean.
    """

    name: str
    fakes: str
    domain: str = ""
    reals: tuple[str, ...] = ()
    split: str = "test"
    beside: bool = False


@dataclass(frozen=True)
class Protocol:
    """A protocol.

    Args:
        name: of its file.
        title: what it is, in a line.
        source: whose it is.
        notes: what is not as its authors had it.
        trainings: by key; the key is empty where there is only one. Empty for tests alone.
        targets: what is tested. Empty for a training alone.
        frames: of each video at most, in tests; all if None.
        sampling: which frames, in tests.
        others: whether sets of subsets that a run was trained on are part of no mean.
    """

    name: str
    title: str
    source: str
    notes: tuple[str, ...]
    trainings: Mapping[str, Training]
    targets: tuple[Target, ...]
    frames: int | None
    sampling: Sampling
    others: bool

    def needs(self, key: str = "") -> dict[str, set[tuple[str, str]]]:
        """What it reads: by subset, domains and splits of the rows; all domains where it is empty.

        Args:
            key: of one of its trainings; all of them count if it is empty.

        Raises:
            InputError: there is no training of this key.
        """
        found: dict[str, set[tuple[str, str]]] = {}
        for training in [self.training(key)] if key else self.trainings.values():
            for name in (*training.fakes, *training.reals):
                places = itertools.product(training.domains or ("",), ("train", "val"))
                found.setdefault(name, set()).update(places)
        for target in self.targets:
            for name in (target.fakes, *target.reals):
                found.setdefault(name, set()).add((target.domain, target.split))
        return found

    def aside(self, trained: Collection[str]) -> list[str]:
        """Sets that are part of no mean for a run that was trained on these subsets."""
        own = trained if self.others else ()
        return [one.name for one in self.targets if one.beside or one.fakes in own]

    def training(self, key: str = "") -> Training:
        """One of its trainings.

        Args:
            key: which, where there are several.

        Raises:
            InputError: there is none of this key, or none at all; the message lists them.
        """
        if key in self.trainings:
            return self.trainings[key]
        if not self.trainings:
            raise InputError(f"protocol {self.name} is for tests alone; train by another one")
        if list(self.trainings) == [""]:
            raise InputError(f"protocol {self.name} has one training: leave /{key} out")
        ways = ", ".join(f"{self.name}/{one}" for one in self.trainings)
        raise InputError(f"protocol {self.name} is trained in several ways, name one: {ways}")


def list_protocols() -> list[str]:
    """Names of the protocols that come with CLaRE."""
    found = files("clare.data_manifests").joinpath("protocols").iterdir()
    return sorted(one.name.removesuffix(".yaml") for one in found if one.name.endswith(".yaml"))


def split_name(text: str) -> tuple[str, str]:
    """``NAME/KEY`` or ``FILE.yaml/KEY`` as name and key of a training; the key may be absent."""
    file, suffix, key = text.partition(".yaml")
    if suffix:
        return file + suffix, key.removeprefix("/")
    name, _, key = text.partition("/")
    return name, key


def list_trainings(name: str) -> list[str]:
    """The trainings that a name stands for: its own, or all of a protocol named without a key.

    Raises:
        InputError: there is no such protocol, or it is for tests alone.
    """
    found, key = split_name(name)
    keys = list(read_protocol(found).trainings)
    return [name] if key or len(keys) < 2 else [f"{found}/{one}" for one in keys]


def read_protocol(name: str) -> Protocol:
    """Read a protocol and check it.

    Args:
        name: of one that comes with CLaRE, or the path of a YAML file.

    Raises:
        InputError: there is none of this name, or it is not of the form above.
    """
    found = _parse(name)
    where = f"protocol {name}"
    unknown = [str(key) for key in found if key not in _KEYS]
    if unknown:
        raise InputError(f"{where}: {', '.join(unknown)} is not known; it has {', '.join(_KEYS)}")
    train, test = (_part(where, key, found) for key in ("train", "test"))
    if not (train or test):
        raise InputError(f"{where} has neither train nor test")
    head = build_settings(where, _Head, {k: found[k] for k in found if k not in ("train", "test")})
    sets = test.pop("sets", None) if test else []
    if not isinstance(sets, list) or (test and not sets):
        raise InputError(f"{where}: test has no list of sets")
    how = build_settings(f"{where}: test", _Test, test)
    targets = [one for part in sets for one in _targets(where, part)]
    names = [one.name for one in targets]
    twice = sorted({one for one in names if names.count(one) > 1})
    if twice:
        raise InputError(f"{where}: test has {', '.join(twice)} twice")
    return Protocol(
        name=Path(name).stem if name.endswith(".yaml") else name,
        title=head.title,
        source=head.source,
        notes=head.notes,
        trainings=dict(_trainings(where, train)) if train else {},
        targets=tuple(targets),
        frames=how.frames,
        sampling=how.sampling,
        others=how.others,
    )


@dataclass(frozen=True)
class _Head:
    title: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Test:
    frames: int | None = None
    sampling: Sampling = "even"
    others: bool = False

    def __post_init__(self) -> None:
        _require("test", ("",), self.frames)


@dataclass(frozen=True)
class _Set:
    fakes: tuple[str, ...] = ()
    reals: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    split: Literal["test", "val"] = "test"
    beside: bool = False

    def __post_init__(self) -> None:
        _require("a set of test", self.fakes, None)


def _require(part: str, fakes: tuple[str, ...], frames: int | None) -> None:
    if not fakes:
        raise InputError(f"{part} names no fakes")
    if frames is not None and frames < 1:
        raise InputError(f"{part}: frames can't be {frames}: it is 1 or more")


def _parse(name: str) -> dict[str, Any]:
    own = name.endswith(".yaml")
    ours = files("clare.data_manifests").joinpath("protocols", f"{name}.yaml")
    path = Path(name) if own else Path(str(ours))
    if not path.exists():
        raise InputError(
            f"no protocol {name!r}: give the path of a YAML file, or one of "
            f"{', '.join(list_protocols())}"
        )
    parsed = read_value(path, "a protocol")
    if not isinstance(parsed, dict):
        raise InputError(f"protocol {name} is not a mapping of {', '.join(_KEYS)}")
    return parsed


def _part(where: str, key: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """``train`` or ``test``, that of another protocol if a name stands there."""
    part = found.get(key, {})
    way = ""
    names: list[str] = []
    while isinstance(part, str):
        name, asked = split_name(part)
        if asked and key == "train":  # tests are the same however a detector is trained
            if way:
                raise InputError(
                    f"{where}: protocol {names[-1]} has one training: leave /{way} out"
                )
            way = asked
        if name in names:
            raise InputError(f"{where}: {key} goes round in a circle: {', '.join([*names, name])}")
        names.append(name)
        part = _parse(name).get(key)
    if not isinstance(part, dict):
        raise InputError(f"{where}: {key} is neither a mapping nor the name of a protocol with one")
    return _way(where, part, names[-1], way) if way else dict(part)


def _way(where: str, part: Mapping[str, Any], name: str, way: str) -> dict[str, Any]:
    """A protocol's ``train`` with the fakes of one of its ways alone."""
    fakes = part.get("fakes")
    ways = {str(one): fakes[one] for one in fakes} if isinstance(fakes, dict) else {}
    if way not in ways:
        known = ", ".join(f"{name}/{one}" for one in ways) or name
        raise InputError(f"{where}: there is no training {name}/{way}, but {known}")
    return {**part, "fakes": ways[way]}


def _trainings(where: str, part: Mapping[str, Any]) -> Iterator[tuple[str, Training]]:
    fakes = part.get("fakes")
    ways = fakes if isinstance(fakes, dict) else {"": fakes or ()}
    for key, subsets in ways.items():
        made = build_settings(f"{where}: train", Training, {**part, "fakes": subsets})
        yield str(key), made


def _targets(where: str, part: Any) -> Iterator[Target]:
    if not isinstance(part, dict):
        raise InputError(f"{where}: a set of test is not a mapping")
    found = build_settings(f"{where}: a set of test", _Set, part)
    for fakes in found.fakes:
        for domain in found.domains or ("",):
            yield Target(
                name=f"{fakes}_{domain}" if domain else fakes,
                fakes=fakes,
                domain=domain,
                reals=found.reals,
                split=found.split,
                beside=found.beside,
            )

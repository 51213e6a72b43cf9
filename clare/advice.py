"""What would mend an error, or change what a notice speaks of: data, which each caller words.

The library says what is wrong and never how a command line spells the remedy. A notebook reads
``name another folder with out=``, a terminal ``name another folder with --out``: each from the same
`Advice`, through its own `Wording`.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Set:
    """Give a setting this very value.

    Args:
        name: of the setting, as the Python API has it; a part's is ``lare.draws`` or
            ``fusion.heads``.
        value: to be given.
        effect: what that does, as ``removes it``; empty where it goes without saying.
    """

    name: str
    value: Any
    effect: str = ""


@dataclass(frozen=True)
class Name:
    """Give a setting a value of the user's own.

    Args:
        what: that shall be named, as ``another folder``.
        name: of the setting.
        example: what the value may look like, as ``NAME=DIR``.
    """

    what: str
    name: str
    example: str = ""


@dataclass(frozen=True)
class LeaveOut:
    """Give these settings no value at all."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


@dataclass(frozen=True)
class Run:
    """Run an operation of CLaRE first.

    Args:
        operation: its name in the Python API, as ``train_head``; of a group, ``store.verify``.
        arguments: given by position: paths.
        settings: given by name. True is a switch, a sequence one value with several items.
        effect: what that does, as ``fills it``.
    """

    operation: str
    arguments: tuple[Any, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    effect: str = ""


Advice = str | Set | Name | LeaveOut | Run
"""A remedy; plain text where no setting and no operation of CLaRE is spoken of."""


class Wording(Protocol):
    """How a caller spells settings and operations."""

    def setting(self, name: str) -> str:
        """A setting's name, as ``--out``."""

    def assignment(self, name: str, value: Any) -> str:
        """A setting with its value, as ``--recode jpeg:95``."""

    def operation(self, run: Run) -> str:
        """A call or a command that can be typed."""


HEAD_PARTS = ("fusion", "classifier", "decoder")
"""Parts of a head, whichever it has; an extractor's setting begins with the extractor's name."""


class PythonWording:
    """How a notebook spells them."""

    def setting(self, name: str) -> str:
        """As a keyword: ``out=``; a part's setting is an entry of a mapping."""
        part, dot, setting = name.partition(".")
        if dot and part in HEAD_PARTS:
            return f"{part}_settings={{{setting!r}: …}}"
        return f"settings={{{part!r}: {{{setting!r}: …}}}}" if dot else f"{name}="

    def assignment(self, name: str, value: Any) -> str:
        """As a keyword argument: ``recode='jpeg:95'``, ``settings={'lare': {'draws': 8}}``."""
        ((keyword, given),) = _keywords({name: value}).items()
        return f"{keyword}={given!r}"

    def operation(self, run: Run) -> str:
        """As a call, ``clare.train_head(out='runs/a')``; a group has commands alone."""
        if "." in run.operation:
            return _command(run)
        given = [repr(_plain(value)) for value in run.arguments]
        given += [f"{keyword}={value!r}" for keyword, value in _keywords(run.settings).items()]
        return f"clare.{run.operation}({', '.join(given)})"


PYTHON: Wording = PythonWording()


def _keywords(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name as keyword arguments; those of parts are joined to one mapping."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        part, dot, setting = name.partition(".")
        if not dot:
            found[name] = _plain(value)
        elif part in HEAD_PARTS:
            found.setdefault(f"{part}_settings", {})[setting] = _plain(value)
        else:
            found.setdefault("settings", {}).setdefault(part, {})[setting] = _plain(value)
    return found


def _command(run: Run) -> str:
    """An operation as a plain command line: ``clare store verify features.zarr --repair``."""
    words = ["clare", *run.operation.replace("_", "-").split("."), *map(str, run.arguments)]
    for name, value in run.settings.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [_listed(value)])]
    return shlex.join(words)


def _listed(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={one}" for name, one in value.items())
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def say(what: str, advice: Sequence[Advice], wording: Wording = PYTHON) -> str:
    """A sentence: what there is to say, then what would change it.

    Args:
        what: without a full stop.
        advice: remedies, of which one is enough.
        wording: of whoever reads it.
    """
    remedies: list[str] = []
    for are_names, some in itertools.groupby(advice, lambda one: isinstance(one, Name)):
        several = list(some)
        remedies += (
            [_names(several, wording)] if are_names else [_remedy(one, wording) for one in several]
        )
    return f"{what}: {', or '.join(remedies)}" if remedies else what


def _names(several: Sequence[Any], wording: Wording) -> str:
    """Of several settings one is to be named: ``name a run with RUN or a store with --store``."""
    *first, last = [
        f"{one.what} with {wording.setting(one.name)}"
        + (f" (as {one.example})" if one.example else "")
        for one in several
    ]
    return f"name {', '.join(first)} or {last}" if first else f"name {last}"


def _remedy(advice: Advice, wording: Wording) -> str:
    if isinstance(advice, str):
        return advice
    if isinstance(advice, Name):
        return _names([advice], wording)
    if isinstance(advice, LeaveOut):
        *first, last = map(wording.setting, advice.names)
        return f"leave {', '.join(first)} and {last} out" if first else f"leave {last} out"
    if isinstance(advice, Run):
        told = f"`{wording.operation(advice)}`"
        return f"{told} {advice.effect}" if advice.effect else f"run {told}"
    told = wording.assignment(advice.name, advice.value)
    return f"{told} {advice.effect}" if advice.effect else f"give {told}"


def _plain(value: Any) -> Any:
    """A value as one would type it."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


@dataclass(frozen=True)
class Notice:
    """What a user may not expect although nothing failed.

    Args:
        what: there is to say, without a full stop.
        advice: what would change it.
    """

    what: str
    advice: tuple[Advice, ...] = ()

    def __init__(self, what: str, *advice: Advice) -> None:
        object.__setattr__(self, "what", what)
        object.__setattr__(self, "advice", advice)

    def worded(self, wording: Wording = PYTHON) -> str:
        """The notice as a sentence."""
        return say(self.what, self.advice, wording)

    def __str__(self) -> str:
        return self.worded()

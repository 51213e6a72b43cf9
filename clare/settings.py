"""Settings of extractors, fusions and classifiers: frozen dataclasses, filled from plain values."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Any

from clare.errors import InputError
from clare.typed_json import MismatchError, convert


@dataclass(frozen=True)
class Setting:
    """What a field of a settings dataclass is.

    Args:
        name: of the field.
        hint: its type, resolved.
        default: its value where none is given; `dataclasses.MISSING` where one has to be.
        help: what its dataclass's docstring says of it, in one line.
    """

    name: str
    hint: Any
    default: Any
    help: str


def describe(cls: type) -> list[Setting]:
    """The settings of a dataclass, in their order, as its fields and its ``Args:`` tell them.

    A field that is a dataclass itself stands for the settings in it.
    """
    helps, hints = _read_args(cls), typing.get_type_hints(cls)
    found: list[Setting] = []
    for field in fields(cls):
        if is_dataclass(hint := hints[field.name]):
            found += describe(typing.cast(type, hint))
            continue
        made = field.default_factory
        default = field.default if made is MISSING else made()
        found.append(Setting(field.name, hint, default, helps.get(field.name, "")))
    return found


def build_settings(owner: str, cls: type, overrides: Mapping[str, Any]) -> Any:
    """A settings dataclass with some values replaced, names and types checked.

    Lists stand for tuples, and text for numbers, tuples (``"200,300"``) and truth values, so that
    values from a command line, TOML and JSON all serve.

    Args:
        owner: the part's name, for the messages.
        cls: the settings dataclass.
        overrides: setting to value.

    Raises:
        InputError: a name or a value is not usable, or the class itself refuses it (ValueError).
    """
    values = _check(owner, _hints(cls), overrides)
    try:
        return cls(**values)
    except ValueError as error:  # what a dataclass of anybody's raises by custom
        raise InputError(f"{owner}: {error}") from error


def check_settings(owner: str, cls: type, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the settings that `describe` lists, names and types checked.

    Args:
        owner: the part's name, for the messages.
        cls: the settings dataclass; settings of dataclasses within it stand beside its own.
        overrides: setting to value, of the forms that `build_settings` takes.

    Raises:
        InputError: a name or a value is not usable.
    """
    return _check(owner, _flat_hints(cls), overrides)


def _check(owner: str, hints: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in overrides.items():
        if name not in hints:
            known = f"it has {', '.join(hints)}" if hints else "it has none"
            raise InputError(f"{owner} has no setting {name!r}; {known}")
        try:
            found[name] = convert(value, hints[name], texts=True)
        except MismatchError as error:
            raise InputError(f"{owner}'s setting {error.within(name)}") from None
    return found


@cache
def _hints(cls: type) -> Mapping[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


@cache
def _flat_hints(cls: type) -> Mapping[str, Any]:
    return {setting.name: setting.hint for setting in describe(cls)}


def _read_args(cls: type) -> dict[str, str]:
    """The entries of the docstring's ``Args:``, by name, each in one line."""
    _, _, after = inspect.cleandoc(cls.__doc__ or "").partition("\nArgs:\n")
    section = re.split(r"\n(?=\S)", after)[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}

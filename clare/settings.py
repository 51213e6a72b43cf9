"""Settings of extractors, fusions and classifiers: frozen dataclasses, filled from plain values."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from clare.errors import InputError


def parse_assignments(assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``PART.SETTING=VALUE`` texts, by part; the value is JSON or else plain text.

    Raises:
        InputError: a text is of another form.
    """
    found: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        target, equals, text = assignment.partition("=")
        part, dot, setting = target.partition(".")
        if not (equals and dot and part and setting):
            raise InputError(f"--set {assignment} is not of the form PART.SETTING=VALUE")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        found.setdefault(part, {})[setting] = value
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
        InputError: a name or a value is not usable.
    """
    hints = typing.get_type_hints(cls)
    known = [f.name for f in fields(cls)]
    for name in overrides:
        if name not in known:
            raise InputError(f"{owner} has no setting {name!r}; it has {', '.join(known)}")
    return cls(**{n: _coerce(owner, n, v, hints[n]) for n, v in overrides.items()})


def _coerce(owner: str, name: str, value: Any, hint: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        for option in args:
            try:
                return _coerce(owner, name, value, option)
            except InputError:
                continue
    elif origin is tuple:
        parts = [p.strip() for p in value.split(",") if p.strip()] if type(value) is str else value
        if isinstance(parts, list | tuple):
            return tuple(_coerce(owner, name, part, args[0]) for part in parts)
    elif origin is typing.Literal:
        if value in args:
            return value
    elif hint is bool and value in ("true", "false"):
        return value == "true"
    elif hint is int and isinstance(value, str) and value.lstrip("-").isdecimal():
        return int(value)
    elif hint is float and type(value) in (int, float, str):
        try:
            return float(value)
        except ValueError:
            pass
    elif type(value) is hint or (hint is type(None) and value is None):
        return value
    raise InputError(f"{owner}'s setting {name} can't be {value!r}: it is {_describe(hint)}")


def _describe(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, args))
    if origin is tuple:
        return f"a list, each {_describe(args[0])}"
    if args:
        return " or ".join(_describe(a) for a in args)
    names = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
        type(None): "nothing",
    }
    return names.get(hint, str(hint))

"""Dataclasses as plain JSON and back, strictly typed, so that a file has one reader and writer."""

from __future__ import annotations

import json
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from clare.errors import InputError
from clare.files import write_durably
from clare.foreign import RECORD, read_value

T = TypeVar("T")

_WHOLE = re.compile(r"-?[0-9]+")
_LISTS = (tuple, list, frozenset, set)
_LEAVES = frozenset((str, int, float, bool, type(None)))
_PLAIN = (str, int, bool)
"""Types whose values stand for themselves: a list of one of them is not taken apart."""
_NAMES: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    Path: "a path",
    type(None): "nothing",
}


class MismatchError(Exception):
    """A value is not of the type that stands where it was found.

    Args:
        value: that was found; `MISSING` where there is none.
        wanted: what stands there, in words.
        place: of the value, as ``metrics.auc.low`` or ``subsets[2]``; empty for the whole.
    """

    def __init__(self, value: Any, wanted: str, place: str = "") -> None:
        super().__init__(value, wanted, place)
        self.value, self.wanted, self.place = value, wanted, place

    def within(self, outer: str) -> MismatchError:
        """The same, seen from what holds it."""
        inner = self.place if self.place[:1] in ("", "[") else f".{self.place}"
        return MismatchError(self.value, self.wanted, f"{outer}{inner}")

    def __str__(self) -> str:
        if self.value is MISSING:
            return f"{self.place} is missing"
        if not self.wanted:
            return f"{self.place} is not known there"
        return f"{self.place or 'it'} can't be {_shown(self.value)}: it is {self.wanted}"


def to_json(value: Any) -> Any:
    """A value as plain JSON: dataclasses and mappings as objects, sequences and sets as arrays.

    A dataclass that has a method ``to_json`` has a form of its own; sets are sorted.
    """
    if type(value) in _LEAVES:
        return value
    own = getattr(value, "to_json", None)
    if callable(own):
        return own()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(one) for key, one in value.items()}
    if isinstance(value, _LISTS):
        # A run lists the hashes of all its rows: of leaves, none is looked at by itself.
        leaves = _LEAVES.issuperset(map(type, value))
        plain = list(value) if leaves else [to_json(one) for one in value]
        return sorted(plain) if isinstance(value, frozenset | set) else plain
    return str(value) if isinstance(value, Path) else value


def from_json(cls: type[T], data: Any, where: Path | str, *, texts: bool = False) -> T:
    """The dataclass that plain JSON stands for.

    Fields with a default may be missing. A dataclass that has a class method ``from_json(data)``
    reads its own form; it may raise `MismatchError`, or an `InputError` of its own.

    Args:
        cls: a dataclass, its fields annotated with plain types, `Literal`, unions, tuples, lists,
            sets, mappings, `Path`, and further dataclasses.
        data: as `json.loads` gives it.
        where: it comes from, for the message.
        texts: see `convert`.

    Raises:
        InputError: a key is missing or unknown, or a value is of another type; the message names
            where, and the place in it.
    """
    try:
        found: T = convert(data, cls, texts=texts)
    except MismatchError as error:
        raise InputError(f"{where} is damaged: {error}") from None
    except InputError as error:
        raise InputError(f"{where}: {error.what}", *error.advice) from None
    return found


def read_json(path: Path, cls: type[T]) -> T:
    """The dataclass that a JSON file holds; see `from_json`.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    return from_json(cls, read_value(path, "JSON", RECORD), path)


def write_json(path: Path, value: Any, *, indent: int | None = 2) -> None:
    """Write a value as a JSON file, which is then there as a whole and durably; see `to_json`.

    Raises:
        DiskSpaceError: the disk is full; the file that was there before is untouched.
        ValueError: a number is infinite or none.
    """
    write_durably(path, json.dumps(to_json(value), indent=indent, allow_nan=False).encode())


def convert(value: Any, hint: Any, *, texts: bool = False) -> Any:
    """A plain value as a type hint wants it.

    Args:
        value: plain.
        hint: a resolved type hint.
        texts: whether texts may stand for numbers, truth values and, with commas, tuples, as on a
            command line.

    Raises:
        MismatchError: it is of another type.
    """
    origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _one_of(value, hint, args, texts)
    if origin is typing.Literal:
        if any(value == one and type(value) is type(one) for one in args):
            return value
    elif is_dataclass(origin):
        return _dataclass(value, origin, texts)
    elif origin in _LISTS:
        return _list(value, hint, origin, args, texts)
    elif origin in (Mapping, dict):
        if isinstance(value, Mapping):
            return _mapping(value, args or (Any, Any), texts)
    elif origin is Path:
        if isinstance(value, str | Path):
            return Path(value)
    elif origin is float:
        if type(value) in ((int, float, str) if texts else (int, float)):
            try:
                number = float(value)
            except (ValueError, OverflowError):
                raise MismatchError(value, describe_type(hint)) from None
            if texts or math.isfinite(number):
                return number
    elif texts and origin is bool and value in ("true", "false"):
        return value == "true"
    elif texts and origin is int and isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    elif (value is None and origin in (None, type(None))) or type(value) is origin:
        return value
    raise MismatchError(value, describe_type(hint))


def describe_type(hint: Any) -> str:
    """A type hint in words, as ``a number or nothing``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in _LISTS:
        return f"a list, each {describe_type(args[0])}"
    if origin in (Mapping, dict) or is_dataclass(hint):
        return "a table"
    if args:
        return " or ".join(map(describe_type, args))
    return _NAMES.get(hint, str(hint))


def _one_of(value: Any, hint: Any, options: tuple[Any, ...], texts: bool) -> Any:
    first = None
    for option in options:
        try:
            return convert(value, option, texts=texts)
        except MismatchError as error:
            first = first or error
    # What is wrong inside a table says more than that it is none of the options.
    if first is not None and first.place:
        raise first
    raise MismatchError(value, describe_type(hint))


def _dataclass(value: Any, cls: Any, texts: bool) -> Any:
    if isinstance(value, cls):
        return value
    if callable(own := getattr(cls, "from_json", None)):
        return own(value)
    if not isinstance(value, Mapping):
        raise MismatchError(value, "a table")
    known = {field.name: field for field in fields(cls) if field.init}
    for name in value:
        if name not in known:
            raise MismatchError(value[name], "", str(name))
    for name, field in known.items():
        if name not in value and field.default is MISSING and field.default_factory is MISSING:
            raise MismatchError(MISSING, "", name)
    hints = _hints(cls)
    return cls(**{name: _at(name, one, hints[name], texts) for name, one in value.items()})


@cache  # to resolve the annotations takes longer than all else
def _hints(cls: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(cls)


def _list(value: Any, hint: Any, origin: Any, args: tuple[Any, ...], texts: bool) -> Any:
    if texts and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        raise MismatchError(value, describe_type(hint))
    each = args or (Any, ...)
    if origin is not tuple or each[-1] is ...:
        if each[0] in _PLAIN and {each[0]}.issuperset(map(type, value)):
            return origin(value)
        each = (each[0],) * len(value)
    if len(each) != len(value):
        raise MismatchError(value, f"a list of {len(each)}")
    pairs = enumerate(zip(value, each, strict=True))
    return origin(_at(f"[{n}]", one, hint, texts) for n, (one, hint) in pairs)


def _mapping(value: Mapping[Any, Any], args: tuple[Any, ...], texts: bool) -> dict[Any, Any]:
    key, item = args
    return {
        _at(str(name), name, key, texts): _at(str(name), one, item, texts)
        for name, one in value.items()
    }


def _at(place: str, value: Any, hint: Any, texts: bool) -> Any:
    try:
        return convert(value, hint, texts=texts)
    except MismatchError as error:
        raise error.within(place) from None


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"

"""Means to damage a store: any file of it, and any member of its records under a right checksum."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from clare.store.records import canonical, seal, unseal

HOSTILE: tuple[Any, ...] = (
    *(None, True, -1, 7, 64, 10**9, 2**62, 2**70, 0.5, 1e300, "", "x", "../up", "/etc/passwd"),
    *("a/b", "a\x1b[31m", "\x00", "\ud800", "9" * 30, [], [[]], [-1], ["x"], [2**40] * 3, {}),
    *({"../up": 1}, {"x": {"y": []}}),
)
"""Values that no reader may trust, whatever stands there otherwise."""


def files_of(store: Path) -> list[str]:
    """Every file of a store but its locks."""
    found = (path.relative_to(store) for path in sorted(store.rglob("*")) if path.is_file())
    return [str(path) for path in found if path.parts[0] != "locks"]


def is_sealed(name: str) -> bool:
    """Whether a file of a store is made of sealed lines."""
    return name.endswith((".json", ".jsonl", ".thumbs")) and not name.endswith("zarr.json")


def places_of(record: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the members of a record stand, outer ones first."""
    inner: Iterable[tuple[Any, Any]] = record.items() if isinstance(record, Mapping) else ()
    if isinstance(record, list):
        inner = enumerate(record)
    for key, value in inner:
        yield (*place, key)
        yield from places_of(value, (*place, key))


def changed(record: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy of a record with another value in one place; without the member for `Ellipsis`."""
    copy = json.loads(json.dumps(record))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    if value is not ...:
        inner[place[-1]] = value
    else:
        del inner[place[-1]]
    return copy


def forge(path: Path, line: int, change: Callable[[Any], Any]) -> None:
    """Change the record of one line of a sealed file, and seal it again."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = seal(change(unseal(lines[line])))
    path.write_bytes(b"".join(lines))


def forge_anything(store: Path, name: str, chance: random.Random) -> str | None:
    """Put a hostile value into a member of a sealed file; returns what was done, if anything."""
    path = store / name
    lines = path.read_bytes().splitlines(keepends=True)
    line = chance.randrange(len(lines)) if path.suffix == ".jsonl" else 0
    record = unseal(lines[line])
    place = chance.choice(list(places_of(record)))
    value = chance.choice((*HOSTILE, ...))
    try:
        new = changed(record, place, value)
        canonical(new)
    except (UnicodeError, ValueError):
        return None
    lines[line] = seal(new)
    path.write_bytes(b"".join(lines))
    return None if new == record else f"{name}, line {line}, {place} = {value!r:.40}"


def _flip(path: Path, chance: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    path.write_bytes(raw)


def _zero(path: Path, chance: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    start = chance.randrange(len(raw))
    before = raw[start : start + 64]
    raw[start : start + 64] = b"\0" * len(before) if any(before) else b"\1" * len(before)
    path.write_bytes(raw)


def _cut(path: Path, chance: random.Random) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: chance.randrange(len(raw))])


def _folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()
    if chance.random() < 0.5:
        (path / "inside").write_bytes(b"x")


def _dead_link(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _link(path: Path, chance: random.Random) -> None:
    """A link to the very bytes, elsewhere."""
    store = next(parent for parent in path.parents if (parent / "locks").is_dir())
    kept = store.parent / f"aside-{path.name}"
    shutil.move(path, kept)
    path.symlink_to(kept)


DAMAGE: Mapping[str, Callable[[Path, random.Random], object]] = {
    "flip": _flip,
    "zero": _zero,
    "cut": _cut,
    "delete": lambda path, chance: path.unlink(),
    "empty": lambda path, chance: path.write_bytes(b""),
    "folder": _folder,
    "dead link": _dead_link,
    "link": _link,
}
"""Ways in which a file comes to harm, by name."""


def swap(one: Path, other: Path) -> None:
    """Give each of two files the other's bytes."""
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)

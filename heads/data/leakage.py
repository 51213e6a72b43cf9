"""What ties rows together: rows of one video, one identity or one image belong to one split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clare.errors import InputError
from clare.groups import groups_of
from clare.store.index import Row
from clare.wording import name_rows

Ties = Mapping[str, frozenset[str]]
"""Hashes by kind."""


def refuse_leaks(rows: Iterable[Row]) -> None:
    """Refuse rows whose splits share a video, an identity or an image.

    Args:
        rows: of all splits that are in use; rows without a split are left out.

    Raises:
        InputError: they share one; the message names the first few by kind.
    """
    splits: dict[tuple[str, str], str] = {}
    leaks: dict[str, dict[str, str]] = {}
    for row in rows:
        split = str(row.columns.get("split") or "")
        for kind, name in groups_of(row.columns, row.content) if split else ():
            first = splits.setdefault((kind, name), split)
            if first != split:
                shown = row.sample_id if kind == "image" else name
                leaks.setdefault(kind, {})[name] = f"{shown!r} ({first} and {split})"
    if leaks:
        named = "; ".join(
            f"{kind} {name_rows(list(found.values()))}" for kind, found in leaks.items()
        )
        raise InputError(
            f"the splits leak, one stands in two of them: {named}",
            "build the manifests again with groups kept whole, and extract again to refresh them",
        )


@dataclass(frozen=True)
class Seen:
    """Videos, identities and images that made a run what it is, as short hashes.

    Those of the runs that it began from are among them (``init_from``).

    Args:
        trained: by kind, of the rows that it was trained on.
        chosen: by kind, of the rows that its checkpoint and threshold were chosen on.
    """

    trained: Ties
    chosen: Ties

    @classmethod
    def of(cls, trained: Iterable[Row], chosen: Iterable[Row] = ()) -> Seen:
        """What these rows show."""
        return cls(_hashes(trained), _hashes(chosen))

    def join(self, other: Seen) -> Seen:
        """What either of the two has seen."""
        return Seen(_join(self.trained, other.trained), _join(self.chosen, other.chosen))

    def shared_with(self, row: Row) -> list[str]:
        """What of a row was seen, for example ``["video ff/003", "identity ff/17"]``."""
        return _shared(row, self.trained, self.chosen)

    def trained_on(self, row: Row) -> list[str]:
        """What of a row was trained on, as `shared_with`."""
        return _shared(row, self.trained)


def _hashes(rows: Iterable[Row]) -> Ties:
    found: dict[str, set[str]] = {}
    for row in rows:
        for kind, name in groups_of(row.columns, row.content):
            found.setdefault(kind, set()).add(_hash(name))
    return {kind: frozenset(names) for kind, names in found.items()}


def _join(one: Ties, other: Ties) -> Ties:
    none: frozenset[str] = frozenset()
    return {kind: one.get(kind, none) | other.get(kind, none) for kind in {**one, **other}}


def _shared(row: Row, *seen: Ties) -> list[str]:
    shared = []
    for kind, name in groups_of(row.columns, row.content):
        own = _hash(name)
        if any(own in ties.get(kind, ()) for ties in seen):
            shared.append(f"{kind} {name}")
    return shared


def _hash(name: str) -> str:
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).hexdigest()

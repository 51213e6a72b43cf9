"""What ties rows together: rows of one video, one identity or one image belong to one split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from clare.errors import InputError
from clare.store.index import Row

SHOWN = 5
"""Ids that a message names; it counts the others."""

KINDS = ("video", "identity", "image")
"""What ties rows together; see `ties_of`."""

_SHA256 = 64


def ties_of(row: Row) -> list[tuple[str, str]]:
    """(kind, name) of everything that a row may share with rows of its own split alone.

    Kinds are ``video``, named within its subset; ``identity``, named within its domain, because
    two datasets may call different people alike; and ``image``, the file's content.
    """
    columns = row.columns
    found = []
    if columns.get("video_id"):
        found.append(("video", f"{columns.get('subset', '')}/{columns['video_id']}"))
    for identity in str(columns.get("source_ids") or "").split("|"):
        if identity.strip():
            domain = columns.get("domain")
            found.append(("identity", f"{domain}/{identity.strip()}" if domain else identity))
    if len(row.content) == _SHA256:
        found.append(("image", row.content))
    return found


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
        for kind, name in ties_of(row) if split else ():
            first = splits.setdefault((kind, name), split)
            if first != split:
                shown = row.sample_id if kind == "image" else name
                leaks.setdefault(kind, {})[name] = f"{shown!r} ({first} and {split})"
    if leaks:
        named = "; ".join(
            f"{kind} {_listed(list(found.values()))}" for kind, found in leaks.items()
        )
        raise InputError(
            f"the splits leak, one stands in two of them: {named}; build the manifests again with "
            "groups kept whole (`clare manifest build`) and run `clare extract` to refresh them"
        )


@dataclass(frozen=True)
class Seen:
    """Videos, identities and images that a run was trained or chosen on, as short hashes.

    Args:
        ties: hashes by kind.
    """

    ties: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Seen:
        """What these rows show."""
        found: dict[str, set[str]] = {}
        for row in rows:
            for kind, name in ties_of(row):
                found.setdefault(kind, set()).add(_hash(name))
        return cls({kind: frozenset(names) for kind, names in found.items()})

    def shared_with(self, row: Row) -> list[str]:
        """What of a row was seen, for example ``["video ff/003", "identity ff/17"]``."""
        return [
            f"{kind} {name}"
            for kind, name in ties_of(row)
            if _hash(name) in self.ties.get(kind, frozenset())
        ]

    def to_json(self) -> dict[str, list[str]]:
        """Sorted hashes by kind; every kind is there, so that an empty record is a damaged one."""
        return {kind: sorted(self.ties.get(kind, ())) for kind in KINDS}

    @classmethod
    def from_json(cls, record: Mapping[str, list[str]]) -> Seen:
        """What `to_json` wrote.

        Raises:
            InputError: it is not that; a guard that is read wrongly would guard nothing.
        """
        lists = [names for kind, names in record.items() if kind in KINDS]
        if len(lists) < max(len(record), 1) or not all(
            isinstance(names, list) and all(isinstance(name, str) for name in names)
            for names in lists
        ):
            raise InputError("what a run has seen is not recorded as lists of hashes by kind")
        return cls({kind: frozenset(names) for kind, names in record.items() if names})


def _hash(name: str) -> str:
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more

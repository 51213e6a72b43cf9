"""What ties rows together: rows of one video, identity, pair or image belong to one split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from clare.advice import Advice, Name
from clare.errors import InputError
from clare.groups import Group, Kind, first_tied, groups_of, met_by, names_of_real, ties_of
from clare.store.row import Row
from clare.store.rows import Rows, rows_of
from clare.wording import counted, listed, name_rows

Ties = Mapping[str, frozenset[str]]
"""Hashes by kind."""

SHARED = ("subset", "parent_subset", "video_id", "domain", "pair_id", "source_ids")
"""Columns that say what a row shares with others; `groups_of` reads them."""


def refuse_leaks(rows: Sequence[Row]) -> None:
    """Refuse rows whose splits share a video, an identity, a pair or an image.

    Args:
        rows: of all splits that are in use; rows without a split are left out.

    Raises:
        InputError: they share one; the message counts them by kind and names both places of some.
    """
    if not _leaks(rows_of(rows)):
        return
    first: dict[Group, Row] = {}
    leaks: dict[Group, tuple[Row, Row]] = {}
    tied = [
        (group, row)
        for row in rows
        if _split(row)
        for group in ties_of(row.columns, row.sample_id, row.content)
    ]
    # Names of reals come last: each meets the pairs that name it, and two reals of one name do not.
    for group, row in sorted(tied, key=lambda one: one[0][0] == "real"):
        for known in first_tied(first, group, row):
            if _split(known) != _split(row):
                leaks.setdefault(_as_pair(group), (known, row))
    found: dict[Kind, list[str]] = {}
    for (kind, name), (one, other) in leaks.items():
        places = f"{_place(one)} and {_place(other)}"
        found.setdefault(kind, []).append(places if kind == "image" else f"{name}, {places}")
    named = "; ".join(
        f"{_many(len(some), kind)} in two splits, {name_rows(some, '; ')}"
        for kind, some in found.items()
    )
    raise InputError(f"the splits leak: {named}", *_cures(leaks))


def _leaks(rows: Rows) -> bool:
    """Whether rows of two splits share something."""
    splits = [str(split or "") for split in rows.column("split").tolist()]
    numbers, groups = _groups(rows)
    first: dict[Group, str] = {}
    for number, split in sorted(set(zip(numbers, splits, strict=True))):
        if split and any(first.setdefault(group, split) != split for group in groups[number]):
            return True
    pairs = {name: split for (kind, name), split in first.items() if kind == "pair"}
    for names, split in zip(_names_of_reals(rows), splits, strict=True):
        if split and any(pairs.get(name, split) != split for name in names):
            return True
    images = {one for one in zip(rows.contents.tolist(), splits, strict=True) if all(one)}
    return len(images) > len({content for content, _ in images})


def _groups(rows: Rows) -> tuple[list[int], list[list[Group]]]:
    """What rows share beside the image itself, which is the same for many rows.

    Returns:
        (n,) for each row a place in a list of groups; and that list.
    """
    columns = [rows.column(name).tolist() for name in SHARED]
    columns[-1] = [str(value or "") for value in columns[-1]]
    places: dict[tuple[Any, ...], int] = {}
    numbers = [places.setdefault(one, len(places)) for one in zip(*columns, strict=True)]
    return numbers, [
        groups_of({n: v for n, v in zip(SHARED, one, strict=True) if v is not None})
        for one in places
    ]


def _names_of_reals(rows: Rows) -> list[tuple[str, ...]]:
    """(n,) what fakes may call each row by; nothing calls a fake so."""
    columns = ("label", "subset", "parent_subset", "parent_id")
    each = zip(*(rows.column(name).tolist() for name in columns), rows.sample_ids, strict=True)
    return [
        names_of_real(dict(zip(columns, one, strict=True)), sample_id) if one[0] == 0 else ()
        for *one, sample_id in each
    ]


def _as_pair(group: Group) -> Group:
    """What ties a real to the fake that names it is their pair."""
    kind, name = group
    return ("pair", name) if kind == "real" else group


def _many(number: int, kind: Kind) -> str:
    if kind == "identity" and number > 1:
        return f"{number:,} identities"
    return counted(number, kind)


def _split(row: Row) -> str:
    return str(row.columns.get("split") or "")


def _place(row: Row) -> str:
    columns = row.columns
    return f"{columns.get('path') or row.sample_id} of {columns.get('subset')} ({_split(row)})"


def _cures(leaks: Mapping[Group, tuple[Row, Row]]) -> Iterator[Advice]:
    """What keeps the splits apart: it depends on whether subsets disagree, or one with itself."""
    pairs = [{str(row.columns.get("subset")) for row in rows} for rows in leaks.values()]
    disagree = sorted(set().union(*(names for names in pairs if len(names) > 1)))
    if disagree:
        yield Name(f"only subsets that agree, of {listed(disagree)},", "train")
        yield (
            f"build the manifests of {listed(disagree)} with one split for what they share, and "
            "extract them again"
        )
    torn = sorted(set().union(*(names for names in pairs if len(names) == 1)))
    if torn:
        copies = any(
            kind == "image" and len(names) == 1
            for (kind, _), names in zip(leaks, pairs, strict=True)
        )
        hashed = " (copies are found by their hashes)" if copies else ""
        yield (
            f"build {listed(torn)} again with groups kept whole{hashed}, and extract again, which "
            "refreshes the splits"
        )


@dataclass(frozen=True)
class Seen:
    """Videos, identities, pairs and images that made a run what it is, as short hashes.

    Those of the runs that it began from are among them (``init_from``).

    Args:
        trained: by kind, of the rows that it was trained on.
        chosen: by kind, of the rows that its checkpoint and threshold were chosen on.
        unknown: whether it was also trained on what nobody listed, as a published checkpoint is.
    """

    trained: Ties
    chosen: Ties
    unknown: bool = False

    @classmethod
    def of(cls, trained: Sequence[Row], chosen: Sequence[Row] = ()) -> Seen:
        """What these rows show."""
        return cls(_hashes(rows_of(trained)), _hashes(rows_of(chosen)))

    def join(self, other: Seen) -> Seen:
        """What either of the two has seen."""
        return Seen(
            _join(self.trained, other.trained),
            _join(self.chosen, other.chosen),
            self.unknown or other.unknown,
        )

    def is_of(self, now: Seen) -> bool:
        """Whether a record is of the rows that there are now.

        It may lack some names of reals, as one of an earlier version does.
        """
        both = ((self.trained, now.trained), (self.chosen, now.chosen))
        return self.unknown == now.unknown and all(_is_of(*one) for one in both)

    def shared_with(self, row: Row) -> list[str]:
        """What of a row was seen, for example ``["video ff/003", "identity ff/17"]``."""
        return _shared(row, self.trained, self.chosen)

    def trained_on(self, row: Row) -> list[str]:
        """What of a row was trained on, as `shared_with`."""
        return _shared(row, self.trained)

    def holds_image(self, content: str) -> bool | None:
        """Whether an image was trained on, or chosen on, by the SHA-256 of its file.

        None where nobody can tell: it is in no list, and was also trained on what is in none.
        """
        listed = (self.trained, self.chosen)
        if any(_hash(content) in ties.get("image", ()) for ties in listed):
            return True
        return None if self.unknown else False

    def chose_on_image(self, content: str) -> bool:
        """Whether the checkpoint was chosen on an image, by the SHA-256 of its file."""
        return _hash(content) in self.chosen.get("image", ())

    def trained_on_image(self, row: Row) -> bool:
        """Whether the very image was trained on, and not another of its video or identity."""
        return any(
            kind == "image" and _hash(name) in self.trained.get(kind, ())
            for kind, name in groups_of(row.columns, row.content)
        )


def refuse_trained_on(seen: Seen, learner: str, rows: Sequence[Row], cure: Advice) -> None:
    """Refuse rows of validation that were trained on before.

    Args:
        seen: by that training.
        learner: what was trained, in words.
        rows: of validation.
        cure: what would help.

    Raises:
        InputError: there are some; the message names the first few.
    """
    known = [(row, ties) for row in rows if (ties := seen.trained_on(row))]
    if not known:
        return
    named = name_rows([f"{row.sample_id} ({ties[0]})" for row, ties in known])
    raise InputError(
        f"{len(known)} of the {len(rows)} validation rows were trained on by {learner} ({named})",
        cure,
    )


def _hashes(rows: Rows) -> Ties:
    found: dict[str, set[str]] = {}
    for kind, name in chain.from_iterable(_groups(rows)[1]):
        found.setdefault(kind, set()).add(_hash(name))
    if reals := set(chain.from_iterable(_names_of_reals(rows))):
        found["real"] = set(map(_hash, reals))
    if images := set(rows.contents.tolist()) - {""}:
        found["image"] = set(map(_hash, images))
    return {kind: frozenset(names) for kind, names in found.items()}


def _is_of(before: Ties, now: Ties) -> bool:
    none: frozenset[str] = frozenset()
    alike = {**before, "real": none} == {**now, "real": none}
    return alike and before.get("real", none) <= now.get("real", none)


def _join(one: Ties, other: Ties) -> Ties:
    none: frozenset[str] = frozenset()
    return {kind: one.get(kind, none) | other.get(kind, none) for kind in {**one, **other}}


def _shared(row: Row, *seen: Ties) -> list[str]:
    shared = []
    for group in ties_of(row.columns, row.sample_id, row.content):
        own = _hash(group[1])
        if any(own in ties.get(kind, ()) for ties in seen for kind, _ in met_by(group)):
            shared.append(" ".join(_as_pair(group)))
    return list(dict.fromkeys(shared))


def _hash(name: str) -> str:
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).hexdigest()

"""Train, validation and test: stratified, never through a group, the same every time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from clare.groups import Group, first_tied
from clare.pipeline.manifests.sample import Sample

SHARES: Mapping[str, float] = {"test": 0.15, "val": 0.15, "train": 0.7}
"""Share of each split, in the order in which they are filled."""


SPLIT_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""The split that the name of a folder or a file, or a cell, means, in lower case."""


@dataclass
class _Group:
    """Samples that have to share a split."""

    name: str
    rows: list[int] = field(default_factory=list)
    labels: frozenset[int] = frozenset()
    split: str = ""


def assign_splits(samples: Sequence[Sample], *, seed: int = 0) -> tuple[Sample, ...]:
    """Give every sample a split, 70/15/15.

    Samples that share an identity, a video, a pair or a file (by path, or sha256 where known) form
    a group, also through each other, and a group is never cut. Groups with the same labels are one
    stratum. In it they stand in the order of a seeded hash of their name, and each goes to the
    first of test, val, train whose quota of rows lacks at least half of it. So quotas are exact
    where samples stand alone, and files that are added later move only the few rows at a quota's
    end. A label with three groups or more is in every split.

    Args:
        samples: samples of one subset; the splits that they have are replaced.
        seed: other seeds give other splits.

    Returns:
        The samples in the order given.
    """
    groups = _groups(samples)
    order = {g.name: hashlib.sha256(f"{seed}\n{g.name}".encode()).digest() for g in groups}
    groups.sort(key=lambda group: order[group.name])
    for labels in {group.labels for group in groups}:
        _fill([group for group in groups if group.labels == labels])
    for label in sorted({label for group in groups for label in group.labels}):
        _leave_none_empty(groups, label)
    splits = {row: group.split for group in groups for row in group.rows}
    return tuple(replace(sample, split=splits[i]) for i, sample in enumerate(samples))


def components(samples: Sequence[Sample]) -> list[list[int]]:
    """The rows of samples that have to share a split, group by group."""
    return [group.rows for group in _groups(samples)]


def _groups(samples: Sequence[Sample]) -> list[_Group]:
    """Connected components of samples that share a key."""
    parent = list(range(len(samples)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[Group, int] = {}
    for row, sample in enumerate(samples):
        for shared in sample.ties:
            for other in first_tied(first, shared, row):
                parent[root(row)] = root(other)
    groups: dict[int, _Group] = {}
    for row, sample in enumerate(samples):
        group = groups.setdefault(root(row), _Group(sample.sample_id))
        # The least id names the group: rows in another order or beside it change nothing.
        group.name = min(group.name, sample.sample_id)
        group.rows.append(row)
        group.labels |= {sample.label}
    return list(groups.values())


def _fill(stratum: Sequence[_Group]) -> None:
    total = sum(len(group.rows) for group in stratum)
    lacking = {split: float(round(share * total)) for split, share in SHARES.items()}
    for group in stratum:
        group.split = next(
            (split for split in SHARES if lacking[split] >= len(group.rows) / 2), "train"
        )
        lacking[group.split] -= len(group.rows)


def _leave_none_empty(groups: Sequence[_Group], label: int) -> None:
    """Move single groups of a label until all its splits have one, if three are there."""
    if sum(label in group.labels for group in groups) < len(SHARES):
        return
    for split in SHARES:
        if any(group.split == split and label in group.labels for group in groups):
            continue
        held = Counter((group.split, one) for group in groups for one in group.labels)
        # A split that two groups of the label share can spare one; with its other label, if it
        # has one, the same must hold, and where both groups have both labels it does.
        spare = [
            group
            for group in groups
            if label in group.labels and all(held[group.split, one] > 1 for one in group.labels)
        ]
        min(spare, key=lambda group: (group.split != "train", len(group.rows))).split = split

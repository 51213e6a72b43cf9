"""The rules that every manifest keeps, so that nothing later has to ask again."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from clare.columns import MASK_FAKE, SPLITS
from clare.dates import is_span
from clare.errors import ManifestError
from clare.groups import Group, Kind, first_tied
from clare.names import has_control, path_fault
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.wording import name_rows

_DELIVERED = ("delivery", "delivery_steps", "parent_id", "parent_subset")
"""Columns of a delivery."""

STATUSES = ("ok", "missing", "empty", "corrupt", "duplicate")


def check_name(name: str) -> None:
    """Refuse the name of a subset that can't name a file and a folder everywhere.

    Raises:
        ManifestError: it is empty, begins with a sign, or has others than letters, digits, . _ -.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ManifestError(
            f"{name!r} can't name a subset: use letters, digits, '.', '_' and '-', "
            "a letter or digit first"
        )


@dataclass(frozen=True)
class BrokenRule:
    """A rule of `validate` that samples break.

    Args:
        rule: what is wrong.
        rows: the rows that break it, by name.
        advice: what to do.
    """

    rule: str
    rows: Sequence[str]
    advice: str


def validate(manifest: Manifest) -> None:
    """Refuse a manifest that breaks a rule.

    Raises:
        ManifestError: no rows; a row of another subset; an unknown label, split, status or
            ``mask_fake``; a ``created`` that is no date; an empty or repeated ``sample_id``; a path
            that is absolute, leaves its root, has a backslash or is not in plain form; paths that
            differ in case alone; one file (path, or sha256 where known) with two labels, in two
            splits, or listed twice; an identity, a video or a pair in two splits. The message names
            the rows.
    """
    check_name(manifest.name)
    for broken in broken_rules(manifest):
        rows = f": {name_rows(broken.rows)}" if broken.rows else ""
        raise ManifestError(f"{manifest.name}: {broken.rule}{rows}; {broken.advice}")


def broken_rules(manifest: Manifest) -> Iterator[BrokenRule]:
    """Every rule that a manifest breaks, with all rows that break it."""
    name, samples = manifest.name, manifest.samples
    if not samples:
        yield BrokenRule(f"subset {name} has no rows", (), "name folders that hold images")
    for rule, rows, advice in _findings(name, samples):
        found = list(rows)
        if found:
            yield BrokenRule(rule, found, advice)


_Finding = tuple[str, Iterable[str], str]


def _findings(name: str, samples: Sequence[Sample]) -> Iterator[_Finding]:
    def ids(breaks: Callable[[Sample], bool]) -> list[str]:
        return [repr(sample.sample_id) for sample in samples if breaks(sample)]

    yield (
        f"rows of a subset other than {name}",
        [f"{s.sample_id!r} ({s.subset})" for s in samples if s.subset != name],
        "the column subset and the file's name are one",
    )
    yield "labels other than 0 and 1", ids(lambda s: s.label not in (0, 1)), "0 real, 1 fake"
    yield (
        "splits that are not known",
        [f"{s.sample_id!r} ({s.split})" for s in samples if s.split and s.split not in SPLITS],
        f"use {', '.join(SPLITS)} or nothing",
    )
    yield (
        "statuses that are not known",
        [f"{s.sample_id!r} ({s.status})" for s in samples if s.status not in STATUSES],
        f"use {', '.join(STATUSES)}",
    )
    yield (
        "a mask_fake that is neither white nor black",
        [
            f"{s.sample_id!r} ({s.mask_fake})"
            for s in samples
            if s.mask_fake and s.mask_fake not in MASK_FAKE
        ],
        "say what is fake in the mask, or leave it empty where that is white",
    )
    yield (
        "a created that is no date",
        [f"{s.sample_id!r} ({s.created})" for s in samples if s.created and not is_span(s.created)],
        "write 2024, 2024-03, 2024-03-05, or two of these with / between",
    )
    yield (
        "a delivery without its steps or its image, or these without a delivery",
        ids(lambda s: len({bool(getattr(s, name)) for name in _DELIVERED}) > 1),
        f"fill all of {', '.join(_DELIVERED)}, or none",
    )
    yield (
        "a sample_id that is empty or has control characters",
        ids(lambda s: not s.sample_id or has_control(s.sample_id)),
        "give each row a plain name",
    )
    yield (
        "a sample_id stands more than once",
        [repr(i) for i, count in Counter(s.sample_id for s in samples).items() if count > 1],
        "a row's id is unique",
    )
    yield (
        "paths that are not plain relative ones",
        (
            f"{s.sample_id!r} ({column} {path!r} {reason})"
            for s in samples
            for column, path in _paths(s)
            if (reason := path_fault(path))
        ),
        "write paths below a root, with '/'",
    )
    yield from _check_files(samples)
    yield from _check_splits(samples)


def _paths(sample: Sample) -> list[tuple[str, str]]:
    paths = [("path", sample.path)]
    if sample.mask_path:
        paths.append(("mask_path", sample.mask_path))
    if sample.landmark_path:
        paths.append(("landmark_path", sample.landmark_path))
    return paths


def _fold(path: str) -> str:
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path).casefold()


def _check_files(samples: Sequence[Sample]) -> Iterator[_Finding]:
    labels: dict[tuple[str, str], int] = {}
    spellings: dict[tuple[str, str], str] = {}
    listed: set[tuple[str, str, str, str]] = set()
    two_labels, collisions, repeated = [], [], []
    for s in samples:
        if labels.setdefault((s.root, s.path), s.label) != s.label:
            two_labels.append(f"{s.sample_id!r} ({s.path})")
        if s.sha256 and labels.setdefault(("sha256", s.sha256), s.label) != s.label:
            two_labels.append(f"{s.sample_id!r} (sha256 {s.sha256[:12]}…)")
        if spellings.setdefault((s.root, _fold(s.path)), s.path) != s.path:
            collisions.append(f"{s.sample_id!r} ({s.path})")
        own = (s.root, s.path, s.boxes, s.delivery)
        if own in listed:
            repeated.append(f"{s.sample_id!r} ({s.path})")
        listed.add(own)
    yield "one file with two labels", two_labels, "keep it under one of them"
    yield (
        "paths that differ from another row's in case or accents' coding alone",
        collisions,
        "many disks can't hold both: rename one",
    )
    yield (
        "a file listed twice",
        repeated,
        "rows of one file differ in their boxes or in their delivery",
    )


def _check_splits(samples: Sequence[Sample]) -> Iterator[_Finding]:
    splits: dict[Group, tuple[str, str]] = {}
    kinds: dict[Kind, list[str]] = {"identity": [], "video": [], "pair": [], "image": []}
    for s in samples:
        for kind, name in s.ties if s.split else ():
            for split, other in first_tied(splits, (kind, name), (s.split, s.sample_id)):
                if split != s.split:
                    places = f"{name[:40]} in {s.split}, {other!r} in {split}"
                    kinds["pair" if kind == "real" else kind].append(f"{s.sample_id!r} ({places})")
    for kind, rows in kinds.items():
        yield f"one {kind} in two splits", rows, "assign it to one of them"

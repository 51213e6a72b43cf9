"""What is known of a manifest beside its rows, recorded as ``NAME.meta.json`` when it is built."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clare.errors import InputError
from clare.foreign import LIST, read_bytes
from clare.pipeline.manifests.sample import Sample
from clare.typed_json import read_json

Counts = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Rows as [domain][split or "none"]["real" or "fake"]."""


@dataclass(frozen=True)
class BuildRecord:
    """What was seen while the manifest of a subset was built.

    Args:
        subset: its name.
        rows: in the manifest.
        counts: of the rows.
        official: rows by official split.
        status: rows by status.
        clare: version that built it.
        folders: folders that fit a layout, also empty ones, as [domain][official split].
        empty_folders: those without an image, as ``root/path``.
        unassigned: rows without a split, by reason.
        ignored: files that stand beside images by design, by kind.
        unmatched: files at the subset's place that no layout fits.
        masks: what there is to say of masks.
        splits: rule by domain.
        roots: folder by root.
        hash: whether files were hashed.
        sha256: of the manifest; empty while it is not written.
    """

    subset: str
    rows: int
    counts: Counts
    official: Mapping[str, int]
    status: Mapping[str, int]
    clare: str = ""
    folders: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    empty_folders: tuple[str, ...] = ()
    unassigned: Mapping[str, int] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)
    unmatched: int = 0
    masks: tuple[str, ...] = ()
    splits: Mapping[str, str] = field(default_factory=dict)
    roots: Mapping[str, str] = field(default_factory=dict)
    hash: bool = False
    sha256: str = ""

    @property
    def videos(self) -> int:
        """Files of videos beside the images."""
        return sum(self.ignored.get(suffix, 0) for suffix in (".mp4", ".avi", ".mov", ".mkv"))


def count_rows(subset: str, samples: Iterable[Sample]) -> BuildRecord:
    """What the rows of a subset alone tell."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    official: Counter[str] = Counter()
    status: Counter[str] = Counter()
    for sample in samples:
        sides = counts.setdefault(sample.domain, {}).setdefault(sample.split or "none", {})
        side = "fake" if sample.label else "real"
        sides[side] = sides.get(side, 0) + 1
        official[sample.official_split] += 1
        status[sample.status] += 1
    return BuildRecord(subset, status.total(), counts, dict(official), dict(status))


def read_record(manifest: Path) -> BuildRecord | None:
    """What was recorded when a manifest was built; None where nothing was, or it has changed.

    Args:
        manifest: the CSV, or where it would be.
    """
    path = manifest.with_name(manifest.name.partition(".csv")[0] + ".meta.json")
    try:
        record = read_json(path, BuildRecord)
    except InputError:
        return None
    if manifest.is_file():
        digest = hashlib.sha256(read_bytes(manifest, LIST)).hexdigest()
        return record if record.sha256 == digest else None
    return None if record.rows else record

"""From the samples of a manifest to the rows of the store: one row a (sample, view)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clare.pipeline.manifest import Sample
from clare.pipeline.roots import Roots
from clare.store.index import Row

HASHERS = 16
"""Threads that hash files: enough to keep a network disk busy."""


def rows_of_samples(
    samples: Sequence[Sample],
    roots: Roots,
    known: Iterable[Row],
    *,
    views: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Make the rows that the samples ask for, each with the hash of its file's content.

    A file whose size and modification time equal those of its stored row is not read again; a
    sha256 that the manifest gives is taken, and checked when the image is decoded. Views above 0
    are made for training samples alone: nothing else may use them.

    Args:
        samples: samples of one subset.
        roots: where their paths start.
        known: the rows that the store already holds for this subset.
        views: views of each training sample.
        progress: called with (files done, files in all).

    Returns:
        The rows in the samples' order, the views of a sample side by side; ``slot`` is -1. A
        file that is unreadable or empty has the empty content hash.
    """
    stored = {row.sample_id: row for row in known if row.view == 0}
    rows: list[Row] = []

    def describe(sample: Sample) -> tuple[str, dict[str, Any]]:
        return _content(sample, roots.resolve(sample), stored.get(sample.sample_id))

    with ThreadPoolExecutor(HASHERS) as pool:
        for done, (sample, (content, columns)) in enumerate(
            zip(samples, pool.map(describe, samples), strict=True), start=1
        ):
            for view in range(views if sample.split == "train" else 1):
                rows.append(
                    Row(sample_id=sample.sample_id, view=view, content=content, columns=columns)
                )
            if progress is not None:
                progress(done, len(samples))
    return rows


def sample_columns(sample: Sample) -> dict[str, Any]:
    """The manifest's columns that are filled, as the store's index keeps them."""
    columns = {k: v for k, v in asdict(sample).items() if v not in (None, "", {})}
    del columns["sample_id"]
    return columns


def _content(sample: Sample, path: Path, stored: Row | None) -> tuple[str, dict[str, Any]]:
    columns = sample_columns(sample)
    try:
        stat = path.stat()
        columns["bytes"], columns["mtime_ns"] = stat.st_size, stat.st_mtime_ns
        if stored is not None and stored.content and _same_file(stored.columns, columns):
            return stored.content, columns
        if stat.st_size == 0:
            return "", columns
        if sample.sha256:
            return sample.sha256, columns
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), columns
    except OSError:
        return "", columns  # decoding names the reason


def _same_file(stored: Any, found: dict[str, Any]) -> bool:
    return all(stored.get(k) == found.get(k) for k in ("root", "path", "bytes", "mtime_ns"))

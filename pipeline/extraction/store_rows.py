"""From the samples of a manifest to the rows of the store: one row a (sample, view)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import chain
from operator import attrgetter
from pathlib import Path
from stat import S_ISREG
from types import MappingProxyType
from typing import Any

from clare.advice import Name
from clare.errors import ImageError, InputError
from clare.foreign import open_bytes
from clare.groups import aligned_pair
from clare.pipeline.images.decode import open_regular, read_header
from clare.pipeline.manifests.roots import PLAIN_FOLDER, Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.progress import Progress
from clare.store.bucket.files import Stats, file_threads
from clare.store.row import Row
from clare.wording import counted, name_rows

_COLUMNS = tuple(field.name for field in fields(Sample) if field.name != "sample_id")
_values_of = attrgetter(*_COLUMNS)

Pair = tuple[str, str]
"""The name and the kind of a pair whose members lie on each other."""

NO_REALS: Mapping[Pair, Row] = MappingProxyType({})

HASHERS = 16
"""Threads that hash files: enough to keep a network disk busy."""

_TOGETHER = 64
"""Most files that a thread takes at once."""


def rows_of_samples(
    samples: Sequence[Sample],
    roots: Roots,
    known: Iterable[Row],
    *,
    views: int = 1,
    progress: Progress | None = None,
) -> list[Row]:
    """Make the rows that the samples ask for, each with the hash of its file's content.

    A file whose size and modification time equal those of its stored row is not read again; a
    sha256 that the manifest gives is taken, and checked when the image is decoded. Views above 0
    are made for training samples alone: nothing else may use them. A delivery has none either.

    Args:
        samples: samples of one subset.
        roots: where their paths start.
        known: the rows that the store already holds for this subset.
        views: views of each training sample.
        progress: called with (files done, files in all).

    Returns:
        The rows in the samples' order, the views of a sample side by side; ``slot`` is -1. A
        file that is unreadable or empty has the empty content hash.

    Raises:
        InputError: a plain folder would replace images of another folder of the same name.
    """
    stored: dict[str, list[Row]] = {}
    for row in known:
        stored.setdefault(row.sample_id, []).append(row)
    rows: list[Row] = []

    def describe(some: Sequence[Sample]) -> list[tuple[str, dict[str, Any]]]:
        found = []
        remote = [sample for sample in some if roots.is_remote(sample)]
        named = ((one, path) for one in remote for path in (one.path, one.mask_path) if path)
        stats = Stats(roots.resolve(*one) for one in named)
        for sample in some:
            plain = [row for row in stored.get(sample.sample_id, ()) if row.view == 0]
            found.append(_describe(sample, roots, stats, plain[0] if plain else None))
        return found

    # Several at a time where there are many: to hand one over takes longer than to look at it.
    size = max(1, min(_TOGETHER, len(samples) // (4 * HASHERS)))
    parts = [samples[start : start + size] for start in range(0, len(samples), size)]
    with file_threads(HASHERS) as pool:
        described = chain.from_iterable(pool.map(describe, parts))
        for done, (sample, (content, columns)) in enumerate(
            zip(samples, described, strict=True), start=1
        ):
            # A view of an image that is another now would stay in training: it is made anew.
            stale = [r.view + 1 for r in stored.get(sample.sample_id, ()) if r.content != content]
            viewed = sample.split == "train" and not sample.delivery
            count = max(views, *stale, 1) if viewed else 1
            for view in range(count):
                rows.append(
                    Row(sample_id=sample.sample_id, view=view, content=content, columns=columns)
                )
            if progress is not None:
                progress(done, len(samples))
    return rows


def refuse_two_labels(
    selected: Sequence[tuple[Manifest, Roots]], rows: Sequence[Sequence[Row]]
) -> None:
    """Refuse an image that is given as real and as fake, whatever its files are called.

    Args:
        selected: subsets, with the folders that their paths start at.
        rows: those of each subset, from `rows_of_samples`.

    Raises:
        InputError: files of both labels have the same content, and the same face box.
    """
    known: dict[tuple[str, str], tuple[Sample, Roots]] = {}
    both = []
    for (manifest, roots), own in zip(selected, rows, strict=True):
        plain = [row for row in own if row.view == 0]
        for sample, row in zip(manifest.samples, plain, strict=True):
            if not row.content:
                continue  # decoding names the reason
            key = row.content, sample.boxes
            other, others = known.setdefault(key, (sample, roots))
            if other.label != sample.label:
                first, path = others.resolve(other), roots.resolve(sample)
                both.append(f"{first} and its copy {path}" if first != path else str(path))
                in_folders = sample.root.startswith(PLAIN_FOLDER)
    if both:
        raise InputError(
            f"{counted(len(both), 'file')} given as real and as fake: {name_rows(both)}",
            Name("folders that share no file", "real")
            if in_folders
            else "keep each under one label",
        )


def pair_of(row: Row) -> Pair:
    """The aligned pair that a row is of; its name is empty where it is of none."""
    return aligned_pair(row.columns), str(row.columns.get("pair_kind") or "")


def reals_of_pairs(subset: str, rows: Sequence[Row], recipe: str) -> dict[Pair, Row]:
    """The plain rows of the reals that fakes lie on.

    Args:
        subset: that the rows are of.
        rows: from `rows_of_samples`.
        recipe: of views that mix these reals in.

    Raises:
        InputError: a fake that gets augmented views lies on none of them.
    """
    plain = [row for row in rows if row.view == 0 and row.columns["label"] == 0]
    reals = {pair: row for row in plain if (pair := pair_of(row))[0]}
    fakes = [row for row in rows if row.view == 1 and row.columns["label"] == 1]
    if alone := [row.sample_id for row in fakes if pair_of(row) not in reals]:
        raise InputError(
            f"views by {recipe} mix a fake with the real that it lies on, and "
            f"{counted(len(alone), 'fake')} of {subset} lie on none of its reals, as pair_id and "
            f"pair_kind say: {name_rows(alone)}",
            Name("another recipe", "view_recipe"),
        )
    return reals


def sample_columns(sample: Sample) -> dict[str, Any]:
    """The manifest's columns that are filled, as the store's index keeps them."""
    values = zip(_COLUMNS, _values_of(sample), strict=True)
    return {name: value for name, value in values if value not in (None, "", {})}


def _describe(
    sample: Sample, roots: Roots, stats: Stats, stored: Row | None
) -> tuple[str, dict[str, Any]]:
    """The content hash and the columns; the mask's hash, size and time too, if it has one."""
    columns = sample_columns(sample)
    known = stored.columns if stored is not None else {}
    content = stored.content if stored is not None else ""
    content = _content(roots.resolve(sample), stats, columns, known, content, "", sample.sha256)
    if stored is not None:
        _refuse_namesake(sample, content, stored)
    if sample.mask_path:
        mask = roots.resolve(sample, sample.mask_path)
        content_before = str(known.get("mask_content", ""))
        found = _content(mask, stats, columns, known, content_before, "mask_", "")
        columns["mask_content"] = found
        columns.update(_mask_size(mask, known if found == content_before else {}))
    return content, columns


def _mask_size(path: Path, known: Mapping[str, Any]) -> dict[str, int]:
    """``mask_width`` and ``mask_height``, pixels as the file's header states them.

    They tell how fine a mask was before it was squashed. Of a file that is no image there are none.

    Args:
        path: the mask.
        known: the columns that the store holds, where the file is still the one they speak of.
    """
    names = ("mask_width", "mask_height")
    if all(name in known for name in names):
        return {name: known[name] for name in names}
    try:
        with open_regular(path) as file:
            return dict(zip(names, read_header(file)[:2], strict=True))
    except (ImageError, OSError):
        return {}  # decoding names the reason


def _refuse_namesake(sample: Sample, content: str, stored: Row) -> None:
    place = str(stored.columns.get("root", ""))
    if (
        place.startswith(PLAIN_FOLDER)
        and sample.root not in ("", place)
        and "" not in (content, stored.content)
        and content != stored.content
    ):
        raise InputError(
            f"the store has another {sample.sample_id}, of a folder of the same name in another "
            "place",
            "rename the folder",
            "give its subset another name",
            Name("another", "store"),
        )


def _content(
    path: Path,
    stats: Stats,
    columns: dict[str, Any],
    known: Mapping[str, Any],
    content: str,
    prefix: str,
    given: str,
) -> str:
    """The sha256 of a file, whose size and time join the columns; empty if it can't be read.

    Args:
        path: the file.
        stats: tells its size and time.
        columns: of the row; gain ``<prefix>bytes`` and ``<prefix>mtime_ns``.
        known: the columns that the store holds.
        content: the hash that the store holds.
        prefix: of the file's columns.
        given: the hash that the manifest gives.
    """
    facts = (f"{prefix}bytes", f"{prefix}mtime_ns")
    same_place = all(known.get(k) == columns.get(k) for k in ("root", f"{prefix}path"))
    try:
        stat = stats.of(path)
        columns.update(zip(facts, (stat.st_size, stat.st_mtime_ns), strict=True))
        if content and same_place and all(known.get(k) == columns[k] for k in facts):
            return content
        if stat.st_size == 0 or not S_ISREG(stat.st_mode):
            return ""
        if given:
            return given
        with open_bytes(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, InputError):
        if not (content and same_place):
            return ""  # decoding names the reason
        # A disk that is away for a while must not cost the features of what is on it.
        columns.update((k, known[k]) for k in facts if k in known)
        return content

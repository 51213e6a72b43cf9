"""The list of a subset's images: one CSV a subset, the label a column and never guessed."""

from __future__ import annotations

import gzip
import math
import os
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import lru_cache
from glob import escape
from pathlib import Path
from typing import Any

from clare.augmentation.deliveries import Delivery, is_delivery
from clare.dates import read_span
from clare.errors import InputError, ManifestError
from clare.files import PARTIAL
from clare.foreign import csv_rows, open_text, reading
from clare.labels import read_label
from clare.own_csv import csv_text, originals
from clare.pipeline.images.marks import parse_boxes, parse_points
from clare.pipeline.manifests.sample import COLUMNS, REQUIRED, Manifest, Sample
from clare.pipeline.manifests.validation import validate
from clare.wording import name_rows, natural_key

_COUNT = re.compile(r"[0-9]{1,18}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

SUFFIXES = (".csv", ".csv.gz")
"""Of manifests, the preferred one first."""


def read_manifest(path: Path) -> Manifest:
    """Read and validate a manifest.

    Args:
        path: a ``.csv`` or ``.csv.gz``, UTF-8, with a header; its name is the subset's name.

    Raises:
        ManifestError: the file can't be read, a cell is not what its column asks for (the message
            names the lines), or a rule of `validate` is broken.
    """
    manifest = read_rows(path)
    validate(manifest)
    return manifest


def read_rows(path: Path) -> Manifest:
    """Read a manifest without asking whether its rows agree with each other.

    Raises:
        ManifestError: the file can't be read, or a cell is not what its column asks for.
    """
    name = manifest_name(path)
    with reading(path, "a CSV in UTF-8", ManifestError), open_text(path) as file:
        reader = csv_rows(path, file, strict=True)
        header = originals(next(reader, []))
        known, extra = _split_header(path, header)
        samples: list[Sample] = []
        errors: list[str] = []
        for cells in reader:
            if not cells:
                continue
            try:
                samples.append(_parse(originals(cells), len(header), known, extra))
            except ValueError as error:
                errors.append(f"line {reader.line_num}: {error}")
    if errors:
        raise ManifestError(f"{path}: {name_rows(errors, '; ')}")
    return Manifest(name, tuple(samples))


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Validate a manifest and write it whole or not at all.

    Rows are sorted by ``sample_id`` (numbers in it by value), columns that no row fills are left
    out, so equal manifests give equal bytes.

    Args:
        manifest: what to write.
        path: a ``.csv`` or ``.csv.gz``, named after the manifest.

    Raises:
        ManifestError: a rule of `validate` is broken, or the name or place is not usable.
    """
    validate(manifest)
    if manifest_name(path) != manifest.name:
        raise ManifestError(
            f"{path}: the file of subset {manifest.name} is named {manifest.name}.csv"
        )
    data = _to_csv(manifest).encode("utf-8")
    if path.name.endswith(".gz"):
        data = gzip.compress(data, mtime=0)
    host = "".join(filter(str.isalnum, socket.gethostname()))
    partial = path.with_name(f".{path.name}.{host}.{os.getpid()}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Of this machine alone: whether another's writer lives can't be seen from here.
        for stale in path.parent.glob(f".{escape(path.name)}.{host}.*{PARTIAL}"):
            if not _lives(stale.name.split(".")[-2]):
                stale.unlink(missing_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise ManifestError(f"{path} can't be written: {error.strerror or error}") from error


def _lives(process: str) -> bool:
    """Whether the writer of a partial file is still at work."""
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def manifest_name(path: Path) -> str:
    """The subset that a manifest's file name stands for.

    Raises:
        ManifestError: the name ends neither in .csv nor in .csv.gz.
    """
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix)
    raise ManifestError(f"{path}: the name of a manifest ends in .csv or .csv.gz")


def find_manifest(folder: Path, name: str) -> Path | None:
    """The manifest of a subset; None where there is none."""
    return next((p for s in SUFFIXES if (p := folder / f"{name}{s}").is_file()), None)


def list_manifests(folder: Path) -> dict[str, Path]:
    """The manifests of a folder by their subset, sorted."""
    names = {manifest_name(path) for s in SUFFIXES for path in folder.glob(f"*{s}")}
    found = {name: find_manifest(folder, name) for name in sorted(names)}
    return {name: path for name, path in found.items() if path is not None}


def _to_csv(manifest: Manifest) -> str:
    samples = sorted(manifest.samples, key=lambda sample: natural_key(sample.sample_id))
    filled = {c for s in samples for c in COLUMNS if getattr(s, c) not in ("", None)}
    extra = sorted({column for sample in samples for column in sample.extra})
    columns = [column for column in COLUMNS if column in filled]
    rows = (
        [
            *(getattr(sample, column) for column in columns),
            *(sample.extra.get(column) for column in extra),
        ]
        for sample in samples
    )
    return csv_text([[*columns, *extra], *rows])


def _split_header(
    path: Path, header: Sequence[str]
) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Positions of the known columns and of the others."""
    missing = [column for column in REQUIRED if column not in header]
    if missing:
        raise ManifestError(
            f"{path}: no column {', '.join(missing)}; the first line names the columns, separated "
            f"by commas, at least {', '.join(REQUIRED)}"
        )
    repeated = sorted({column for column in header if header.count(column) > 1})
    if repeated or "" in header:
        raise ManifestError(f"{path}: column {(repeated or ['without a name'])[0]!r} is not usable")
    known = [(i, column) for i, column in enumerate(header) if column in COLUMNS]
    extra = [(i, column) for i, column in enumerate(header) if column not in COLUMNS]
    for _, column in extra:
        # A misspelt column would be passed on unread: a split or a mask would silently be missing.
        close = get_close_matches(column.strip().lower(), (*COLUMNS, "extra"), 1, cutoff=0.8)
        if close:
            raise ManifestError(
                f"{path}: column {column!r} is not known, is it {close[0]!r}? "
                "A column of your own needs a name that is less alike"
            )
    return known, extra


def _parse(
    cells: Sequence[str],
    width: int,
    known: Sequence[tuple[int, str]],
    extra: Sequence[tuple[int, str]],
) -> Sample:
    if len(cells) != width:
        raise ValueError(f"{len(cells)} cells, but the header has {width}")
    values: dict[str, Any] = {}
    for i, column in known:
        if cell := cells[i]:
            parse = _PARSERS.get(column)
            values[column] = cell if parse is None else parse(column, cell)
    absent = [column for column in REQUIRED if column not in values]
    if absent:
        raise ValueError(f"{absent[0]} is empty")
    return Sample(**values, extra={column: cells[i] for i, column in extra if cells[i]})


def _parse_label(column: str, text: str) -> int:
    label = _known_label(text)
    if label is None:
        raise ValueError(f"label {text!r} is not 0 (real) or 1 (fake), nor a word for it")
    return label


_known_label = lru_cache(maxsize=256)(read_label)  # a list has many lines, and few words


def _parse_count(column: str, text: str) -> int:
    if not _COUNT.fullmatch(text):
        raise ValueError(f"{column} {text!r} is not a whole number")
    return int(text)


@lru_cache(maxsize=4096)  # a list has many lines, and few dates
def _parse_created(column: str, text: str) -> str:
    try:
        read_span(text)
    except ValueError as error:
        raise ValueError(f"{column} {error}") from None
    return text


def _parse_sha256(column: str, text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise ValueError(f"sha256 {text!r} is not 64 hexadecimal digits in lower case")
    return text


def _parse_delivery(column: str, text: str) -> str:
    if not is_delivery(text):
        raise ValueError(f"delivery {text[:80]!r} is no plain word")
    return text


@lru_cache(maxsize=4096)  # a list has many lines, and few deliveries
def _parse_steps(column: str, text: str) -> str:
    try:
        return Delivery.of(column, text).text
    except InputError as error:
        raise ValueError(error.what) from None


def _parse_boxes_cell(column: str, text: str) -> str:
    parse_boxes(text)
    return text


def _parse_points_cell(column: str, text: str) -> str:
    parse_points(text)
    return text


def _parse_confidence(column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{column} {text!r} is not a number")
    return value


_PARSERS: dict[str, Callable[[str, str], str | int | float]] = {
    "label": _parse_label,
    "frame_idx": _parse_count,
    "created": _parse_created,
    "delivery": _parse_delivery,
    "delivery_steps": _parse_steps,
    "width": _parse_count,
    "height": _parse_count,
    "bytes": _parse_count,
    "sha256": _parse_sha256,
    "boxes": _parse_boxes_cell,
    "face_points": _parse_points_cell,
    "face_confidence": _parse_confidence,
    "face_turn": _parse_count,
    "face_count": _parse_count,
}

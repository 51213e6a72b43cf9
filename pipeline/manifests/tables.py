"""A manifest from anybody's table: a CSV of paths and labels, or a text list ``path label``."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from clare.advice import Name, Notice, Set
from clare.columns import CUSTOMARY, SPLITS, MaskFake
from clare.dates import is_span
from clare.errors import InputError
from clare.foreign import bounded_lines, open_text, reading
from clare.labels import VOCABULARY, Labels
from clare.own_csv import original
from clare.pipeline.images.marks import parse_boxes
from clare.pipeline.manifests.folder_rules import cut_videos, guess_videos
from clare.pipeline.manifests.folders import BuiltManifest
from clare.pipeline.manifests.headers import read_headers
from clare.pipeline.manifests.masks import look_at_masks
from clare.pipeline.manifests.prefixes import Moved, find_moved
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import REQUIRED, Manifest, Sample
from clare.pipeline.manifests.scan import IMAGE_SUFFIXES, suffix_of
from clare.pipeline.manifests.splits import SPLIT_WORDS, assign_splits
from clare.pipeline.manifests.validation import check_name, validate
from clare.store.bucket.files import file_place
from clare.store.bucket.places import bucket_url
from clare.wording import counted, listed, name_rows

_FIELDS = {"video": "video_id", "identity": "source_ids", "mask": "mask_path"}
_ROLES = (
    *("path", "label", "video", "split", "identity", "mask", "mask_fake", "domain", "boxes"),
    "created",
)
_SNIFFED = 50


@dataclass(frozen=True)
class ImportedTable:
    """A manifest made of a table.

    Args:
        built: the manifest, validated; files that are not there have the status ``missing``.
        notices: which columns were taken, and what deserves a look.
    """

    built: BuiltManifest
    notices: tuple[Notice, ...]


@dataclass(frozen=True)
class _Table:
    path: Path
    columns: tuple[str, ...]
    rows: list[tuple[int, list[str]]]
    roles: Mapping[str, int]


def import_csv(
    files: Sequence[Path],
    *,
    root: Path | None = None,
    subset: str | None = None,
    columns: Mapping[str, str] | None = None,
    labels: Labels = Labels(),  # noqa: B008 - it is frozen
    mask_fake: MaskFake | None = None,
    hash: bool = False,
    follow_links: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportedTable:
    """Make a manifest of tables in any order of columns, with any separator, with a header or not.

    Args:
        files: the tables, UTF-8; files named train, val and test say the split of their rows.
        root: where their paths start; by default the folder of the first table.
        subset: name of the manifest; by default that of the table.
        columns: a column's name by what it holds: path, label, video and more. One that is named
            must be there; without a header, columns are 1, 2, 3. ``none`` for video: each image
            stands alone; otherwise, without a column of videos, folders that look like videos
            are (`FolderRules.video`), where the splits don't cut them.
        labels: words for real and fake.
        mask_fake: what is fake in masks, where no column says it; white if None.
        hash: also record the sha256 of each file.
        follow_links: a folder that links may lead into, out of the root.
        progress: called with (files read, files in all).

    Raises:
        InputError: a table can't be read; a column is not there; a label or a split is not known;
            one file has two labels; or no file is below the root.
        ManifestError: a rule of `validate` is broken.
    """
    name = subset or files[0].name.partition(".")[0]
    check_name(name)
    named = dict(columns or {})
    alone = named.get("video") == "none"
    if alone:
        del named["video"]
    tables = [_read(file, named, labels) for file in files]
    if alone:
        tables = [_without(table, "video") for table in tables]
    base = file_place(root or files[0].parent).resolve()
    notices = [_taken(table) for table in tables]
    moved = _moved(tables, base, labels)
    notices += _dropped(moved)
    samples: dict[str, Sample] = {}
    repeated, contradicted, torn = 0, [], []
    for table in tables:
        for sample in _samples(
            table, name, base, labels, moved, mask_fake, several=len(tables) > 1
        ):
            first = samples.setdefault(sample.path, sample)
            repeated += first is not sample
            if first.label != sample.label:
                contradicted.append(sample.path)
            elif first.split != sample.split:
                torn.append(f"{sample.path} ({first.split or 'none'}, {sample.split or 'none'})")
    for what, rows in (("labels", contradicted), ("splits", torn)):
        if rows:
            raise InputError(f"{name}: one file with two {what}: {name_rows(rows)}")
    roots = Roots(base, {}, follow_links)
    read = list(
        read_headers([*samples.values()], lambda s: roots.resolve(s), hash=hash, progress=progress)
    )
    if all(sample.status == "missing" for sample in read):
        raise InputError(
            f"none of the {counted(len(read), 'file')} of {files[0]} is below {base}, as "
            f"{read[0].path}",
            Name("the folder that their paths start at", "root"),
        )
    if not alone and not any(sample.video_id for sample in read):
        read, told = _with_videos(read)
        notices.append(told)
    if not any(sample.split for sample in read):
        read = list(assign_splits(read))
        notices.append(Notice("no column of splits: they are assigned, 70/15/15"))
    elif bare := sum(not sample.split for sample in read):
        what = f"{counted(bare, 'row')} without a split, which no training and no test reads"
        notices.append(Notice(what, Name("their column", "split")))
    if repeated:
        notices.append(Notice(f"{counted(repeated, 'row')} of files that stand above already"))
    notices += [remark.notice for remark in look_at_masks(read, roots.resolve)]
    manifest = Manifest(name, tuple(read))
    validate(manifest)
    built = BuiltManifest(manifest, base, follow_links)
    return ImportedTable(built, (*notices, *built.notices()))


def _with_videos(samples: Sequence[Sample]) -> tuple[list[Sample], Notice]:
    """Video ids by folders that look like videos, unless the table's splits say otherwise."""
    guessed = guess_videos(samples)
    videos = [video for video, _ in guessed]
    column = Name("their column", "video")
    if not any(videos):
        return list(samples), Notice("no video ids are known", column)
    advice = (column, Set("video", "none", effect="takes each image alone"))
    what = f"{counted(len({*videos} - {''}), 'folder')} of numbered images"
    if torn := cut_videos(samples, videos):
        cut = f"{what} look like videos, and the splits cut {len(torn)} of them: {name_rows(torn)}"
        return list(samples), Notice(f"{cut}; no video ids are known", *advice)
    found = [
        replace(sample, video_id=video, frame_idx=frame)
        for sample, (video, frame) in zip(samples, guessed, strict=True)
    ]
    return found, Notice(f"{what} are taken as videos, whose frames share a split", *advice)


def _without(table: _Table, role: str) -> _Table:
    return replace(table, roles={one: k for one, k in table.roles.items() if one != role})


def _read(path: Path, named: Mapping[str, str], labels: Labels) -> _Table:
    with reading(path, "a table of paths and labels"), open_text(path) as file:
        lines = list(bounded_lines(path, file))
    if not any(line.strip() for line in lines):
        raise InputError(f"{path} has no rows")
    refusals: list[tuple[int, InputError]] = []
    for rows in _splittings(path, lines):
        try:
            return _identified(path, rows, named, labels)
        except InputError as error:
            refusals.append((len(rows[0][1]), error))
    raise max(refusals, key=lambda one: one[0])[1]


def _splittings(path: Path, lines: Sequence[str]) -> Iterator[list[tuple[int, list[str]]]]:
    """The rows with their line numbers, as each separator that the first line has cuts them."""
    for separator in (",", ";", "\t"):
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        with reading(path, "a table of paths and labels"):
            rows = [(reader.line_num, [c.strip() for c in cells]) for cells in reader if any(cells)]
        if rows and len(rows[0][1]) > 1:
            yield rows
    plain = [(n, line.strip()) for n, line in enumerate(lines, 1) if line.strip()]
    # A path may have spaces, its label behind or before it.
    yield [(n, line.rsplit(None, 1)) for n, line in plain]
    yield [(n, line.split(None, 1)) for n, line in plain]
    yield [(n, line.split()) for n, line in plain]


def _identified(
    path: Path,
    rows: list[tuple[int, list[str]]],
    named: Mapping[str, str],
    labels: Labels,
) -> _Table:
    first = rows[0][1]
    numbers = [column for column in named.values() if column.isdecimal()]
    known = {name for role in _ROLES for name in CUSTOMARY[role]} | {*named.values()}
    known -= {*numbers}  # of columns without names, or a label
    has_names = any(cell in known or cell.casefold() in known for cell in first)
    has_cells = bool(numbers) or any(labels.read(cell) is not None for cell in first)
    above_image = any(map(_is_image, rows[1][1] if len(rows) > 1 else ()))
    is_header = not any(map(_is_image, first)) and (has_names or (above_image and not has_cells))
    if is_header and {*REQUIRED} <= {*first}:  # a manifest of ours
        rows = [(n, [*map(original, cells)]) for n, cells in rows]
    if is_header:
        columns, rows = tuple(first), rows[1:]
    else:
        columns = tuple(str(n + 1) for n in range(len(first)))
    ragged = [f"line {n}" for n, cells in rows if len(cells) != len(columns)]
    if ragged:
        raise InputError(f"{path}: rows of other than {len(columns)} cells: {name_rows(ragged)}")
    roles = {role: _place(path, role, column, columns) for role, column in named.items()}
    folded = [column.casefold() for column in columns]
    some = [cells for _, cells in rows[:_SNIFFED]]
    for role in _ROLES:
        found = [folded.index(name) for name in CUSTOMARY[role] if name in folded]
        if not is_header and role in ("path", "label"):
            is_one = _is_image if role == "path" else lambda cell: labels.read(cell) is not None
            taken = set(roles.values())
            found = [k for k in range(len(columns)) if all(is_one(cells[k]) for cells in some)]
            found = [k for k in found if k not in taken]
            found = found if len(found) == 1 else []
        if role not in roles and found:
            roles[role] = found[0]
    for role in ("path", "label"):
        if role not in roles:
            if not is_header:
                raise InputError(
                    f"{path} has no line of names, and none of its columns could be told to hold "
                    f"{role}s; its first line is {', '.join(first)!r}",
                    Name("the column", role, "1 for the first"),
                )
            there = listed(column or "one without a name" for column in columns)
            raise InputError(
                f"{path} has no column that is known for {role}s; it has {there}",
                Name("it", role),
            )
    if not rows:
        raise InputError(f"{path} has no rows")
    return _Table(path, columns, rows, roles)


def _place(path: Path, role: str, column: str, columns: Sequence[str]) -> int:
    folded = [one.casefold() for one in columns]
    for names, name in ((columns, column), (folded, column.casefold())):
        if name in names:
            return names.index(name)
    there = listed(one for one in columns if one)
    raise InputError(f"{path} has no column {column!r}; it has {there}", Name("one of them", role))


def _is_image(cell: str) -> bool:
    return suffix_of(cell) in IMAGE_SUFFIXES


def _taken(table: _Table) -> Notice:
    """Which columns hold what, and which are left out."""
    roles = [f"{role} {table.columns[place]!r}" for role, place in table.roles.items()]
    others = [
        repr(name)
        for place, name in enumerate(table.columns)
        if place not in table.roles.values() and name and not name.startswith("Unnamed:")
    ]
    left = f"; left out: {listed(others)}" if others else ""
    return Notice(f"{table.path.name}: columns taken: {listed(roles)}{left}")


def _moved(tables: Sequence[_Table], base: Path, labels: Labels) -> Moved:
    """Images and masks that the tables list where they lay on another machine."""
    listed = {
        (cells[table.roles[role]], label): None
        for table in tables
        for _, cells in table.rows
        for role in ("path", "mask")
        if role in table.roles and cells[table.roles[role]]
        if (label := labels.read(cells[table.roles["label"]])) is not None
    }
    own = {text: place for text, _ in listed if (place := _relative(text, base))}
    return find_moved(base, listed, own)


def _dropped(moved: Moved) -> list[Notice]:
    if not moved.dropped:
        return []
    beginnings = sorted(moved.dropped, key=lambda one: -moved.dropped[one])
    files = counted(sum(moved.dropped.values()), "file")
    what = f"{files} found by the end of their paths, without {name_rows(beginnings)}"
    return [Notice(what)]


def _samples(
    table: _Table,
    subset: str,
    base: Path,
    labels: Labels,
    moved: Moved,
    mask_fake: MaskFake | None,
    *,
    several: bool,
) -> Iterator[Sample]:
    faults: dict[str, list[str]] = {}
    stem = table.path.name.partition(".")[0].casefold()
    of_file = SPLIT_WORDS.get(stem, "") if several and "split" not in table.roles else ""
    found: list[Sample] = []
    labels.refuse_mixed({cells[table.roles["label"]] for _, cells in table.rows}, str(table.path))
    for line, cells in table.rows:
        cell = {role: cells[place] for role, place in table.roles.items()}
        where = f"line {line}"
        label = labels.read(cell["label"])
        split = SPLIT_WORDS.get(cell.get("split", "").casefold()) if cell.get("split") else of_file
        path = moved.place(cell["path"], label) or _relative(cell["path"], base)
        if label is None:
            faults.setdefault("labels that say neither real nor fake", []).append(
                f"{where} ({cell['label']!r})"
            )
        elif split is None:
            faults.setdefault(f"splits other than {', '.join(SPLITS)}", []).append(
                f"{where} ({cell['split']!r})"
            )
        elif not _are_boxes(cell.get("boxes", "")):
            faults.setdefault("boxes that are not x0 y0 x1 y1", []).append(
                f"{where} ({cell['boxes']!r})"
            )
        elif cell.get("created") and not is_span(cell["created"]):
            faults.setdefault("dates in created that can't be read", []).append(
                f"{where} ({cell['created']!r})"
            )
        elif path is None:
            faults.setdefault(f"paths out of {base}", []).append(f"{where} ({cell['path']!r})")
        else:
            more: dict[str, Any] = {
                _FIELDS.get(role, role): text
                for role, text in cell.items()
                if role not in ("path", "label", "split", "mask", "mask_fake") and text
            }
            if cell.get("mask"):
                mask = moved.place(cell["mask"], label) or _relative(cell["mask"], base)
                more["mask_path"] = mask or cell["mask"]
                fake = cell.get("mask_fake", "").casefold() or mask_fake
                more["mask_fake"] = "" if fake in ("white", None) else fake
            found.append(Sample(f"{subset}/{path}", path, label, subset, split=split, **more))
    for what, rows in faults.items():
        advice = (
            (Name("them", "real_label"), Name("them", "fake_label"), f"write {VOCABULARY}")
            if what.startswith("labels")
            else (Name("the folder that holds all", "root"),)
            if what.startswith("paths")
            else ()
        )
        raise InputError(f"{table.path}: {what}: {name_rows(rows)}", *advice)
    yield from found


def _are_boxes(text: str) -> bool:
    try:
        return not text or bool(parse_boxes(text))
    except ValueError:
        return False


def _relative(text: str, base: Path) -> str | None:
    """A path below the root in its shortest form; None where it is outside."""
    plain = text.replace("\\", "/")
    if PureWindowsPath(plain).drive:
        return None
    if plain.startswith("/") or bucket_url(plain):
        for top in (str(base), os.path.realpath(base)):
            if plain.startswith(f"{top}/"):
                plain = plain[len(top) + 1 :]
                break
        else:
            return None
    parts = PurePosixPath(os.path.normpath(plain)).parts
    return None if ".." in parts or not parts else "/".join(parts)

"""Bring a damaged store to where the next extraction redoes what was lost, and nothing else."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from clare.errors import CorruptStoreError
from clare.files import make_folder, remove_durably, sync_folder, write_durably
from clare.progress import Progress
from clare.store.bucket.places import place_of
from clare.store.commands import StoreCommand
from clare.store.extractor_records import (
    Assets,
    copied_extractor,
    extractor_group,
    extractor_record,
    read_extractor,
)
from clare.store.feature_store import SIGNATURE
from clare.store.index import load_index
from clare.store.journal import withdraw_record
from clare.store.layout import (
    ASSETS,
    EXTRACTORS,
    EXTRACTORS_CLAIM,
    JOURNAL,
    RECORD,
    ROWS,
    Layout,
    folder_belongs,
    shard_path,
)
from clare.store.maintenance.salvage import salvage_index
from clare.store.maintenance.verify import ASIDE, Problem, verify_store
from clare.store.records import DamagedRecordError, checking, read_file, seal, unseal
from clare.store.thumbnails import forget_thumbnails
from clare.store.zarr_shards import GROUP, array_metadata, write_metadata
from clare.typed_json import convert

_ROUNDS = 8
"""Most passes: what is mended may uncover further damage, each time less."""


class Repair(NamedTuple):
    """What a repair did.

    Args:
        done: one sentence for each thing done.
        left: what is still not as it was written; foreign files, which are left alone, included.
    """

    done: list[str]
    left: list[Problem]


def repair_store(
    store_path: Path | str,
    problems: Sequence[Problem] | None = None,
    *,
    progress: Progress | None = None,
) -> Repair:
    """Mend what `verify_store` found, so that the next extraction redoes what can't be mended.

    Metadata is rewritten from the records. A damaged shard is taken out of the journal. Rows
    whose index line is lost get a new slot at the next extraction. An extractor's record is
    rebuilt from its copy in the arrays; if that is lost too, its features are deleted. A link, or
    what stands in the place of something else, is set aside in the store's folder. The store is
    verified again until nothing more can be mended.

    Args:
        store_path: the store's folder, or its place in a bucket, where shards, pictures and arrays'
            metadata are mended, and records are not.
        problems: what `verify_store` found; the store is verified first if left out.
        progress: passed on to `verify_store`.
    """
    path = place_of(store_path)
    if problems is None:
        problems = verify_store(path, progress=progress)
    layout = Layout.at(path)
    if layout.mirror is not None:
        layout.renew(layout.root / ROWS)
        layout.renew(layout.root / EXTRACTORS, {RECORD, ASSETS}.__contains__)
    done: list[str] = []
    for _ in range(_ROUNDS):
        lines = [line for line in _mend(layout, problems) if line not in done]
        if not lines:
            break
        done += lines
        problems = verify_store(path, progress=progress)
    return Repair(done, list(problems))


def _mend(layout: Layout, problems: Sequence[Problem]) -> list[str]:
    """One pass over what was found."""
    done: list[str] = []
    for kind, mend in _STEPS.items():
        if layout.mirror is not None and kind not in _IN_BUCKET:
            continue
        places = [problem for problem in problems if problem.kind == kind]
        for problem in places:
            done += _clear(layout, problem)
        for problem in {_unit(problem): problem for problem in places}.values():
            if line := mend(layout, problem):
                done.append(line)
    return done


def _clear(layout: Layout, problem: Problem) -> list[str]:
    """Set aside what stands where another kind of thing belongs; nothing of it is lost."""
    path = layout.root / problem.path
    in_place_of_file = path.is_dir() and not folder_belongs(problem.path)
    if not path.is_symlink() and problem.kind != "misplaced" and not in_place_of_file:
        return []
    if path.is_symlink() and (not path.exists() or path == layout.root / ASIDE):
        path.unlink()
        sync_folder(path.parent)
        return [f"{problem.path}: a link, removed"]
    if not (path.is_symlink() or path.exists()):
        return []
    layout.require_own(layout.root / ASIDE)
    make_folder(layout.root / ASIDE)
    places = (layout.root / ASIDE / f"{number}-{path.name}" for number in itertools.count())
    aside = next(place for place in places if not place.exists())
    path.rename(aside)
    sync_folder(path.parent)
    kept = aside.relative_to(layout.root)
    return [f"{problem.path}: set aside as {kept}; delete that if nobody needs it"]


def _unit(problem: Problem) -> tuple[Any, ...]:
    """Problems with the same unit are mended at once."""
    if problem.kind in ("segment", "metadata"):
        return problem.subset, problem.key
    if problem.kind in ("extractor", "assets"):
        return (problem.key,)
    if problem.kind == "shard":
        return problem.subset, problem.key, problem.shard
    return (problem.path,)


def _mend_marker(layout: Layout, problem: Problem) -> str:
    write_durably(layout.marker, seal(SIGNATURE))
    return "store.json: written anew"


def _mend_commands(layout: Layout, problem: Problem) -> str:
    kept, lines = [], []
    with suppress(DamagedRecordError, FileNotFoundError):
        lines = read_file(layout.commands).splitlines(keepends=True)
    for line in lines:
        with suppress(DamagedRecordError), checking(layout.commands):
            convert(unseal(line), StoreCommand)
            kept.append(line)
    write_durably(layout.commands, *kept)
    return f"{problem.path}: lost lines dropped"


def _mend_index(layout: Layout, problem: Problem) -> str:
    subset = problem.subset
    recorded = (layout.recorded(subset, key) for key in layout.folders(f"{JOURNAL}/{subset}"))
    least = max((max(shards, default=-1) + 1 for shards in recorded), default=0)
    with layout.claims.exclusive(layout.rows_claim(subset)) as fence:
        salvage = salvage_index(layout, subset, least)
        for segment in salvage.segments:
            if layout.segment(subset, segment.first_shard) in salvage.damage:
                segment.write(layout, fence)
    names = ", ".join(path.name for path in salvage.damage)
    return f"rows/{subset}: lost lines dropped ({names}); their samples get new slots"


def _mend_extractor(layout: Layout, problem: Problem) -> str:
    key = problem.key
    record, groups = layout.extractor_record(key), layout.groups(key)
    for group in groups:
        with suppress(CorruptStoreError, FileNotFoundError):
            fingerprint, fields = copied_extractor(group)
            if fingerprint.key == key:
                line = seal(extractor_record(fingerprint, list(fields.values())))
                write_durably(record, line)
                return f"extractors/{key}: record rebuilt from its copy in the arrays"
    remove_durably(record)
    for lost in [*layout.journals(key), *groups, layout.extractor(key)]:
        if lost.is_dir() and not lost.is_symlink():
            shutil.rmtree(lost)
    return f"extractors/{key}: record lost, its features deleted; extract them again"


def _mend_assets(layout: Layout, problem: Problem) -> str:
    # Said first: whoever is killed here leaves assets that nobody takes for whole ones.
    write_durably(layout.asset_record(problem.key), seal(Assets({}, pending=True).to_json()))
    for path in layout.assets(problem.key):
        if path.is_file() or path.is_symlink():
            remove_durably(path)
    return f"extractors/{problem.key}: assets deleted; the next extraction writes them anew"


def _mend_metadata(layout: Layout, problem: Problem) -> str:
    subset, key = problem.subset, problem.key
    if not subset:
        with layout.claims.exclusive(EXTRACTORS_CLAIM) as fence:
            write_metadata(layout.group(), GROUP, fence)
        return "arrays/zarr.json: written anew"
    with layout.claims.exclusive(layout.rows_claim(subset)) as fence:
        write_metadata(layout.group(subset), GROUP, fence)
        if not key:
            return f"arrays/{subset}/zarr.json: written anew"
        if not layout.extractor_record(key).is_file():
            return f"arrays/{subset}/{key}: gone with its extractor's record"
        fingerprint, fields = read_extractor(layout, key)
        folder = layout.group(subset, key)
        write_metadata(folder, extractor_group(fingerprint, list(fields.values())), fence)
        shards = load_index(layout, subset).shards
        for name, spec in fields.items():
            write_metadata(folder / name, array_metadata(spec, shards), fence)
    return f"arrays/{subset}/{key}: metadata written anew"


def _mend_shard(layout: Layout, problem: Problem) -> str:
    subset, key, shard = problem.subset, problem.key, problem.shard
    claims, claim = layout.claims, layout.shards_claim(subset, key)
    where = f"{subset}/{key}, shard {shard}"
    if not claims.take(claim, shard):
        return f"{where}: left to the run that is writing it"
    try:
        withdraw_record(layout, subset, key, shard, claims.fence(claim, shard))
        if layout.extractor_record(key).is_file():
            for name, spec in read_extractor(layout, key)[1].items():
                layout.remove(shard_path(layout.array(subset, key, name), shard, spec))
        layout.remove(layout.being_written(subset, key, shard))
    finally:
        claims.release(claim, shard)
    return f"{where}: queued for the next extraction"


def _mend_thumbnails(layout: Layout, problem: Problem) -> str:
    forget_thumbnails(layout, problem.subset, problem.shard)
    return f"{problem.path}: lost; thumbnails come back when the shard is extracted again"


def _leave(layout: Layout, problem: Problem) -> str:
    return ""


_IN_BUCKET = ("shard", "metadata", "thumbnails")
"""What is mended in a bucket; the rest is left alone there."""

_STEPS: dict[str, Callable[[Layout, Problem], str]] = {
    "misplaced": _leave,  # it was cleared away
    "marker": _mend_marker,
    "commands": _mend_commands,
    "segment": _mend_index,
    "extractor": _mend_extractor,
    "assets": _mend_assets,
    "shard": _mend_shard,
    "metadata": _mend_metadata,
    "thumbnails": _mend_thumbnails,
}
"""What to do for each kind, in the order in which one step relies on another; what is foreign is
left alone."""

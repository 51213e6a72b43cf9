"""Bring a damaged store to where the next extraction redoes what was lost, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from clare.files import remove_durably, write_durably
from clare.store.extractor_records import (
    extractor_group,
    extractor_record,
    read_extractor,
)
from clare.store.feature_store import SIGNATURE
from clare.store.index import load_index
from clare.store.layout import JOURNAL, ZARR, Layout, shard_path
from clare.store.locks import exclusive, lock_file
from clare.store.maintenance.salvage import salvage_index
from clare.store.maintenance.verify import Problem, verify_store
from clare.store.records import canonical, checksum, seal, unseal
from clare.store.spec import FeatureSpec, Fingerprint
from clare.store.zarr_shards import GROUP, array_metadata, write_metadata


def repair_store(
    store_path: Path | str,
    problems: Sequence[Problem] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Mend what `verify_store` found, so that the next extraction redoes what can't be mended.

    Metadata is rewritten from the records. A damaged shard is taken out of the journal. Rows
    whose index line is lost get a new slot at the next extraction. An extractor's record is
    rebuilt from its copy in the arrays; if that is lost too, its features are deleted.

    Args:
        store_path: the store's folder.
        problems: what `verify_store` found; the store is verified first if left out.
        progress: passed on to `verify_store`.

    Returns:
        One sentence for each thing done.
    """
    path = Path(store_path).absolute()
    if problems is None:
        problems = verify_store(path, progress=progress)
    done: list[str] = []
    layout = Layout(path)
    for kind, mend in _STEPS.items():
        places = [problem for problem in problems if problem.kind == kind]
        for problem in {_unit(problem): problem for problem in places}.values():
            done.append(mend(layout, problem))
    return done


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
    kept = []
    for line in layout.commands.read_bytes().splitlines(keepends=True):
        with suppress(ValueError):
            unseal(line)
            kept.append(line)
    write_durably(layout.commands, *kept)
    return f"{problem.path}: lost lines dropped"


def _mend_index(layout: Layout, problem: Problem) -> str:
    subset = problem.subset
    recorded = (layout.recorded(subset, key) for key in layout.folders(f"{JOURNAL}/{subset}"))
    least = max((max(shards, default=-1) + 1 for shards in recorded), default=0)
    with exclusive(layout.rows_lock(subset)):
        salvage = salvage_index(layout, subset, least)
        for segment in salvage.segments:
            if layout.segment(subset, segment.first_shard) in salvage.damage:
                segment.write(layout)
    names = ", ".join(path.name for path in salvage.damage)
    return f"rows/{subset}: lost lines dropped ({names}); their samples get new slots"


def _mend_extractor(layout: Layout, problem: Problem) -> str:
    key = problem.key
    record, groups = layout.extractor_record(key), layout.groups(key)
    for found in map(_copied_record, groups):
        if found is not None and found[0].key == key:
            write_durably(record, seal(extractor_record(*found)))
            return f"extractors/{key}: record rebuilt from its copy in the arrays"
    remove_durably(record)
    for lost in [*layout.journals(key), *groups, layout.extractor(key)]:
        if lost.is_dir():
            shutil.rmtree(lost)
    return f"extractors/{key}: record lost, its features deleted; extract them again"


def _copied_record(group: Path) -> tuple[Fingerprint, list[FeatureSpec]] | None:
    """The copy of an extractor's record in a group's attributes, if it is whole."""
    try:
        attributes = json.loads((group / ZARR).read_bytes())["attributes"]
        record = attributes["clare"]
        if attributes["clare_crc32c"] != f"{checksum(canonical(record)):08x}":
            return None
        fields = [FeatureSpec.from_json(spec) for spec in record["fields"]]
        return Fingerprint(**record["fingerprint"]), fields
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _mend_assets(layout: Layout, problem: Problem) -> str:
    for path in [layout.asset_record(problem.key), *layout.assets(problem.key)]:
        remove_durably(path)
    return f"extractors/{problem.key}: assets deleted; the next extraction writes them anew"


def _mend_metadata(layout: Layout, problem: Problem) -> str:
    subset, key = problem.subset, problem.key
    if not subset:
        write_metadata(layout.group(), GROUP)
        return "arrays/zarr.json: written anew"
    with exclusive(layout.rows_lock(subset)):
        write_metadata(layout.group(subset), GROUP)
        if not key:
            return f"arrays/{subset}/zarr.json: written anew"
        if not layout.extractor_record(key).is_file():
            return f"arrays/{subset}/{key}: gone with its extractor's record"
        fingerprint, fields = read_extractor(layout, key)
        folder = layout.group(subset, key)
        write_metadata(folder, extractor_group(fingerprint, list(fields.values())))
        shards = load_index(layout, subset).shards
        for name, spec in fields.items():
            write_metadata(folder / name, array_metadata(spec, shards))
    return f"arrays/{subset}/{key}: metadata written anew"


def _mend_shard(layout: Layout, problem: Problem) -> str:
    subset, key, shard = problem.subset, problem.key, problem.shard
    lock = lock_file(layout.shards_lock(subset, key))
    where = f"{subset}/{key}, shard {shard}"
    if not lock.acquire(shard):
        return f"{where}: left to the run that is writing it"
    try:
        remove_durably(layout.record(subset, key, shard))
        if layout.extractor_record(key).is_file():
            for name, spec in read_extractor(layout, key)[1].items():
                shard_path(layout.array(subset, key, name), shard, spec).unlink(missing_ok=True)
    finally:
        lock.release(shard)
    return f"{where}: queued for the next extraction"


def _mend_thumbnails(layout: Layout, problem: Problem) -> str:
    remove_durably(layout.root / problem.path)
    return f"{problem.path}: deleted; thumbnails come back when the shard is extracted again"


def _leave(layout: Layout, problem: Problem) -> str:
    return f"{problem.path}: left alone; delete it if nobody needs it"


_STEPS: dict[str, Callable[[Layout, Problem], str]] = {
    "marker": _mend_marker,
    "commands": _mend_commands,
    "segment": _mend_index,
    "extractor": _mend_extractor,
    "assets": _mend_assets,
    "shard": _mend_shard,
    "metadata": _mend_metadata,
    "thumbnails": _mend_thumbnails,
    "extra": _leave,
}
"""What to do for each kind, in the order in which one step relies on another."""

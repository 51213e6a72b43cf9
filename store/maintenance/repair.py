"""Bring a damaged store to where the next extraction redoes what was lost, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clare.files import remove_durably, write_durably
from clare.store.extractor_records import (
    asset_files,
    extractor_group,
    extractor_record,
    read_extractor,
)
from clare.store.feature_store import MARKER
from clare.store.index import load_index
from clare.store.journal import record_path, record_shards
from clare.store.locks import exclusive, lock_file
from clare.store.maintenance.salvage import salvage_index
from clare.store.maintenance.verify import Problem, verify_store
from clare.store.records import canonical, checksum, seal
from clare.store.spec import FeatureSpec, Fingerprint
from clare.store.zarr_shards import GROUP, array_metadata, shard_path, write_metadata


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
    for kind, mend in _STEPS.items():
        places = [problem for problem in problems if problem.kind == kind]
        for problem in {_unit(problem): problem for problem in places}.values():
            done.append(mend(path, problem))
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


def _mend_marker(store: Path, problem: Problem) -> str:
    write_durably(store / "store.json", seal(MARKER))
    return "store.json: written anew"


def _mend_index(store: Path, problem: Problem) -> str:
    subset, folder = problem.subset, store / "rows" / problem.subset
    least = [max(record_shards(p), default=-1) + 1 for p in _folders(store / "journal" / subset)]
    with exclusive(store / "locks" / subset / "rows.lock"):
        salvage = salvage_index(folder, subset, max(least, default=0))
        for segment in salvage.segments:
            if segment.name in salvage.damage:
                segment.write(folder)
    names = ", ".join(salvage.damage)
    return f"rows/{subset}: lost lines dropped ({names}); their samples get new slots"


def _mend_extractor(store: Path, problem: Problem) -> str:
    key = problem.key
    folder = store / "extractors" / key
    copies = sorted(store.glob(f"arrays/*/{key}/zarr.json"))
    for found in map(_copied_record, copies):
        if found is not None and found[0].key == key:
            write_durably(folder / "record.json", seal(extractor_record(*found)))
            return f"extractors/{key}: record rebuilt from its copy in the arrays"
    remove_durably(folder / "record.json")
    for lost in [*store.glob(f"journal/*/{key}"), *store.glob(f"arrays/*/{key}"), folder]:
        if lost.is_dir():
            shutil.rmtree(lost)
    return f"extractors/{key}: record lost, its features deleted; extract them again"


def _copied_record(path: Path) -> tuple[Fingerprint, list[FeatureSpec]] | None:
    """The copy of an extractor's record in a group's attributes, if it is whole."""
    try:
        attributes = json.loads(path.read_bytes())["attributes"]
        record = attributes["clare"]
        if attributes["clare_crc32c"] != f"{checksum(canonical(record)):08x}":
            return None
        fields = [FeatureSpec.from_json(spec) for spec in record["fields"]]
        return Fingerprint(**record["fingerprint"]), fields
    except (ValueError, KeyError, TypeError):
        return None


def _mend_assets(store: Path, problem: Problem) -> str:
    folder = store / "extractors" / problem.key
    for path in [folder / "assets.json", *asset_files(folder)]:
        remove_durably(path)
    return f"extractors/{problem.key}: assets deleted; the next extraction writes them anew"


def _mend_metadata(store: Path, problem: Problem) -> str:
    subset, key = problem.subset, problem.key
    if not subset:
        write_metadata(store / "arrays", GROUP)
        return "arrays/zarr.json: written anew"
    with exclusive(store / "locks" / subset / "rows.lock"):
        write_metadata(store / "arrays" / subset, GROUP)
        if not key:
            return f"arrays/{subset}/zarr.json: written anew"
        record = store / "extractors" / key / "record.json"
        if not record.is_file():
            return f"arrays/{subset}/{key}: gone with its extractor's record"
        fingerprint, fields = read_extractor(record)
        folder = store / "arrays" / subset / key
        write_metadata(folder, extractor_group(fingerprint, list(fields.values())))
        shards = load_index(store / "rows" / subset, subset).shards
        for name, spec in fields.items():
            write_metadata(folder / name, array_metadata(spec, shards))
    return f"arrays/{subset}/{key}: metadata written anew"


def _mend_shard(store: Path, problem: Problem) -> str:
    subset, key, shard = problem.subset, problem.key, problem.shard
    lock = lock_file(store / "locks" / subset / f"{key}.lock")
    where = f"{subset}/{key}, shard {shard}"
    if not lock.acquire(shard):
        return f"{where}: left to the run that is writing it"
    try:
        remove_durably(record_path(store / "journal" / subset / key, shard))
        record = store / "extractors" / key / "record.json"
        if record.is_file():
            for name, spec in read_extractor(record)[1].items():
                array = store / "arrays" / subset / key / name
                shard_path(array, shard, spec).unlink(missing_ok=True)
    finally:
        lock.release(shard)
    return f"{where}: queued for the next extraction"


def _mend_thumbnails(store: Path, problem: Problem) -> str:
    remove_durably(store / problem.path)
    return f"{problem.path}: deleted; thumbnails come back when the shard is extracted again"


def _leave(store: Path, problem: Problem) -> str:
    return f"{problem.path}: left alone; delete it if nobody needs it"


_STEPS: dict[str, Callable[[Path, Problem], str]] = {
    "marker": _mend_marker,
    "segment": _mend_index,
    "extractor": _mend_extractor,
    "assets": _mend_assets,
    "shard": _mend_shard,
    "metadata": _mend_metadata,
    "thumbnails": _mend_thumbnails,
    "extra": _leave,
}
"""What to do for each kind, in the order in which one step relies on another."""


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []

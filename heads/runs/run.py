"""Which store a run is tested on: the one that is named, else its own, else the usual one."""

from __future__ import annotations

from pathlib import Path

from clare.heads.runs.record import CONFIG, Run, RunRecord, open_own_store, open_run
from clare.store.feature_store import FeatureStore, open_store


def open_with_store(
    run: Path | str, store: FeatureStore | Path | str | None, elsewhere: Path | str | None = None
) -> tuple[Run, FeatureStore]:
    """A run and the store whose rows it shall score.

    Args:
        run: its folder.
        store: the store that was named; it goes first.
        elsewhere: the store where none was named and the run's own is gone.

    Raises:
        InputError: the run is not finished, or a file in it is damaged.
        StoreError: there is no such store, or the run's own is gone.
    """
    if not store and elsewhere and (Path(run) / CONFIG).is_file():
        store = None if Path(RunRecord.read(Path(run)).store).is_dir() else elsewhere
    if store:
        named = store if isinstance(store, FeatureStore) else open_store(store)
        return open_run(run, named), named
    opened = open_run(run)
    return opened, open_own_store(opened.path, opened.record)


def note_on_store(run: Run, store: FeatureStore, named: object) -> list[str]:
    """A note where nobody named the store, and it is not the run's own."""
    if named or Path(run.record.store).is_dir():
        return []
    return [f"the run's own store is not at {run.record.store} any more; this is {store.path}"]

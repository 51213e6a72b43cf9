"""The stores behind a page, each opened and read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from clare.advice import Name, Notice
from clare.errors import StoreError
from clare.store.feature_store import FeatureStore, open_store
from clare.store.row import Row


class Source:
    """A store, and its plain rows by the names that predictions use.

    Args:
        store: the store.
    """

    def __init__(self, store: FeatureStore) -> None:
        self.store, self.path = store, store.path
        self._samples: dict[str, Mapping[str, Row]] = {}

    def samples(self, subset: str) -> Mapping[str, Row]:
        """The plain rows of a subset by their samples' ids, in slot order.

        Raises:
            StoreError: they can't be read.
        """
        if subset not in self._samples:
            plain = (row for row in self.store.rows(subset) if row.view == 0)
            self._samples[subset] = {row.sample_id: row for row in plain}
        return self._samples[subset]

    def find(self, group: str, sample_id: str) -> tuple[str, Row] | None:
        """The subset and row of a sample.

        Args:
            group: the subset, or what an evaluation calls a part of one.
            sample_id: its id.

        Raises:
            StoreError: a subset can't be read.
        """
        names = self.store.subsets()
        for name in sorted(filter(group.startswith, names), key=len, reverse=True):
            if sample_id in self.samples(name):
                return name, self.samples(name)[sample_id]
        holding = [name for name in names if sample_id in self.samples(name)]
        return (holding[0], self.samples(holding[0])[sample_id]) if len(holding) == 1 else None


Part = tuple[Source, Sequence[str]]
"""A store, and the subsets of it that a page is about."""


def opening(named: Path | None) -> Callable[[str], Source | Notice]:
    """What opens stores by the place that a run recorded, each once.

    Args:
        named: the store that is read instead, wherever a run's was.

    Returns:
        A function that gives the store, or a notice on why it could not be opened.

    Raises:
        StoreError: the named store is not there.
    """
    if named is not None:
        source = Source(open_store(named))
        return lambda recorded: source

    @cache
    def opened(recorded: str) -> Source | Notice:
        try:
            return Source(open_store(recorded))
        except StoreError as error:
            return Notice(
                "The store could not be opened, so its counts, pictures and LaRE maps are missing "
                f"here ({error.what})",
                Name("the folder where it is now", "store"),
            )

    return opened

"""Features of towers that a run tuned: what that run was trained on is known of them too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clare.advice import Name, Notice
from clare.errors import CorruptStoreError, InputError, StoreError
from clare.heads.data.leakage import Seen, refuse_trained_on
from clare.heads.runs.record import extractor_record, read_seen
from clare.models.known import TUNED
from clare.models.weights import TRAINED_ON
from clare.store.feature_store import FeatureStore
from clare.store.row import Row


@dataclass(frozen=True)
class TunedBefore:
    """A tower that was tuned before its features were stored.

    Args:
        key: ``<extractor>-<digest>`` of the features.
        run: the folder of the run that tuned it.
        seen: by that run, and by those that it began from.
    """

    key: str
    run: str
    seen: Seen

    @property
    def named(self) -> str:
        """The tower, in words."""
        return f"the tower of {self.key}, which was tuned in {self.run}"

    @property
    def notices(self) -> list[Notice]:
        """What is to be said of it."""
        if not self.seen.unknown:
            return []
        what = (
            "of what it was trained on no list is at hand: no leak of images into it can be found"
        )
        return [Notice(f"{self.named}: {what}")]

    def refuse_trained_on(self, rows: Sequence[Row]) -> None:
        """Refuse rows of validation that the tower was trained on.

        Raises:
            InputError: there are some.
        """
        cure = Name("features of a tower that was tuned on the same splits", "features")
        refuse_trained_on(self.seen, self.named, rows, cure)


def tuned_before(store: FeatureStore, keys: Iterable[str]) -> list[TunedBefore]:
    """The towers among some extractors that a run tuned.

    Args:
        store: the store.
        keys: ``<extractor>-<digest>`` of each; those that the store lacks are left out.

    Raises:
        CorruptStoreError: what a store keeps of one is damaged.
        InputError: the same.
    """
    there, found = set(store.extractor_keys()), []
    for key in dict.fromkeys(keys):
        run = extractor_record(store, key).origin.get(TUNED) if key in there else None
        if run is not None:
            found.append(TunedBefore(key, str(run), _seen_by(store, key, Path(str(run)))))
    return found


def _seen_by(store: FeatureStore, key: str, run: Path) -> Seen:
    """What is kept beside the features; of those of earlier versions what the run has, if any."""
    try:
        return read_seen(store.asset(key, TRAINED_ON).parent)
    except CorruptStoreError:
        raise
    except StoreError:
        pass
    try:
        return read_seen(run)
    except InputError:
        return Seen({}, {}, unknown=True)

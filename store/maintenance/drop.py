"""Taking subsets and features out of a store that stays sound at any moment."""

from __future__ import annotations

import itertools
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from clare.advice import Name
from clare.errors import StoreError
from clare.files import PARTIAL, Fence, make_folder, storage_errors, sync_folder
from clare.store.bucket.claims import BucketClaims
from clare.store.feature_store import FeatureStore
from clare.store.layout import (
    ARRAYS,
    ASSETS,
    EXTRACTORS,
    EXTRACTORS_CLAIM,
    JOURNAL,
    RECORD,
    ROWS,
    STORE_CLAIM,
    THUMBNAILS,
)
from clare.store.maintenance.drop_in_bucket import BucketDrop

DROPPED = "dropped"
"""A folder of this name and the ending of partial files holds what is being deleted."""


_AT_ONCE = 256
"""Claims that are taken together: few enough for a heartbeat in between."""


@dataclass(frozen=True)
class Dropped:
    """What is taken out of a store, or would be.

    Args:
        subsets: taken out whole, with their rows and thumbnails.
        features: subset and extractor key of the values that go, those of whole subsets included.
        extractors: keys whose values are in no subset any more; their records go too.
        bytes: that become free.
    """

    subsets: tuple[str, ...]
    features: tuple[tuple[str, str], ...]
    extractors: tuple[str, ...]
    bytes: int


def plan_drop(
    store: FeatureStore, subsets: Sequence[str] = (), features: Mapping[str, str] | None = None
) -> Dropped:
    """What `drop` would take out; nothing is changed.

    Args:
        store: the store.
        subsets: to be dropped whole; with ``features``, those that lose these features alone.
        features: a fingerprint's digest, or its beginning, by extractor.

    Raises:
        InputError: nothing is named.
        StoreError: a subset or a fingerprint is not there, or several begin so.
    """
    if not (subsets or features):
        raise StoreError(
            "nothing is named to be dropped", Name("a subset", "subset"), Name("it", "features")
        )
    there = store.subsets()
    if absent := [name for name in subsets if name not in there]:
        raise StoreError(
            f"{store.path} has no subset {', '.join(absent)}; it has: {', '.join(there) or 'none'}"
        )
    wanted = list(dict.fromkeys(subsets)) or there
    filled = {name: store.layout.keys_of(name) for name in there}
    known = {*store.extractor_keys(), *itertools.chain(*filled.values())}
    keys = {_only(store, known, *one) for one in (features or {}).items()}
    whole = tuple(wanted) if not features else ()
    going = tuple(
        (name, key) for name in wanted for key in filled[name] if not features or key in keys
    )
    left = {(name, key) for name in there for key in filled[name]} - set(going)
    gone = {key for _, key in going} | keys
    extractors = tuple(sorted(gone - {key for _, key in left}))
    folders = [path for name in whole for path in _of_subset(store, name)]
    folders += [path for name, key in going if name not in whole for path in _of(store, name, key)]
    folders += [store.layout.extractor(key) for key in extractors]
    return Dropped(whole, going, extractors, sum(map(store.layout.bytes_in, folders)))


def drop(
    store: FeatureStore, subsets: Sequence[str] = (), features: Mapping[str, str] | None = None
) -> Dropped:
    """Take subsets, or features, out of a store.

    In a folder the values of a feature, and a subset, vanish by one rename each. Whoever is killed
    here leaves a sound store in which rows still lack what was dropped already, and the same call
    goes on. Whoever declares an extractor or adds rows meanwhile waits for the end.

    Args:
        store: the store.
        subsets: as for `plan_drop`.
        features: as for `plan_drop`.

    Returns:
        What was taken out.

    Raises:
        InputError: nothing is named.
        StoreError: a subset or a fingerprint is not there, or an extraction is writing to it.
        LostClaimError: this process was held up for long, and another took a claim over.
    """
    layout, claims = store.layout, store.layout.claims
    if layout.mirror is not None and isinstance(claims, BucketClaims):
        with claims.exclusive(STORE_CLAIM), _nothing_is_added(store):
            plan = plan_drop(store, subsets, features)
            with _nobody_writes(store, plan) as held:
                work = BucketDrop(layout, layout.mirror, claims, held)
                work.drop(plan.subsets, plan.features, plan.extractors)
        return plan
    with claims.exclusive(STORE_CLAIM) as alone, storage_errors(store.path):
        for stale in store.path.glob(f"{DROPPED}.*{PARTIAL}"):
            shutil.rmtree(stale)
        bin_ = store.path / f"{DROPPED}.{secrets.token_hex(4)}{PARTIAL}"
        with _nothing_is_added(store) as nothing_added:
            plan = plan_drop(store, subsets, features)
            with _nobody_writes(store, plan) as held:
                make_folder(bin_)
                _FolderDrop(store, [alone, *nothing_added], held, bin_).drop(plan)
        shutil.rmtree(bin_)
        sync_folder(store.path)
    return plan


def dropping(store_path: Path) -> bool:
    """Whether somebody is, or was stopped, taking something out of a store."""
    return any(store_path.glob(f"{DROPPED}.*{PARTIAL}"))


def _only(store: FeatureStore, known: Collection[str], extractor: str, digest: str) -> str:
    """The one key that begins so, of those with a record or with values.

    What a drop that was stopped has left is either.
    """
    fitting = [key for key in known if key.startswith(f"{extractor}-{digest}")]
    if len(fitting) != 1:
        there = ", ".join(sorted(known)) or "none"
        found = "several" if fitting else "no"
        raise StoreError(f"{store.path} has {found} features {extractor}={digest}; it has: {there}")
    return fitting[0]


def _of(store: FeatureStore, subset: str, key: str) -> list[Path]:
    """The folders of an extractor's values: first the journal, without which there are none."""
    return [store.layout.journal(subset, key), store.layout.group(subset, key)]


def _of_subset(store: FeatureStore, subset: str) -> list[Path]:
    return [store.layout.root / top / subset for top in (JOURNAL, ARRAYS, THUMBNAILS, ROWS)]


class _FolderDrop:
    """Takes out what a plan names, by renames; the caller holds all claims that are about it.

    They are looked at directly before each rename: of a process that froze, and woke after another
    had taken a shard over, nothing that the other writes is taken.

    Args:
        store: the store.
        fences: of the claims on what is added.
        held: the shards that are held, by the names of their claims.
        bin_: the folder into which all goes.
    """

    def __init__(
        self,
        store: FeatureStore,
        fences: Sequence[Fence],
        held: Mapping[str, Sequence[int]],
        bin_: Path,
    ) -> None:
        self._store, self._fences, self._held, self._bin = store, fences, held, bin_

    def drop(self, plan: Dropped) -> None:
        """Take all of it out.

        Raises:
            LostClaimError: this process was held up for long, and another took a claim over.
        """
        store, layout = self._store, self._store.layout
        for subset, key in plan.features:
            for folder in _of(store, subset, key):
                self._throw(folder, [layout.shards_claim(subset, key)])
        for subset in plan.subsets:
            its_own = layout.shards_claim(subset, "")
            # Rows last: values without rows would be damage, rows without values are pending.
            for folder in _of_subset(store, subset):
                self._throw(folder, [name for name in self._held if name.startswith(its_own)])
        for key in plan.extractors:
            self._throw(layout.extractor(key), self._held)

    def _throw(self, folder: Path, names: Iterable[str]) -> None:
        if not folder.is_dir():
            return
        for name in names:
            self._store.layout.claims.require_several(name, self._held[name])
        for fence in self._fences:
            fence.require()
        folder.rename(self._bin / secrets.token_hex(8))
        sync_folder(folder.parent)


@contextmanager
def _nothing_is_added(store: FeatureStore) -> Iterator[list[Fence]]:
    """Let no extractor be declared, no row be added and no array be made meanwhile.

    What others added since the store was opened is seen from here on. Who extracts waits for these
    claims while it holds shards, so of shards only those may be taken in here that are free.

    Yields:
        The fences of the claims.
    """
    layout = store.layout
    with ExitStack() as held:
        fences = [held.enter_context(layout.claims.exclusive(EXTRACTORS_CLAIM))]
        for subset in store.subsets():
            fences.append(held.enter_context(layout.claims.exclusive(layout.rows_claim(subset))))
            layout.renew(layout.segments(subset))
        layout.renew(layout.root / EXTRACTORS, {RECORD, ASSETS}.__contains__)
        yield fences


@contextmanager
def _nobody_writes(store: FeatureStore, plan: Dropped) -> Iterator[dict[str, list[int]]]:
    """Hold every shard of what goes against any extraction, one that wrote nothing yet too.

    Yields:
        The shards by the name of their claims.

    Raises:
        StoreError: one holds a shard.
    """
    going = {
        *plan.features,
        *itertools.product(plan.subsets, store.extractor_keys()),
        *itertools.product(store.subsets(), plan.extractors),
    }
    claims = store.layout.claims
    held: dict[str, list[int]] = {}
    try:
        for subset, key in sorted(going):
            mine = held.setdefault(store.layout.shards_claim(subset, key), [])
            shards = range(store.index(subset).shards)
            for first in range(0, len(shards), _AT_ONCE):
                some = shards[first : first + _AT_ONCE]
                taken = claims.take_several(store.layout.shards_claim(subset, key), some)
                mine += taken
                if len(taken) < len(some):
                    raise StoreError(
                        f"an extraction is writing {key} of {subset}",
                        "wait for its end, or stop it",
                    )
        yield held
    finally:
        for name, shards_held in held.items():
            claims.release_several(name, shards_held)

"""Taking subsets and features out of a store in a bucket, where nothing can be renamed.

Of each shard its record goes first, and the mark of a shard that is being written stays in its
place until all else is gone. So what was broken off is a sound store in which rows are pending,
which still says what there is to drop, and the same call goes on.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from clare.store.bucket.claims import BucketClaims
from clare.store.bucket.mirror import Mirror
from clare.store.bucket.objects import IN_FLIGHT, Found, Item, in_flight
from clare.store.extractor_records import Assets
from clare.store.layout import ASSETS, CHUNKS, EXTRACTORS_CLAIM, RECORD, ZARR, Layout
from clare.store.records import seal

_SHARD = re.compile(rf"/(?:{CHUNKS}/([0-9]{{1,6}})(?:/|$)|([0-9]{{6}})\.json)")
"""The number in the name of a shard's file, or of its record or mark."""


class BucketDrop:
    """Takes out what a plan names; the caller holds all claims that are about it.

    For want of deletes on a condition the claims are looked at directly before: of a process that
    froze, and woke after another had taken a shard over, nothing that the other wrote is taken.

    Args:
        layout: paths of the store.
        mirror: of it.
        claims: of this process.
        held: the shards that are held, by the names of their claims.
    """

    def __init__(
        self,
        layout: Layout,
        mirror: Mirror,
        claims: BucketClaims,
        held: Mapping[str, Sequence[int]],
    ) -> None:
        self._layout = layout
        self._mirror = mirror
        self._objects = mirror.objects
        self._claims = claims
        self._held = held

    def drop(
        self, subsets: Sequence[str], features: Sequence[tuple[str, str]], extractors: Sequence[str]
    ) -> None:
        """Take all of it out.

        Args:
            subsets: that lose their rows too.
            features: subset and extractor key of the values that go.
            extractors: keys whose records go.

        Raises:
            LostClaimError: this process was held up for long, and another took a shard over.
        """
        for subset, key in features:
            self._drop_values(subset, key)
        if extractors:
            self._require_all(self._held)
        for key in extractors:
            self._drop_extractor(key)
        for subset, key in features:
            journal = self._listed(self._layout.journal(subset, key))
            self._delete(self._layout.shards_claim(subset, key), [found.key for found in journal])
        for subset in subsets:
            its_own = self._layout.shards_claim(subset, "")
            self._require_all([name for name in self._held if name.startswith(its_own)])
            self._drop_rows(subset)

    def _drop_values(self, subset: str, key: str) -> None:
        layout, claim = self._layout, self._layout.shards_claim(subset, key)
        journal, group = layout.journal(subset, key), layout.group(subset, key)
        shards = sorted(layout.recorded(subset, key))
        records = [self._mirror.key(layout.record(subset, key, shard)) for shard in shards]
        for some in self._held_now(claim, records):
            _each(self._mirror.mark, [self._mirror.root / name for name in some])
            _each(self._objects.delete, some)
        listed = self._listed(group)
        self._delete(claim, [found.key for found in listed if found.name != ZARR])
        # Fields before their group, whose attributes hold a copy of the extractor's record.
        metadata = [found.key for found in listed if found.name == ZARR]
        fence = self._claims.fence(layout.rows_claim(subset))
        for name in sorted(metadata, key=lambda name: name.count("/"), reverse=True):
            fence.delete(name)
        for copy in (group, journal):
            shutil.rmtree(copy, ignore_errors=True)

    def _drop_extractor(self, key: str) -> None:
        folder, fence = self._layout.extractor(key), self._claims.fence(EXTRACTORS_CLAIM)
        names = {found.name for found in self._listed(folder)}
        if ASSETS in names:  # so that the others may be missing
            pending = seal(Assets({}, pending=True).to_json())
            fence.put(self._mirror.key(folder / ASSETS), pending)
        for name in [*sorted(names - {RECORD, ASSETS}), RECORD, ASSETS]:
            fence.delete(self._mirror.key(folder / name))
        shutil.rmtree(folder, ignore_errors=True)

    def _drop_rows(self, subset: str) -> None:
        layout, fence = self._layout, self._claims.fence(self._layout.rows_claim(subset))
        for folder in (layout.thumbnails(subset, 0).parent, layout.group(subset)):
            _each(self._objects.delete, [found.key for found in self._listed(folder)])
            shutil.rmtree(folder, ignore_errors=True)
        # From the last one on: an index of which the first segments are left is a sound one.
        for found in reversed(self._listed(layout.segments(subset))):
            fence.delete(found.key)
        shutil.rmtree(layout.segments(subset), ignore_errors=True)

    def _listed(self, folder: Path) -> list[Found]:
        return self._objects.list(self._mirror.key(folder))

    def _delete(self, claim: str, names: Sequence[str]) -> None:
        for some in self._held_now(claim, names):
            _each(self._objects.delete, some)

    def _held_now(self, claim: str, names: Sequence[str]) -> Iterator[list[str]]:
        """Objects, those of a few shards at a time, whose claims were just looked at."""
        held, by_shard = set(self._held[claim]), dict[int, list[str]]()
        for name in names:
            found = _SHARD.search(name)
            by_shard.setdefault(int(found[1] or found[2]) if found else -1, []).append(name)
        for some in _few(list(by_shard)):
            self._claims.require_several(claim, [shard for shard in some if shard in held])
            yield [name for shard in some for name in by_shard[shard]]

    def _require_all(self, names: Iterable[str]) -> None:
        for name in names:
            for some in _few(self._held[name]):
                self._claims.require_several(name, some)


def _few(shards: Sequence[int]) -> Iterator[Sequence[int]]:
    """As many at a time as there are requests at once."""
    for first in range(0, len(shards), IN_FLIGHT):
        yield shards[first : first + IN_FLIGHT]


def _each(work: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Do something that is a request to each, many at once."""
    for _ in in_flight(work, items):
        pass

"""Taking subsets and features out of a store in a bucket, where nothing can be renamed.

Of each shard its record goes first, and the mark of a shard that is being written stays in its
place until all else is gone. So what was broken off is a sound store in which rows are pending,
which still says what there is to drop, and the same call goes on.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from clare.store.bucket.claims import BucketClaims
from clare.store.bucket.mirror import Mirror
from clare.store.bucket.objects import Found, in_flight
from clare.store.extractor_records import Assets
from clare.store.layout import ASSETS, CHUNKS, EXTRACTORS_CLAIM, RECORD, ZARR, Layout
from clare.store.records import seal

_SHARD = re.compile(rf"/{CHUNKS}/([0-9]{{1,6}})/")


class BucketDrop:
    """Takes out what a plan names; the caller holds all claims that are about it.

    Args:
        layout: paths of the store.
        mirror: of it.
        claims: of this process.
    """

    def __init__(self, layout: Layout, mirror: Mirror, claims: BucketClaims) -> None:
        self._layout = layout
        self._mirror = mirror
        self._objects = mirror.objects
        self._claims = claims

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
        for key in extractors:
            self._drop_extractor(key)
        for subset, key in features:
            self._delete(self._listed(self._layout.journal(subset, key)), lambda found: None)
        for subset in subsets:
            self._drop_rows(subset)

    def _drop_values(self, subset: str, key: str) -> None:
        layout, claim = self._layout, self._layout.shards_claim(subset, key)
        journal, group = layout.journal(subset, key), layout.group(subset, key)

        def withdraw(shard: int) -> None:
            record = layout.record(subset, key, shard)
            self._mirror.withdraw(record, self._claims.fence(claim, shard))

        def require(found: Found) -> None:
            if named := _SHARD.search(found.key):
                self._claims.require(claim, int(named[1]))

        for _ in in_flight(withdraw, layout.recorded(subset, key)):
            pass
        listed = self._listed(group)
        self._delete([found for found in listed if found.name != ZARR], require)
        # Fields before their group, whose attributes hold a copy of the extractor's record.
        metadata = [found for found in listed if found.name == ZARR]
        for found in sorted(metadata, key=lambda one: one.key.count("/"), reverse=True):
            self._objects.delete(found.key)
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
            self._delete(self._listed(folder), lambda found: None)
            shutil.rmtree(folder, ignore_errors=True)
        # From the last one on: an index of which the first segments are left is a sound one.
        for found in reversed(self._listed(layout.segments(subset))):
            fence.delete(found.key)
        shutil.rmtree(layout.segments(subset), ignore_errors=True)

    def _listed(self, folder: Path) -> list[Found]:
        return self._objects.list(self._mirror.key(folder))

    def _delete(self, listed: Sequence[Found], require: Callable[[Found], None]) -> None:
        def remove(found: Found) -> None:
            require(found)
            self._objects.delete(found.key)

        for _ in in_flight(remove, listed):
            pass

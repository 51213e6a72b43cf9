"""Carrying the files of a store that no shard has: index, records, metadata, pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import CancelledError
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from threading import Event, Lock

from clare.errors import CorruptStoreError
from clare.files import Fence
from clare.foreign import parse_json
from clare.store.bucket.objects import in_flight
from clare.store.commands import join_commands
from clare.store.layout import (
    ARRAYS,
    ASSETS,
    COMMANDS,
    EXTRACTORS,
    EXTRACTORS_CLAIM,
    MARKER,
    RECORD,
    ROWS,
    STORE_CLAIM,
    THUMBNAILS,
    ZARR,
    Layout,
)
from clare.store.records import checking, unseal
from clare.store.same_store import require_same_rows
from clare.store.sides import Side
from clare.store.thumbnails import join_thumbnails

_LAST = 1 << 10
_LARGE = 1 << 25  # bytes
_PICTURES = re.compile(rf"{THUMBNAILS}/[^/]+/[0-9]{{6}}\.thumbs")
_HERE = Layout(Path())


def in_order(keys: list[str]) -> list[list[str]]:
    """Files that are carried together: what others speak of before them, groups before arrays.

    The marker is the first step, and the log of commands the last, behind all shards. Of an
    extractor its assets are first, then their list, then its record.
    """
    steps: dict[int, list[str]] = {0: [], _LAST: []}
    for key in keys:
        depth = key.count("/") + 2
        if key.startswith((f"{ROWS}/", f"{EXTRACTORS}/")):
            depth = {ASSETS: 2, RECORD: 3}.get(Path(key).name, 1)
        steps.setdefault({MARKER: 0, COMMANDS: _LAST}.get(key, depth), []).append(key)
    return [steps[step] for step in sorted(steps)]


class Files:
    """Carries files from one place to another.

    Args:
        source: where they are.
        target: where they shall be.
        have: the files of the source, each with its size.
        there: those of the target, as they were before.
        stopped: no further file is begun once it is set.
    """

    def __init__(
        self,
        source: Side,
        target: Side,
        have: Mapping[str, int],
        there: Mapping[str, int],
        stopped: Event,
    ) -> None:
        self._stopped = stopped
        self._source, self._target = source, target
        self._have, self._there = have, there
        self._large = Lock()

    def carry(self, keys: list[str]) -> int:
        """Carry files, each under the claim that it needs; the bytes that it took.

        Raises:
            StoreError: rows came into the target meanwhile.
            CancelledError: it is stopped.
            LostClaimError: this process was held up for long, and another took a claim over.
        """
        by_claim: dict[tuple[str, int], list[str]] = {}
        for key in keys:
            by_claim.setdefault(_claim_of(key), []).append(key)
        return sum(in_flight(self._carry, by_claim.items()))

    def _carry(self, one: tuple[tuple[str, int], list[str]]) -> int:
        """Carry files of one claim."""
        claim, keys = one
        self._go_on()
        looked_at = zip(keys, in_flight(self._is_there, keys), strict=True)
        missing = [key for key, is_there in looked_at if not is_there]
        if not missing:
            return 0
        with self._target.claims.exclusive(*claim) as fence:
            return sum(in_flight(partial(self._carry_file, fence), missing))

    def _is_there(self, key: str) -> bool:
        """Whether the other side has the same file."""
        if self._there.get(key) != self._have[key]:
            return False
        if _is_asset(key):
            return True  # written once, and checked by its sha256 whenever it is used
        data = self._source.read(key)
        return self._target.holds(key, data.__eq__, lambda: data)

    def _carry_file(self, fence: Fence, key: str) -> int:
        """Carry a file under its claim; of large ones one is in memory at a time."""
        with self._large if self._have[key] > _LARGE else nullcontext():
            self._go_on()
            data = self._source.read(key)
            if not _is_asset(key) and (kept := self._kept(key)) is not None:
                if key.startswith(f"{ROWS}/"):
                    require_same_rows(self._source, self._target, key)
                data = _joined(key, kept, data)
                if data == kept:
                    return 0
            self._target.write(key, data, fence)
            return len(data)

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise CancelledError

    def _kept(self, key: str) -> bytes | None:
        """What is there already; somebody may have written it meanwhile."""
        with suppress(FileNotFoundError):
            return self._target.read(key)
        return None


def _is_asset(key: str) -> bool:
    """Whether a file is one of an extractor's assets: large ones are among them."""
    return key.startswith(f"{EXTRACTORS}/") and Path(key).name not in (RECORD, ASSETS)


def _claim_of(key: str) -> tuple[str, int]:
    """The claim under which a file is written."""
    top, *inner = key.split("/")
    if _PICTURES.fullmatch(key):
        return _HERE.thumbnails_claim(inner[0]), int(inner[1][:6])
    if top == EXTRACTORS or key == f"{ARRAYS}/{ZARR}":
        return EXTRACTORS_CLAIM, 0
    return (_HERE.rows_claim(inner[0]) if top in (ROWS, ARRAYS) else STORE_CLAIM), 0


def _joined(key: str, kept: bytes, data: bytes) -> bytes:
    """What is carried of a file that is not replaced by another, with what is there already.

    An array that has become longer there, for rows that were added meanwhile, stays so, and so does
    the list of assets that are whole there while here they are still to be written.
    """
    with suppress(CorruptStoreError), checking(Path(key)):
        if key == COMMANDS:
            return join_commands(kept, data)
        if _PICTURES.fullmatch(key):
            _, subset, name = key.split("/")
            return join_thumbnails(kept, data, subset, int(name[:6]))
        if key.startswith(f"{ARRAYS}/"):
            lengths = [parse_json(one).get("shape", [0])[0] for one in (kept, data)]
            return kept if lengths[0] > lengths[1] else data
        if key.startswith(f"{EXTRACTORS}/") and key.endswith(f"/{ASSETS}"):
            pending = [unseal(one).get("pending", False) for one in (kept, data)]
            return kept if pending == [False, True] else data
    return data

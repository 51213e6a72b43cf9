"""Whether a server keeps its word on conditions, on which everything that is claimed rests.

Some servers refuse a second create only when the first one is long done: several at once all
succeed. So the probe lets them race.
"""

from __future__ import annotations

import secrets
from functools import partial

from clare.errors import StoreError
from clare.store.bucket.objects import Objects, in_flight

_RACERS = 4
_RACES = 3


def require_conditions(objects: Objects, folder: str) -> None:
    """See that of several who make or replace an object exactly one succeeds.

    Args:
        objects: of the store that is about to be shared.
        folder: where objects for a try may be made; they are taken away again.

    Raises:
        StoreError: the server ignores conditions, or can't be used at all.
    """
    for _ in range(_RACES):
        key = f"{folder}/probe-{secrets.token_hex(8)}"
        make = partial(objects.create, key)
        racers = [secrets.token_bytes(16) for _ in range(_RACERS)]
        try:
            made = list(in_flight(make, racers, _RACERS))
            won = [n for n, tag in enumerate(made) if tag is not None]
            there = objects.read(key)
            good = len(won) == 1 and there is not None and there[0] == racers[won[0]]
            if good and there is not None:
                tag, change = there[1], secrets.token_bytes(16)
                good = objects.replace(key, change, tag) is not None
                good = good and objects.replace(key, secrets.token_bytes(16), tag) is None
        finally:
            objects.delete(key)
        if not good:
            raise StoreError(
                f"{objects.url}: its server ignores conditions, so that two runs would overwrite "
                "each other unseen",
                "use a server with conditional puts (S3 itself, SeaweedFS from 4.17 on)",
            )

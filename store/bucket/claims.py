"""The claims of this process in a store in a bucket: leases, always."""

from __future__ import annotations

import threading
from dataclasses import replace

from clare.store.bucket.fence import BucketFence
from clare.store.bucket.mirror import Mirror
from clare.store.bucket.probe import require_conditions
from clare.store.bucket.register import BucketRegister
from clare.store.claims.claims import Claims
from clare.store.claims.locks import LockFile
from clare.store.claims.owner import Owner
from clare.store.claims.place import Place

_LOCKS = "locks"


class BucketPlace(Place):
    """See `Place`; before the first claim the server's word is put to the test.

    Args:
        mirror: of the store.
    """

    def __init__(self, mirror: Mirror) -> None:
        super().__init__(mirror.folder)
        self.register = BucketRegister(mirror.objects, _LOCKS)
        self._mirror = mirror
        self._tried = False

    def begin(self) -> None:
        """See that something can be claimed.

        Raises:
            StoreError: the server's conditions do not hold.
        """
        if not self._tried:
            require_conditions(self._mirror.objects, _LOCKS)
            self._tried = True
        super().begin()

    def is_there(self) -> bool:
        """The bucket is not asked."""
        return True

    def myself(self) -> Owner:
        """This process: wherever its copy lies, it claims the same."""
        return replace(super().myself(), place=0)

    def locks_may_serve(self) -> bool:
        """There are none."""
        return False

    def require_leases_hold(self) -> None:
        """The server's word was put to the test."""

    def lock_of_life(self) -> LockFile | None:
        """There is none."""
        return None


class BucketClaims(Claims):
    """See `Claims`.

    Args:
        mirror: of the store.
    """

    def __init__(self, mirror: Mirror) -> None:
        super().__init__(mirror.folder, place=BucketPlace(mirror))
        self._mirror = mirror

    def fence(self, name: str, number: int = 0) -> BucketFence:
        """How files are written that a claim of this process is about."""
        return BucketFence(super().fence(name, number), self._mirror)


_known: dict[Mirror, BucketClaims] = {}
_opening = threading.Lock()


def claims_in_bucket(mirror: Mirror) -> BucketClaims:
    """The claims of this process in a store in a bucket."""
    with _opening:
        if mirror not in _known:
            _known[mirror] = BucketClaims(mirror)
        return _known[mirror]

"""The claims of this process in a store in a bucket: leases, always."""

from __future__ import annotations

import threading
from dataclasses import replace

from clare.files import Fence
from clare.store.bucket.fence import BucketFence
from clare.store.bucket.mirror import Mirror
from clare.store.bucket.probe import require_conditions
from clare.store.bucket.register import BucketRegister
from clare.store.claims.claims import Claims
from clare.store.claims.owner import Owner

_LOCKS = "locks"


class BucketClaims(Claims):
    """See `Claims`; before the first claim the server's word is put to the test.

    Args:
        mirror: of the store.
    """

    def __init__(self, mirror: Mirror) -> None:
        register = BucketRegister(mirror.objects, _LOCKS)
        super().__init__(mirror.folder, register=register)
        self._mirror = mirror
        self._tried = False

    def fence(self, name: str, number: int = 0) -> Fence:
        """How files are written that a claim of this process is about."""
        return BucketFence(super().fence(name, number), self._mirror)

    def _join(self) -> None:
        if not self._tried:
            require_conditions(self._mirror.objects, _LOCKS)
            self._tried = True
        super()._join()

    def myself(self) -> Owner:
        """This process: wherever its copy lies, it claims the same."""
        return replace(super().myself(), place=0)

    def _is_there(self) -> bool:
        return True

    def _locks_may_serve(self) -> bool:
        return False

    def _require_leases_hold(self) -> None:
        pass  # the server's word was put to the test

    def _hold_byte(self) -> None:
        pass

    def _free_byte(self) -> None:
        pass


_known: dict[Mirror, BucketClaims] = {}
_opening = threading.Lock()


def claims_in_bucket(mirror: Mirror) -> BucketClaims:
    """The claims of this process in a store in a bucket."""
    with _opening:
        if mirror not in _known:
            _known[mirror] = BucketClaims(mirror)
        return _known[mirror]

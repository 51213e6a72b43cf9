"""Files of a claim in a bucket: nobody who has lost his claim overwrites what another wrote."""

from __future__ import annotations

from pathlib import Path

from clare.errors import StoreError
from clare.files import Fence
from clare.store.bucket.mirror import Mirror

_TRIES = 5


class BucketFence(Fence):
    """See `Fence`: a file gets its name in the bucket first, then in the copy.

    In this order: see in which state the object is, see that the claim is still one's own, put on
    the condition of that state. Who sleeps before the second look finds his claim lost; who sleeps
    behind it is refused by the server, since whoever took over has changed the state.

    Args:
        claim: of the leases in the bucket.
        mirror: of the store.
    """

    def __init__(self, claim: Fence, mirror: Mirror) -> None:
        self._claim = claim
        self._mirror = mirror

    def partial(self, path: Path) -> Path:
        """A file of the copy."""
        return self._claim.partial(path)

    def require(self) -> None:
        """See `Fence`."""
        self._claim.require()

    def publish(self, temporary: Path, path: Path) -> None:
        """Put the file into the bucket, and give it its name here."""
        tag = self._put(path, temporary.read_bytes())
        temporary.replace(path)
        self._mirror.came(path, tag)

    def _put(self, path: Path, data: bytes) -> str:
        objects, key = self._mirror.objects, self._mirror.key(path)
        for _ in range(_TRIES):
            before = objects.tag(key)
            self.require()
            if before is None:
                tag = objects.create(key, data)
            else:
                tag = objects.replace(key, data, before)
            if tag is not None:
                return tag
            self.require()  # refused: either the claim is lost, or a former owner's put came late
        raise StoreError(f"{objects.url}/{key} is written by somebody else")

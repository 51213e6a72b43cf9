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
        tag = self.put(self._mirror.key(path), temporary.read_bytes())
        temporary.replace(path)
        self._mirror.came(path, tag)

    def delete(self, key: str) -> None:
        """Take an object away; the claim is looked at directly before, for want of a condition.

        Raises:
            LostClaimError: it is lost.
        """
        self.require()
        self._mirror.objects.delete(key)

    def put(self, key: str, data: bytes | memoryview) -> str:
        """Put bytes into the bucket alone.

        Args:
            key: the object's name.
            data: its bytes.

        Returns:
            The tag of the object's state.

        Raises:
            LostClaimError: the claim is lost.
            StoreError: somebody writes the object without any claim.
        """
        objects = self._mirror.objects
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

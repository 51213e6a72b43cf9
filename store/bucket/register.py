"""A register in a bucket: an entry is an object, and its tag tells one state from the next."""

from __future__ import annotations

from clare.store.bucket.objects import Objects
from clare.store.claims.register import ListedRegister, Tag

_FREE = b""


class BucketRegister(ListedRegister):
    """See `clare.store.claims.register.Register`.

    No server deletes on a condition, so an entry is taken away by emptying it: an object without
    bytes is none.

    Args:
        objects: of the store.
        root: the folder of the entries in it.
    """

    def __init__(self, objects: Objects, root: str) -> None:
        self.objects = objects
        self.root = root

    def names(self, folder: str) -> set[str]:
        """See `Register`, as for all of these."""
        return set(self.states(folder))

    def states(self, folder: str) -> dict[str, Tag]:
        """The objects' tags, which are made of their bytes."""
        prefix = f"{self.root}/{folder}".rstrip("/")
        listed = self.objects.list_folder(prefix)
        return {found.name: found.tag for found in listed if found.size}

    def all_names(self, folder: str) -> list[str]:
        """One list."""
        listed = self.objects.list(f"{self.root}/{folder}")
        return [found.key.removeprefix(f"{self.root}/") for found in listed if found.size]

    def read(self, name: str) -> tuple[bytes, Tag] | None:
        """The object, unless it is empty."""
        found = self.objects.read(f"{self.root}/{name}")
        return None if found is None or found[0] == _FREE else found

    def create(self, name: str, data: bytes) -> Tag | None:
        """Make the object, or fill the empty one."""
        key = f"{self.root}/{name}"
        # Looked at first: of several who make one at once, servers let the losers wait for seconds.
        found = self.objects.read(key)
        if found is None:
            return self.objects.create(key, data)
        if found[0] in (_FREE, data):
            return self.objects.replace(key, data, found[1]) if found[0] == _FREE else found[1]
        return None

    def replace(self, name: str, data: bytes, tag: Tag) -> Tag | None:
        """Put other bytes into an object of this state."""
        return self.objects.replace(f"{self.root}/{name}", data, str(tag))

    def remove(self, name: str, tag: Tag) -> None:
        """Empty an object of this state."""
        self.objects.replace(f"{self.root}/{name}", _FREE, str(tag))

"""Where claims are kept, and what holds there: here in a folder of a disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from clare.files import make_folder
from clare.store.claims.folder_register import FolderRegister, require_links
from clare.store.claims.locks import LockFile, lock_file
from clare.store.claims.mounts import is_of_this_host, locks_may_reach
from clare.store.claims.owner import Owner, this_process
from clare.store.claims.register import ListedRegister


class Place:
    """A folder of a disk, which several hosts may mount.

    Args:
        folder: of a store's claims.
        locks: opens a file of locks.
    """

    def __init__(self, folder: Path, locks: Callable[[Path], LockFile] = lock_file) -> None:
        self.folder = folder
        self.register: ListedRegister = FolderRegister(folder)
        self._open = locks

    def begin(self) -> None:
        """See that something can be claimed.

        Raises:
            StoreError: the folder can't be used.
        """
        make_folder(self.folder)

    def is_there(self) -> bool:
        """Whether there still is such a store."""
        return self.folder.is_dir()

    def myself(self) -> Owner:
        """This process, under a new token."""
        return this_process(self.folder)

    def is_of_this_host(self) -> bool:
        """Whether this host's kernel sees all locks for certain."""
        return is_of_this_host(self.folder)

    def locks_may_serve(self) -> bool:
        """False where locks certainly keep no other host out."""
        return locks_may_reach(self.folder)

    def require_leases_hold(self) -> None:
        """Refuse a place where no lease would be safe.

        Raises:
            StoreError: it is one.
        """
        require_links(self.folder)

    def lock(self, name: str) -> LockFile:
        """The locks of a name's numbers."""
        return self._open(self.folder / f"{name}.lock")

    def lock_of_life(self) -> LockFile | None:
        """In which each process holds the byte drawn for it; None where there are no locks."""
        return self.lock("_alive")

"""One process at a time in the folder of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clare.advice import Name
from clare.errors import InputError
from clare.store.claims.locks import lock_file

LOCKS = ".clare-runs.lock"
"""Beside the folders of runs; see `hold_runs`."""


class RunsHeldError(InputError):
    """A run is being trained by another process, or another thread.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} is being trained by another process",
            "wait until that ends",
            Name("another folder", "out"),
        )
        self.args = (folder,)  # what it is made of again in another process
        self.folder = folder


@contextmanager
def hold_runs(folders: Iterable[Path]) -> Iterator[None]:
    """Keep other processes out of the folders of runs, for as long as this one trains them.

    The lock is the kernel's and ends with its process, however that ends. A file beside the folders
    has a byte for each of them: a sweep has more folders than a process may have open files.

    Raises:
        RunsHeldError: another process, or another thread, trains one of them.
        StoreError: the place can't be used.
    """
    with ExitStack() as held:
        for folder in folders:
            place = folder.resolve()
            lock, byte = lock_file(place.parent / LOCKS), _byte_of(place.name)
            if not lock.acquire(byte):
                raise RunsHeldError(folder)
            held.callback(lock.release, byte)
        yield


def _byte_of(name: str) -> int:
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 2  # a place in a file has 63 bits

"""A register in a folder of a disk that several hosts mount.

An entry ``name`` in its n-th state is the file ``name.<n>``. A state is made by ``link()``, which
fails where the name is there, also where ``open`` with O_EXCL or a lock is not to be relied upon.
Folders are listed rather than names probed, and files opened rather than their times compared: a
network disk's client remembers for a while what it was told of a name (NFS: up to a minute).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from clare.errors import StoreError
from clare.files import PARTIAL, make_folder, storage_errors
from clare.foreign import open_bytes
from clare.store.claims.register import Tag

_TRIES = 50
_MOST_BYTES = 1 << 16


class FolderRegister:
    """See `clare.store.claims.register.Register`.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self, folder: str) -> set[str]:
        """See `Register`, as for all of these."""
        return set(self._states(self.root / folder))

    def all_names(self, folder: str) -> list[str]:
        """Of each folder that has files."""
        found: list[str] = []
        for place, _, files in os.walk(self.root / folder):
            if files:
                below = Path(place).relative_to(self.root)
                found += [(below / name).as_posix() for name in self._states(Path(place))]
        return sorted(found)

    def read(self, name: str) -> tuple[bytes, Tag] | None:
        """The file of the latest state."""
        path = self.root / name
        for _ in range(_TRIES):
            state = self._states(path.parent).get(path.name)
            if state is None:
                return None
            try:
                with open_bytes(_file(path, state), _MOST_BYTES) as file:
                    return file.read(), state
            except FileNotFoundError:
                continue  # it was replaced between the two looks
        raise StoreError(f"{path} can't be read: it changes all the time")

    def create(self, name: str, data: bytes) -> Tag | None:
        """Make the file of the first state."""
        return self._make(self.root / name, data, 1)

    def replace(self, name: str, data: bytes, tag: Tag) -> Tag | None:
        """Make the file of the next state; that of the one before is gone then."""
        path = self.root / name
        made = self._make(path, data, int(tag) + 1)
        if made is not None:
            _file(path, int(tag)).unlink(missing_ok=True)
        return made

    def remove(self, name: str, tag: Tag) -> None:
        """Remove the file of this state, and of no other."""
        _file(self.root / name, int(tag)).unlink(missing_ok=True)

    def _make(self, path: Path, data: bytes, state: int) -> Tag | None:
        made = _file(path, state)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PARTIAL}")
        make_folder(path.parent)
        with storage_errors(path):
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                descriptor = os.open(temporary, flags, 0o666)
                try:
                    os.write(descriptor, data)
                finally:
                    os.close(descriptor)
                if not link(temporary, made):
                    return None
            finally:
                temporary.unlink(missing_ok=True)
        # Who was held up before his link may have made a state that is long past.
        if self._states(path.parent).get(path.name) != state:
            made.unlink(missing_ok=True)
            return None
        return state

    def _states(self, folder: Path) -> dict[str, int]:
        """The latest state of each entry of a folder."""
        states: dict[str, int] = {}
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name, _, state = entry.name.rpartition(".")
                    if name and state.isascii() and state.isdigit():
                        states[name] = max(int(state), states.get(name, 0))
        except (FileNotFoundError, NotADirectoryError):
            pass
        return states


def link(existing: Path, path: Path) -> bool:
    """Give a file of ours a second name; False where that name is taken.

    Over NFS an answer may be lost and the repeated request fail: the count of names tells.

    Raises:
        StoreError: the disk knows no second names.
    """
    try:
        os.link(existing, path, follow_symlinks=False)
    except OSError as error:
        if existing.stat().st_nlink > 1:
            return True
        if isinstance(error, FileExistsError):
            return False
        if isinstance(error, FileNotFoundError):
            raise
        raise StoreError(
            f"{path.parent} can be shared by several hosts no more: its disk has neither locks "
            f"that reach other hosts nor hard links ({error.strerror})",
            "take a store on another disk",
        ) from error
    return True


def _file(path: Path, state: int) -> Path:
    return path.with_name(f"{path.name}.{state}")

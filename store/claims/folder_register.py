"""A register in a folder of a disk that several hosts mount.

An entry ``name`` in its n-th state is the file ``name.<n>``. A state is made by ``link()``, which
fails where the name is there, also where ``open`` with O_EXCL or a lock is not to be relied upon.
Where the disk has no hard links O_EXCL must do: for heartbeats, which one process alone writes;
leases are not taken there (`require_links`). An entry that was removed begins again with state 1,
so a tag holds a checksum of the bytes as well: who was held up removes nothing that is another's.
Folders are listed rather than names probed, and files opened rather than their times compared: a
network disk's client remembers for a while what it was told of a name (NFS: up to a minute).
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import google_crc32c

from clare.errors import StoreError
from clare.files import PARTIAL, make_folder, storage_errors
from clare.foreign import open_bytes
from clare.store.claims.register import ListedRegister, Tag, each_of

_TRIES = 50
_MOST_BYTES = 1 << 16
_NO_LINKS = (
    *(errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP),
    *(errno.ENOSYS, errno.EMLINK, errno.EINVAL),
)
"""What disks say that have no hard links: exFAT, vfat, many of FUSE and SMB."""


class FolderRegister(ListedRegister):
    """See `clare.store.claims.register.Register`.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self, folder: str) -> set[str]:
        """See `Register`, as for all of these."""
        return set(_states(self.root / folder))

    def states(self, folder: str) -> dict[str, Tag]:
        """The numbers of the states, which are part of the files' names."""
        return dict(_states(self.root / folder))

    def all_names(self, folder: str) -> list[str]:
        """Of each folder that has files."""
        found: list[str] = []
        for place, _, files in os.walk(self.root / folder):
            if files:
                below = Path(place).relative_to(self.root)
                found += [(below / name).as_posix() for name in _states(Path(place))]
        return sorted(found)

    def read(self, name: str) -> tuple[bytes, Tag] | None:
        """The file of the latest state."""
        return self.read_several([name])[0]

    def read_several(self, names: Sequence[str]) -> list[tuple[bytes, Tag] | None]:
        """Their folder is listed once."""
        listed = self._listed(names)

        def read(name: str) -> tuple[bytes, Tag] | None:
            path = self.root / name
            return _latest(path, listed[path.parent])

        return each_of(read, names)

    def create(self, name: str, data: bytes) -> Tag | None:
        """Make the file of the first state."""
        return self.write_several(data, {name: None}).get(name)

    def replace(self, name: str, data: bytes, tag: Tag) -> Tag | None:
        """Make the file of the next state; that of the one before is gone then."""
        return self.write_several(data, {name: tag}).get(name)

    def write_several(self, data: bytes, tags: Mapping[str, Tag | None]) -> dict[str, Tag]:
        """Their folder is listed once, when all files are made."""
        names = list(tags)
        each = each_of(lambda name: self._make(self.root / name, data, tags[name]), names)
        made = [name for name, ours in zip(names, each, strict=True) if ours]
        listed = self._listed(made)
        written: dict[str, Tag] = {}
        for name in made:
            path, state = self.root / name, _next(tags[name])
            # Who was held up before his link may have made a state that is long past.
            if listed[path.parent].get(path.name) != state:
                _file(path, state).unlink(missing_ok=True)
                continue
            if state > 1:
                _file(path, state - 1).unlink(missing_ok=True)
            written[name] = _tag(state, data)
        return written

    def remove(self, name: str, tag: Tag) -> None:
        """Remove the file of this state, and of no other."""
        path = self.root / name
        if _is_still(path, tag):
            _file(path, _state(tag)).unlink(missing_ok=True)

    def _make(self, path: Path, data: bytes, tag: Tag | None) -> bool:
        """Make the file of the state that comes next; False where somebody else did."""
        if tag is not None and not _is_still(path, tag):
            return False
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PARTIAL}")
        make_folder(path.parent)
        with storage_errors(path):
            try:
                _write_new(temporary, data)
                return _name(temporary, _file(path, _next(tag)), data)
            finally:
                temporary.unlink(missing_ok=True)

    def _listed(self, names: Sequence[str]) -> dict[Path, dict[str, int]]:
        """`_states` of the folders of entries."""
        folders = {(self.root / name).parent for name in names}
        return {folder: _states(folder) for folder in folders}


def require_links(folder: Path) -> None:
    """Refuse a disk on which no lease would be safe.

    Args:
        folder: that is there.

    Raises:
        StoreError: it has no hard links.
    """
    one = folder / f"_probe.{secrets.token_hex(8)}{PARTIAL}"
    other = one.with_name(f"_{one.name}")
    with storage_errors(folder):
        try:
            _write_new(one, b"")
            link(one, other)
        finally:
            for path in (one, other):
                path.unlink(missing_ok=True)


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
        if error.errno not in _NO_LINKS:
            raise
        raise StoreError(
            f"the disk that holds {path.parent} has no hard links ({error.strerror}), and file "
            "locks on it don't keep other hosts out: two processes might write the same file",
            "take a store on another disk",
        ) from error
    return True


def _name(temporary: Path, made: Path, data: bytes) -> bool:
    """Give a new state its name; False where that is taken."""
    try:
        return link(temporary, made)
    except StoreError:
        with suppress(FileExistsError):
            _write_new(made, data)
            return True
        return False


def _states(folder: Path) -> dict[str, int]:
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


def _latest(path: Path, states: Mapping[str, int]) -> tuple[bytes, Tag] | None:
    """An entry in its latest state, as its folder was listed; None where it is not there."""
    for _ in range(_TRIES):
        state = states.get(path.name)
        if state is None:
            return None
        try:
            data = _read(_file(path, state))
        except FileNotFoundError:
            states = _states(path.parent)  # it was replaced between the two looks
        else:
            return data, _tag(state, data)
    raise StoreError(f"{path} can't be read: it changes all the time")


def _is_still(path: Path, tag: Tag) -> bool:
    """Whether the file of a state is there, with the bytes that were seen."""
    state = _state(tag)
    try:
        return _tag(state, _read(_file(path, state))) == tag
    except FileNotFoundError:
        return False


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    with open_bytes(path, _MOST_BYTES) as file:
        return file.read()


def _tag(state: int, data: bytes) -> Tag:
    return f"{state}.{google_crc32c.value(data):08x}"


def _state(tag: Tag) -> int:
    return int(str(tag).partition(".")[0])


def _next(tag: Tag | None) -> int:
    return 1 if tag is None else _state(tag) + 1


def _file(path: Path, state: int) -> Path:
    return path.with_name(f"{path.name}.{state}")

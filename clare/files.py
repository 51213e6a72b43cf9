"""Files and folders that survive a crash: written as a whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from clare.errors import ClareError, DiskSpaceError, StoreError
from clare.wording import size

_ADVICE = {
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EROFS: "its disk can't be written to",
    errno.EIO: "its disk fails to read or write",
    errno.ESTALE: "its disk fails to read or write",
    errno.EEXIST: "something that is not a folder stands there",
    errno.EFBIG: "its disk, or `ulimit -f`, allows no file of this size",
    errno.EBUSY: "another program holds it",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "allow more open files with `ulimit -n`"),
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO),
        "name another place",
    ),
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_HIDDEN = re.compile(
    r"errno = (\d+), error message = |Os \{ code: (\d+), kind: |\(os error (\d+)\)"
)
"""How HDF5 and Rust tell the system's number."""
_BUGS = (AssertionError, AttributeError, IndexError, NameError, NotImplementedError, TypeError)
"""What no library raises over the machine, whatever the text."""
_LOOP = re.compile(r"Symlink loop from '(.*)'")
"""How pathlib tells it, up to Python 3.12."""

TRACEBACK = "CLARE_TRACEBACK"
"""The environment variable that lets errors keep their traceback in a terminal."""
_NO_MEMORY = ("can't allocate memory", "out of memory", "Cannot allocate memory")

PARTIAL = ".partial"
"""Ending of a file that is being written; what carries it after a crash is rubbish, but for the
marks of a store, which save a look at a record (docs/store-format.md) and may be missing."""

_MOST_BUFFERS = 512  # below IOV_MAX everywhere


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one sentence each.

    Raises:
        DiskSpaceError: the disk or the quota is full.
        StoreError: the place can't be used.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL or error.errno in _ADVICE:
            raise _refusal(error.errno, str(path)) from error
        raise


def environment_error(error: BaseException) -> ClareError | None:
    """What the machine refused, as one sentence: no bug, and nothing that was asked wrongly.

    A number such as that of a missing file may come from a bug too, of a path that was put together
    wrongly: the sentence then says how to see where it came from.

    Args:
        error: that came from anywhere. Libraries tell the system's number in their text at times.

    Returns:
        None where the machine is not to blame.
    """
    told = str(error)
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in told for words in _NO_MEMORY)
    ):
        return ClareError(
            "there is not enough memory; take smaller batches, or end what else uses it"
        )
    if isinstance(error, RuntimeError) and (loop := _LOOP.fullmatch(told)):
        return _refusal(errno.ELOOP, loop[1])
    number = error.errno if isinstance(error, OSError) else None
    if number is None and not isinstance(error, _BUGS) and (hidden := _HIDDEN.search(told)):
        number = int(next(filter(None, hidden.groups())))
    if number is None or number not in errno.errorcode:
        return None
    if number == errno.ENOMEM:
        return environment_error(MemoryError())
    return _refusal(number, str(getattr(error, "filename", None) or ""))


def _refusal(number: int, place: str) -> StoreError:
    if number in _FULL:
        return DiskSpaceError(
            f"The disk that holds {place or 'what is written'} is full; free some space and begin "
            "again: everything recorded so far is kept"
        )
    unsure = f"see that it is there and whole; {TRACEBACK}=1 shows where this came from"
    advice = _ADVICE.get(number, unsure)
    return StoreError(
        f"{place or 'a file or an output'} can't be used ({os.strerror(number)}); {advice}."
    )


def require_free_space(folder: Path, needed: int) -> None:
    """Refuse work that the disk of a folder has no room for, or where nothing can be written.

    Raises:
        DiskSpaceError: fewer bytes than needed are free.
        StoreError: the folder takes no file.
    """
    # A disk that can't be written to, and /proc, have no free space either.
    with storage_errors(folder):
        try:
            TemporaryFile(dir=folder).close()
        except FileNotFoundError as error:
            raise StoreError(f"no file can be made in {folder}; name another place.") from error
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskSpaceError(
            f"{size(needed)} are needed at {folder} and {size(free)} are free; "
            "make room or choose another disk."
        )


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably; one that exists is left alone.

    Raises:
        StoreError: the place can't be used, or something else stands there.
    """
    with storage_errors(folder):
        if folder.is_dir():
            return
        make_folder(folder.parent)
        try:
            folder.mkdir(exist_ok=True)
        except FileNotFoundError as error:  # of file systems that are not for files, as /proc
            raise StoreError(
                f"{folder} can't be made: its disk takes no folders; name another place."
            ) from error
        sync_folder(folder.parent)


class Fence:
    """How the file of one writer comes to its name; here of one who is alone for certain."""

    def partial(self, path: Path) -> Path:
        """The file's partial file. A writer has one, so what a killed one left is written over."""
        return owned_partial(path)

    def require(self) -> None:
        """See that the writer has not been overtaken.

        Raises:
            LostClaimError: another writer has taken over.
        """

    def publish(self, temporary: Path, path: Path) -> None:
        """Give a whole file its name.

        Raises:
            LostClaimError: another writer has taken over, and the name is his.
        """
        temporary.replace(path)


OWNED = Fence()
"""Of a writer whom nobody disturbs."""


def write_durably(
    path: Path, *buffers: Any, owned: bool = False, fence: Fence | None = None
) -> None:
    """Write a file so that, whatever happens, it is there as a whole or not at all.

    The bytes are on the disk when the call returns: temporary file in the same folder, fsync,
    rename, fsync of the folder.

    Args:
        path: the file; its folder is made if need be.
        buffers: contiguous buffers, written one after another without being joined in memory.
        owned: whether nobody else writes this file meanwhile. Its temporary file then has one
            name, so that what a killed writer left is written over, and the folder, which may
            hold very many files, need not be searched for it.
        fence: of a writer who may be overtaken by another; it names the temporary file.

    Raises:
        DiskSpaceError: the disk is full; the file that was there before is untouched.
        LostClaimError: the fence says so; the file is another's.
    """
    make_folder(path.parent)
    if fence is None and owned:
        fence = OWNED
    unique = f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}{PARTIAL}"
    temporary = path.with_name(unique) if fence is None else fence.partial(path)
    how = os.O_EXCL if fence is None else os.O_TRUNC
    with storage_errors(path):
        try:
            # A link of that name may have come with a stranger's folder: nothing is written there.
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | how
            descriptor = os.open(temporary, flags, 0o666)
            try:
                _write_all(descriptor, [memoryview(buffer).cast("B") for buffer in buffers])
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            (fence or OWNED).publish(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A place for a file, or a folder of files, that shall be there as a whole or not at all.

    Args:
        path: what shall be there; nothing is. Its folder is made if need be.

    Yields:
        A path beside it. What was written there takes the name ``path`` at the end; where anything
        fails before that, it is removed.

    Raises:
        DiskSpaceError: the disk is full.
        StoreError: the place can't be used.
    """
    make_folder(path.parent)
    partial = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}{PARTIAL}")
    with storage_errors(path):
        try:
            yield partial
            partial.rename(path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)  # does nothing to a file
            with suppress(OSError):
                partial.unlink()
            raise
        sync_folder(path.parent)


def owned_partial(path: Path) -> Path:
    """The partial file of a file that one writer at a time owns."""
    return path.with_name(f"{path.name}.owner{PARTIAL}")


def remove_durably(path: Path) -> None:
    """Remove a file if it is there, durably."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync_folder(path.parent)


def remove_partials(folder: Path, name: str = "*") -> None:
    """Delete what killed writers of a file left; the caller must be alone in writing it."""
    if folder.is_dir():
        for stale in folder.glob(f"{name}.*{PARTIAL}"):
            stale.unlink(missing_ok=True)


def _write_all(descriptor: int, views: list[memoryview]) -> None:
    first = 0
    while first < len(views):
        written = os.writev(descriptor, views[first : first + _MOST_BUFFERS])
        while first < len(views) and written >= len(views[first]):
            written -= len(views[first])
            first += 1
        if written:
            views[first] = views[first][written:]

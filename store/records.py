"""Sealed records: JSON that tells whether a byte of it changed.

A sealed record is one line of canonical JSON whose last member is the CRC-32C of all bytes before
it, so a reader checks the line as it stands, without parsing or reformatting it. The checksum is no
secret: a file of a store may be anybody's, and what a whole record says is checked all the same.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from google_crc32c import value as crc32c

from clare.advice import Run
from clare.errors import CorruptStoreError, InputError
from clare.files import storage_errors
from clare.foreign import RECORD, parse_json, read_bytes
from clare.typed_json import MismatchError

REPAIR = Run("store.verify", settings={"repair": True}, effect="queues what it covered again")
"""What mends damaged bytes of a store."""

_NO_FILE = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO)
"""What the system says where something else than a file stands."""

_OF_ANOTHER_FORM = (
    *(ValueError, TypeError, AttributeError, IndexError),
    *(MismatchError, RecursionError),
)
"""What work meets with a member of another form than it took it for: the file's fault too."""

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)

_SEAL = len(',"crc32c":"00000000"}\n')


def checksum(data: Any) -> int:
    """CRC-32C (Castagnoli) of a bytes object or of a contiguous array's memory."""
    found: int = crc32c(data)
    return found


def canonical(record: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return _CANONICAL.encode(record).encode()


def seal(record: Mapping[str, Any]) -> bytes:
    """One line, newline included, that `unseal` can check."""
    body = canonical(record)[:-1]
    return b'%s,"crc32c":"%08x"}\n' % (body, checksum(body))


def unseal(line: bytes) -> dict[str, Any]:
    """The record of a line that `seal` wrote, newline included; what it says is yet to be checked.

    Raises:
        ValueError: a byte of the line is not what was written, or it is no record of any kind.
    """
    text = _checked(line)
    record: dict[str, Any] = parse_json(text)
    _require_finite(text)
    return record


def unseal_all(lines: Sequence[bytes]) -> list[bytes]:
    """What `parse_all` takes: many lines without their seals, and the brace that ends a record.

    Raises:
        ValueError: a byte of a line is not what was written.
    """
    bodies = [line[:-_SEAL] for line in lines]
    seals = [b',"crc32c":"%08x"}\n' % crc32c(body) for body in bodies]
    if [line[-_SEAL:] for line in lines] != seals or not all(bodies):
        raise ValueError("its checksum does not match")
    return bodies


def parse_all(bodies: Sequence[bytes]) -> list[dict[str, Any]]:
    """The records of many lines; parsed at once, which takes half the time.

    Raises:
        ValueError: one is no record of any kind.
    """
    text = b"[%s}]" % b"},".join(bodies) if bodies else b"[]"
    try:
        records: list[dict[str, Any]] = _FINITE.decode(text.decode())
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return records


def _checked(line: bytes) -> bytes:
    """The record of a sealed line as JSON, its bytes compared with the seal."""
    body = line[:-_SEAL]
    if not body or line[-_SEAL:] != b',"crc32c":"%08x"}\n' % checksum(body):
        raise ValueError("its checksum does not match")
    return body + b"}"


def _require_finite(text: bytes) -> None:
    if b"NaN" in text or b"Infinity" in text:  # in a string, perhaps
        _FINITE.decode(text.decode())


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is no number")


_FINITE = json.JSONDecoder(parse_constant=_refuse_constant)


def require(good: object, why: str) -> None:
    """Refuse what a record says.

    Raises:
        ValueError: it is not good.
    """
    if not good:
        raise ValueError(why)


def whole(value: object, most: int, what: str) -> int:
    """A number of a record that counts or places something, so it is none below zero.

    Raises:
        ValueError: it is of another type, or beyond the bounds.
    """
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{what} can't be {str(value)[:40]!r}")
    return value


@contextmanager
def checking(path: Path) -> Iterator[None]:
    """Say of a file of a store what is wrong with it.

    Raises:
        DamagedRecordError: the work inside found what no honest file of a store has.
    """
    try:
        yield
    except InputError as error:
        raise damaged(path, error.what.removeprefix(f"{path} ")) from error
    except KeyError as error:
        raise damaged(path, f"it has no {error}") from error
    except _OF_ANOTHER_FORM as error:
        raise damaged(path, str(error)) from error


def read_file(path: Path, most: int = RECORD) -> bytes:
    """The bytes of a file of a store: a regular file of its own, of bounded size.

    Raises:
        DamagedRecordError: a link, a folder or something else stands there.
        FileNotFoundError: nothing does.
        StoreError: the file may not be read, or its disk fails.
    """
    with storage_errors(path), checking(path):
        require(not path.is_symlink(), "it is a link; what a store holds lies in it")
        try:
            return read_bytes(path, most)
        except OSError as error:
            # A disk that hesitates, or a lack of rights, is no damage: repair would lose the file.
            if error.errno not in _NO_FILE:
                raise
            raise ValueError(f"it can't be read: {error.strerror or error}") from error


def read_sealed(path: Path) -> dict[str, Any]:
    """The record of a file that holds one sealed line.

    Raises:
        DamagedRecordError: the file is damaged; the message names it.
        FileNotFoundError: there is no such file.
    """
    data = read_file(path)
    with checking(path):
        return unseal(data)


class DamagedRecordError(CorruptStoreError):
    """A record, an index or another of a store's own files is not as it was written."""

    why = ""
    """What is wrong, without the file's name."""


def damaged(path: Path, why: str = "its checksum does not match") -> DamagedRecordError:
    """The error for a damaged record, index or metadata file."""
    error = DamagedRecordError(f"{path} is damaged ({why})", REPAIR)
    error.why = why
    return error

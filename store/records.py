"""Sealed records: JSON that tells whether a byte of it changed.

A sealed record is one line of canonical JSON whose last member is the CRC-32C of all bytes before
it, so a reader checks the line as it stands, without parsing or reformatting it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import google_crc32c

from clare.advice import Run
from clare.errors import CorruptStoreError

REPAIR = Run("store.verify", settings={"repair": True}, effect="queues what it covered again")
"""What mends damaged bytes of a store."""

_TAIL = len(',"crc32c":"00000000"}')


def checksum(data: Any) -> int:
    """CRC-32C (Castagnoli) of a bytes object or of a contiguous array's memory."""
    return int(google_crc32c.value(data))


def canonical(record: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def seal(record: Mapping[str, Any]) -> bytes:
    """One line, newline included, that `unseal` can check."""
    body = canonical(record)[:-1]
    return b'%s,"crc32c":"%08x"}\n' % (body, checksum(body))


def unseal(line: bytes) -> dict[str, Any]:
    """The record of a line that `seal` wrote, newline included.

    Raises:
        ValueError: a byte of the line is not what was written.
    """
    record: dict[str, Any] = json.loads(_checked(line))
    return record


def unseal_all(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """The records of many lines; parsed at once, which takes half the time.

    Raises:
        ValueError: a byte of a line is not what was written.
    """
    records: list[dict[str, Any]] = json.loads(b"[%s]" % b",".join(map(_checked, lines)))
    return records


def _checked(line: bytes) -> bytes:
    """The record of a sealed line as JSON, its bytes compared with the seal."""
    body = line[: -_TAIL - 1]
    if len(line) <= _TAIL + 1 or line[len(body) :] != b',"crc32c":"%08x"}\n' % checksum(body):
        raise ValueError("the checksum of the record does not match its bytes")
    return body + b"}"


def read_sealed(path: Path) -> dict[str, Any]:
    """The record of a file that holds one sealed line.

    Raises:
        CorruptStoreError: the file is damaged; the message names it.
        FileNotFoundError: there is no such file.
    """
    try:
        return unseal(path.read_bytes())
    except ValueError as error:
        raise damaged(path) from error


def damaged(path: Path, why: str = "its checksum does not match") -> CorruptStoreError:
    """The error for a damaged record, index or metadata file."""
    return CorruptStoreError(f"{path} is damaged ({why})", REPAIR)

"""Files that anybody may have written, opened with care and read as nothing but data.

A configuration, a list or a record may be a pipe that never ends, a device, or of a size and depth
that no honest one has. Whatever opens such a file does it here: it is a regular file of bounded
size, its lines, depth and numbers are bounded too, and what is wrong is one sentence.
"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from clare.errors import ClareError, CorruptStoreError, InputError
from clare.own_csv import original

if TYPE_CHECKING:
    from PIL import Image

WRITTEN_BY_HAND = 1 << 20
"""Most bytes of a configuration, a protocol, a registry."""

RECORD = 1 << 30
"""Most bytes of what a run or an extraction records: hashes of millions of rows are among it."""

LIST = 1 << 34
"""Most bytes of a list that is read row by row, unpacked."""

_PART = 1 << 16
_LINE = 1 << 20  # characters; the longest honest row of a manifest has a few thousand
_DEPTH = 64
_NODES = 1_000_000
_WHOLE = 1 << 64
_SHOWN = 200
_SIDE = 4096  # pixels of a thumbnail


@contextmanager
def reading(path: Path, what: str, kind: type[InputError] = InputError) -> Iterator[None]:
    """Say of a file that can't be read, or is not what it should be, what is wrong with it.

    Args:
        path: the file.
        what: it should be, as ``a configuration``.
        kind: of the error.

    Raises:
        InputError: the work inside met a file that is missing, unreadable or malformed.
    """
    try:
        yield
    except ClareError:
        raise
    except FileNotFoundError as error:
        raise kind(f"{path} is missing") from error
    except UnicodeDecodeError as error:
        raise kind(f"{path} can't be read as {what}: it is not text in UTF-8") from error
    except OSError as error:
        raise kind(f"{path} can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError, csv.Error, EOFError, zlib.error) as error:
        told = " ".join(str(error).split())
        shown = told if len(told) <= _SHOWN else f"{told[: _SHOWN - 1]}…"
        raise kind(f"{path} can't be read as {what}: {shown}") from error


def open_bytes(path: Path, most: int | None = None) -> io.BufferedReader:
    """Open a regular file; a pipe or a device is refused before it can block.

    Args:
        path: the file; links are followed.
        most: bytes that it may have; any number if None.

    Raises:
        InputError: it is no regular file, or is too large.
        OSError: it is missing or can't be read.
    """
    if opens_itself(path):
        return path.open_bounded(most)  # type: ignore[attr-defined]
    descriptor, _ = _open_regular(path, most)
    return os.fdopen(descriptor, "rb")


def opens_itself(path: Path) -> bool:
    """Whether a path is of no file of this machine, so that its own methods alone open it."""
    return hasattr(path, "open_bounded")


@contextmanager
def open_text(path: Path, most: int = LIST) -> Iterator[TextIO]:
    """Open a text file in UTF-8, with or without a byte order mark; a ``.gz`` is unpacked.

    Line ends are left as they are, as `csv` wants them.

    Raises:
        InputError: it is no regular file, or is too large.
        OSError: it is missing or can't be read.
    """
    import gzip

    with open_bytes(path, most) as opened:
        plain = gzip.GzipFile(fileobj=opened) if path.name.endswith(".gz") else opened
        with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as file:
            yield file


def bounded_lines(path: Path, file: TextIO, most: int = LIST) -> Iterator[str]:
    """The lines of a text, none of which, nor all together, may be endless.

    Raises:
        InputError: a line, or the text once it is unpacked, is too long.
    """
    total = 0
    while line := file.readline(_LINE + 1):
        total += len(line)
        if len(line) > _LINE:
            raise InputError(f"{path} has a line of more than {_LINE} characters")
        if total > most:
            raise _too_large(path, most)
        yield line


def csv_rows(path: Path, file: TextIO, **how: Any) -> Any:
    """A `csv.reader` over a file whose lines are bounded; ``line_num`` counts them.

    Args:
        path: the file, for messages.
        file: it, opened.
        how: see `csv.reader`: ``strict``, ``delimiter`` and others.
    """
    return csv.reader(bounded_lines(path, file), **how)


def read_table(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV of ours (see `csv_text`) by column, as `csv.DictReader` has them.

    Raises:
        InputError: it is missing, can't be read, or is no CSV.
    """
    with reading(path, "a CSV file"), open_text(path, RECORD) as file:
        lines = list(csv.DictReader(bounded_lines(path, file)))
    # Of a damaged line, DictReader gives names and cells that are no text.
    return [{_original(name): _original(cell) for name, cell in line.items()} for line in lines]


def _original(cell: Any) -> Any:
    return original(cell) if isinstance(cell, str) else cell


def decode_thumbnail(data: bytes) -> Image.Image:
    """A small picture that a store keeps, RGB; no decoder but that of JPEG sees its bytes.

    Raises:
        CorruptStoreError: it is no small JPEG.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as opened:
            if max(opened.size) <= _SIDE:
                return opened.convert("RGB")
    except Exception as error:  # decoders raise nearly anything over damaged bytes
        raise CorruptStoreError("a picture in the store is damaged") from error
    raise CorruptStoreError(f"a picture in the store is larger than {_SIDE} pixels a side")


def read_bytes(path: Path, most: int = RECORD) -> bytes:
    """All bytes of a regular file.

    Raises:
        InputError: it is no regular file, or is too large.
        OSError: it is missing or can't be read.
    """
    if opens_itself(path):
        with open_bytes(path, most) as file:
            return file.read()
    descriptor, size = _open_regular(path, most)
    parts, left = [], most + 1
    # Without a buffer, which for the small files of a store costs as much as all else.
    try:
        while left and (part := os.read(descriptor, min(left, max(size + 1, _PART)))):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(descriptor)
    if not left:  # it grew, or its size is not what the system says
        raise _too_large(path, most)
    return b"".join(parts)


def read_text(path: Path, most: int = WRITTEN_BY_HAND) -> str:
    """A whole text in UTF-8, without its byte order mark and with plain line ends.

    Raises:
        InputError: it is no regular file, or is too large.
        OSError: it is missing or can't be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    text = read_bytes(path, most).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_value(path: Path, what: str, most: int = WRITTEN_BY_HAND) -> Any:
    """What a JSON, TOML or YAML file holds, by its suffix; YAML if it has another.

    Args:
        path: the file.
        what: it should be, for the message.
        most: bytes that it may have.

    Raises:
        InputError: it is missing, can't be read, or is not of that form.
    """
    with reading(path, what):
        parse = {".json": parse_json, ".toml": parse_toml}.get(path.suffix, parse_yaml)
        return parse(read_text(path, most))


def parse_json(text: str | bytes) -> Any:
    """A JSON text's plain value; numbers and depth are bounded.

    Raises:
        ValueError: it is not JSON, or has what no honest file has.
    """
    return _bounded(_parsed(json.loads, text))


def parse_toml(text: str) -> dict[str, Any]:
    """A TOML text's table; numbers and depth are bounded.

    Raises:
        ValueError: it is not TOML, or has what no honest file has.
    """
    import tomllib

    found: dict[str, Any] = _bounded(_parsed(tomllib.loads, text))
    return found


def parse_yaml(text: str) -> Any:
    """A YAML text's plain value; numbers, depth and what aliases repeat are bounded.

    Raises:
        ValueError: it is not YAML, or has what no honest file has.
    """
    from clare.bounded_yaml import load

    return _bounded(_parsed(lambda one: load(one, depth=_DEPTH, nodes=_NODES), text))


def _parsed(parse: Any, text: Any) -> Any:
    try:
        return parse(text)
    except RecursionError:
        raise ValueError(f"it is nested more than {_DEPTH} deep") from None


def _bounded(value: Any) -> Any:
    """A value, once its depth and its whole numbers are known to be those of an honest file."""
    level: list[Any] = [value]
    for _ in range(_DEPTH + 1):
        following: list[Any] = []
        for one in level:
            if type(one) is dict:
                following += one.values()
            elif type(one) is list and not _are_wholes(one):
                following += one
            elif type(one) is int and not -_WHOLE < one < _WHOLE:
                raise ValueError("a whole number in it has more than 64 bits")
        if not following:
            return value
        level = following
    raise ValueError(f"it is nested more than {_DEPTH} deep")


def _are_wholes(values: list[Any]) -> bool:
    """Whether a list holds nothing but whole numbers of at most 64 bits, told at once."""
    return set(map(type, values)) == {int} and min(values) > -_WHOLE and max(values) < _WHOLE


def require_file(path: Path, most: int | None = None) -> Path:
    """The path of a regular file, for a library that opens it by itself.

    Raises:
        InputError: it is no regular file, or is too large.
        OSError: it is missing or can't be read.
    """
    open_bytes(path, most).close()
    return path


def _open_regular(path: Path, most: int | None) -> tuple[int, int]:
    """The descriptor and the size of a regular file; errors as `open_bytes`."""
    # Asked before opening too: opening a device may already do something.
    _require_regular(path, path.stat().st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        _require_regular(path, found.st_mode)
        if most is not None and found.st_size > most:
            raise _too_large(path, most)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, found.st_size


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise InputError(f"{path} can't be read: it is {what}, not a file")


def _too_large(path: Path, most: int) -> InputError:
    size = f"{most >> 20} MiB" if most < 1 << 30 else f"{most >> 30} GiB"
    return InputError(f"{path} can't be read: it is larger than {size}")

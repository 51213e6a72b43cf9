"""Tables as Parquet files, by the optional package pyarrow."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from clare.errors import InputError
from clare.files import make_folder, owned_partial, storage_errors, sync_folder
from clare.foreign import reading, require_file
from clare.typed_json import from_json, to_json

T = TypeVar("T")

SUFFIX = ".parquet"

_GROUP = 10_000
"""Rows that are in memory at once: a row group of the file."""


def require_parquet() -> None:
    """See that Parquet can be written, before hours of work.

    Raises:
        InputError: pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise InputError("Parquet needs the package pyarrow: pip install 'clare-features[parquet]'")


def write_rows(path: Path, row: type[T], rows: Iterable[T]) -> None:
    """Write a table of dataclasses, one column a field, whole or not at all.

    Args:
        path: the file.
        row: the dataclass, of texts, numbers and truth values, each of which may be None.
        rows: in any number.
    """
    import pyarrow

    hints = typing.get_type_hints(row)
    schema = pyarrow.schema([(one.name, _type(hints[one.name])) for one in fields(row)])  # type: ignore[arg-type]
    waiting = iter(rows)
    with _writer(path, schema) as writer:
        while some := [to_json(one) for one in islice(waiting, _GROUP)]:
            writer.write_table(pyarrow.Table.from_pylist(some, schema))


def read_rows(path: Path, row: type[T]) -> Iterator[T]:
    """The rows of a file that `write_rows` made.

    Raises:
        InputError: it is missing, damaged, or another table.
    """
    import pyarrow.parquet

    with reading(path, "Parquet"), pyarrow.parquet.ParquetFile(require_file(path)) as file:
        for batch in file.iter_batches(_GROUP):
            for values in batch.to_pylist():
                yield from_json(row, values, path)


def write_columns(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns of one length, whole or not at all; their types follow from their values."""
    import pyarrow

    table = pyarrow.table({name: pyarrow.array(values) for name, values in columns.items()})
    with _writer(path, table.schema) as writer:
        writer.write_table(table, _GROUP)


@contextmanager
def _writer(path: Path, schema: Any) -> Iterator[Any]:
    import pyarrow.parquet

    make_folder(path.parent)
    temporary = owned_partial(path)
    with storage_errors(path):
        try:
            with pyarrow.parquet.ParquetWriter(temporary, schema) as writer:
                yield writer
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _type(hint: Any) -> Any:
    import pyarrow

    kinds = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64()}
    options = [one for one in typing.get_args(hint) or (hint,) if one is not type(None)]
    return kinds.get(options[0], pyarrow.string())

"""Tables as Parquet, read by pyarrow itself."""

from dataclasses import dataclass

import pytest

from clare.errors import InputError
from clare.parquet import read_rows, write_columns, write_rows

parquet = pytest.importorskip("pyarrow.parquet")


@dataclass(frozen=True)
class Line:
    name: str
    number: int | None = None
    value: float | None = None
    good: bool = False


def test_rows_come_back_in_groups_and_their_types_do_not_hang_on_their_values(tmp_path):
    path = tmp_path / "table.parquet"
    write_rows(path, Line, (Line(f"row {number}") for number in range(10_001)))
    file = parquet.ParquetFile(path)
    assert file.metadata.num_row_groups == 2
    kinds = {field.name: str(field.type) for field in file.schema_arrow}
    assert kinds == {"name": "string", "number": "int64", "value": "double", "good": "bool"}
    rows = [Line("ü", 3, 0.1 + 0.2, True), Line("", None, None)]
    write_rows(path, Line, rows)
    assert list(read_rows(path, Line)) == rows
    write_rows(path, Line, [])
    assert parquet.read_table(path).column_names == ["name", "number", "value", "good"]


def test_a_writer_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "table.parquet"
    write_columns(path, {"a": [1, 2], "b": ["x", None]})

    def broken():
        yield Line("a")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_rows(path, Line, broken())
    assert parquet.read_table(path).to_pydict() == {"a": [1, 2], "b": ["x", None]}
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]


def test_what_is_no_such_table_is_said(tmp_path):
    path = tmp_path / "table.parquet"
    for content in (b"", b"PAR1 and no more"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"table\.parquet can't be read as Parquet"):
            list(read_rows(path, Line))
    write_columns(path, {"other": [1]})
    with pytest.raises(InputError, match="other is not known there"):
        list(read_rows(path, Line))

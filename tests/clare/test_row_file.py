"""A table that is killed at any byte goes on from its last whole row, and ends the same."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clare.errors import InputError
from clare.row_file import RowFile


@dataclass(frozen=True)
class Line:
    name: str
    kind: Literal["part", "whole"] = "whole"
    number: int | None = None
    value: float | None = None
    good: bool = False


names = st.text(min_size=1) | st.text("'=\r\n\",ü\x00a1", min_size=1, max_size=6)
lines = st.lists(
    st.builds(
        Line,
        names.filter(lambda name: name.isprintable() or "\n" in name),
        st.just("whole"),
        st.none() | st.integers(-5, 5),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


def write(path, rows):
    with RowFile(path, Line) as file:
        there = list(file.rows())
        assert there == rows[: len(there)], "what is whole comes back as it was"
        for row in rows[len(there) :]:
            file.add([row])
    return len(there)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rows")


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
@given(lines, st.data())
def test_a_table_cut_at_any_byte_is_gone_on_with(folder, ending, rows, data):
    path = folder / f"table{ending}"
    path.unlink(missing_ok=True)
    assert write(path, rows) == 0
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = write(path, rows)
    assert path.read_bytes() == whole
    assert kept == len(rows) if cut == len(whole) else kept < len(rows)


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_rows_that_belong_together_are_kept_together(tmp_path, ending):
    path = tmp_path / f"table{ending}"
    parts = [Line("a"), Line("b", "part"), Line("b", "part"), Line("b")]

    def there():
        with RowFile(path, Line, lambda row: row.kind == "whole") as file:
            return list(file.rows())

    with RowFile(path, Line) as file:
        file.add(parts)
    whole = path.read_bytes()
    assert there() == parts
    path.write_bytes(whole[:-1])
    assert there() == parts[:1], "three of b's four rows are whole, and none is kept"


def test_what_is_no_such_table_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "table.csv"
    with RowFile(path, Line) as file:
        file.add([Line("a"), Line("b")])
    ours = path.read_bytes()
    for content, why in (
        (b"name,label\na,1\n", "holds another table"),
        (b"name,label", "holds another table"),
        (b"\xef\xbb\xbf" + ours, "saved anew"),
        (ours.replace(b"a,whole", b"a"), "line 2 is damaged: it has 4 cells, not 5"),
        (ours.replace(b"a,whole", b"a,half"), "line 2 is damaged: kind can't be 'half'"),
        (ours.replace(b"a,", b"\xff,"), "not text in UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=why), RowFile(path, Line) as file:
            list(file.rows())
        assert path.read_bytes() == content
    lines = tmp_path / "table.jsonl"
    lines.write_text('{"name": "a"}\n{"name": 3}\n')
    with pytest.raises(InputError, match="line 2 is damaged: name"), RowFile(lines, Line) as file:
        list(file.rows())


def test_one_at_a_time_and_nothing_where_nothing_was_added(tmp_path):
    path = tmp_path / "table.csv"
    with RowFile(path, Line):
        with pytest.raises(InputError, match="being written"), RowFile(path, Line):
            pass
        assert path.exists()
    assert not path.exists()


WRITER = """
import sys
from dataclasses import make_dataclass
from pathlib import Path
from clare.row_file import RowFile

kinds = {"name": str, "kind": str, "number": int, "value": float | None, "good": bool}
Line = make_dataclass("Line", kinds.items())
with RowFile(Path(sys.argv[1]), Line, lambda row: row.kind == "whole") as file:
    list(file.rows())
    for number in range(10**9):
        pair = (Line(name, name, number, None, True) for name in ("part", "whole"))
        file.add(list(pair))
"""


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_a_killed_writer_leaves_pairs_of_rows_and_no_lock(tmp_path, ending):
    path = tmp_path / f"table{ending}"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    try:
        while not path.exists() or path.stat().st_size < 100_000:
            assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()
    with RowFile(path, Line, lambda row: row.kind == "whole") as file:
        rows = list(file.rows())
        file.add([Line("c")])
    numbers = [row.number for row in rows]
    assert numbers == [number for number in range(len(rows) // 2) for _ in range(2)]
    with RowFile(path, Line) as file:
        assert list(file.rows()) == [*rows, Line("c")]

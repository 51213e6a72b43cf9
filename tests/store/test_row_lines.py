"""Lines of an index give the rows that they say, whichever way they are read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clare.store.records import checksum, seal
from clare.store.row import DECIDING, Row
from clare.store.row_lines import LineReader
from clare.store.segments import Entry
from tests.store.test_rows import as_told

COUNTED = ("label", *DECIDING)
KINDS = {
    "text": st.text(max_size=4),
    "whole": st.integers(-(2**63), 2**63 - 1),
    "fraction": st.floats(allow_nan=False, allow_infinity=False),
    "truth": st.booleans(),
    "list": st.lists(st.integers(0, 9), max_size=2),
    "table": st.dictionaries(st.sampled_from(["label", "boxes", "x"]), st.integers(0, 1)),
}
NAMES = st.sampled_from(["boxes", "pair_id", "width", 'x"label', "la\\bel", "é", "0"])
IDS = st.text(st.characters(blacklist_categories=["Cc"]), min_size=1, max_size=4)


@st.composite
def alike(draw, odd=False):
    """Entries whose columns have the same names and kinds; if odd, all but one."""
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    kinds = {
        name: KINDS["text"] if name in DECIDING else KINDS[draw(st.sampled_from(sorted(KINDS)))]
        for name in names
    }
    columns = st.fixed_dictionaries({"label": st.sampled_from((0, 1)), **kinds})
    many = draw(st.lists(columns, min_size=1, max_size=4))
    if odd:
        one = draw(st.integers(0, len(many) - 1))
        many[one] = {**many[one], "width": draw(KINDS[draw(st.sampled_from(sorted(KINDS)))])}
    return [
        Entry(
            Row(
                sample_id=draw(IDS),
                view=draw(st.integers(0, 3)),
                content=draw(st.sampled_from(("", "ab01")) | st.text(max_size=3)),
                columns=one,
                slot=slot,
            ),
            draw(st.integers(0, 2**63 - 1)),
        )
        for slot, one in enumerate(many)
    ]


def require_same(entries):
    lines = [seal(entry.to_json()) for entry in entries]
    rows, turns = LineReader().read(lines)
    assert [as_told(row) for row in rows] == [as_told(entry.row) for entry in entries]
    assert turns.tolist() == [entry.turn for entry in entries]
    few, again = LineReader(COUNTED).read(lines)
    assert set(few.columns) == {*COUNTED} & {name for one in entries for name in one.row.columns}
    for name in COUNTED:
        assert few.column(name).tolist() == rows.column(name).tolist()
    np.testing.assert_array_equal(few.identity_checksums(), rows.identity_checksums())
    assert again.tolist() == turns.tolist() and few.slots.tolist() == rows.slots.tolist()
    assert few.sample_ids.tolist() == rows.sample_ids.tolist()


@given(entries=alike())
def test_lines_that_differ_in_their_values_alone(entries):
    require_same(entries)


@given(entries=alike(odd=True))
def test_lines_of_which_one_has_other_columns(entries):
    require_same(entries)


@pytest.mark.parametrize("only", [None, COUNTED])
@pytest.mark.parametrize("wrong", ["00", "+0", "0.", "0,", '"0', "٠"])
def test_a_value_that_is_no_json_is_refused_beside_one_that_is(only, wrong):
    row = Row(sample_id="a", view=0, content="", columns={"label": 0}, slot=0)
    good = seal(Entry(row, 0).to_json())
    body = good[:-22].replace(b'"label":0', b'"label":' + wrong.encode())
    bad = b'%s,"crc32c":"%08x"}\n' % (body, checksum(body))
    assert len(LineReader(only).read([good, good])[0]) == 2
    with pytest.raises(ValueError):
        LineReader(only).read([good, bad])

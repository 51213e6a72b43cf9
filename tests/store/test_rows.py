"""Rows as columns are the same rows: whichever columns they have, and of whatever kind."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clare.store.feature_store import create_store, open_store
from clare.store.row import Row
from clare.store.rows import Rows, join_rows, rows_of

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
)
VALUES = PLAIN | st.lists(PLAIN, max_size=2) | st.dictionaries(st.text(max_size=2), PLAIN)
COLUMNS = st.fixed_dictionaries(
    {"label": st.sampled_from((0, 1))},
    optional={
        "split": st.sampled_from(("", "train", "test")),
        "boxes": st.sampled_from(("", "1,2,3,4")),
        "face_points": st.just("5,6"),
        "mask_content": st.just("ab"),
        "mask_fake": st.sampled_from(("", "black")),
        "x": VALUES,
        "y": PLAIN,
    },
)


@st.composite
def lists_of_rows(draw) -> list[Row]:
    columns = draw(st.lists(COLUMNS, max_size=6))
    return [
        Row(sample_id=f"s{n // 2}", view=n % 2, content=f"c{n}", columns=one, slot=n)
        for n, one in enumerate(columns)
    ]


def same(one: Rows, other: list[Row]) -> bool:
    """Equal values of equal types, where 1, 1.0 and True are three."""
    return [as_told(row) for row in one] == [as_told(row) for row in other]


def as_told(row: Row) -> tuple[object, ...]:
    return row.sample_id, row.view, row.content, row.slot, json.dumps(row.columns, sort_keys=True)


@given(rows=lists_of_rows())
def test_columns_give_the_rows_back(rows):
    made = rows_of(rows)
    assert same(made, rows)
    assert same(pickle.loads(pickle.dumps(made)), rows)
    assert [made[n] for n in range(len(made))] == list(made)
    assert [made[n - len(made)] for n in range(len(made))] == list(made)
    assert same(made[1:4], rows[1:4]) and same(made[::-1], rows[::-1])
    assert made.identity_checksums().tolist() == [row.identity_checksum for row in rows]
    for name in ("split", "boxes", "x", "y"):
        assert made.column(name).tolist() == [row.columns.get(name) for row in rows]
    assert made.names() == list(dict.fromkeys(n for row in rows for n in sorted(row.columns)))


@given(one=lists_of_rows(), other=lists_of_rows())
def test_joined_and_chosen_rows_are_those_rows(one, other):
    joined = join_rows([rows_of(one), rows_of(other)])
    assert same(joined, one + other)
    even = np.arange(len(joined)) % 2 == 0
    assert same(joined.take(even), (one + other)[::2])
    kept = rows_of((one + other)[::2]).columns
    kinds = {name: joined.take(even).columns[name].dtype for name in kept}
    assert kinds == {name: column.dtype for name, column in kept.items()}
    assert same(join_rows([]), [])


@given(rows=lists_of_rows())
def test_a_store_gives_back_what_it_was_given(rows, tmp_path_factory):
    store = create_store(tmp_path_factory.mktemp("rows") / "features.zarr")
    given = store.assign_rows("faces", rows)
    assert same(given, rows)
    if rows:
        assert same(open_store(store.path).rows("faces"), rows)
        before = store.layout.segment("faces", 0).stat().st_mtime_ns
        again = store.assign_rows("faces", rows)
        assert same(again, rows) and store.layout.segment("faces", 0).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sample_id": ""}, "no sample_id"),
        ({"sample_id": "a\x1b"}, "control characters"),
        ({"content": None}, "no hash of its content"),
        ({"columns": None}, "'s1' has no columns"),
        ({"view": -1}, "a row's view"),
        ({"columns": {}}, "'s1' has the label None"),
        ({"columns": {"label": True}}, "'s1' has the label True"),
        ({"columns": {"label": 1, "x": 2**63}}, "'s1' has a number of more than 64 bits"),
        ({"columns": {"label": 1, "x": float("nan")}}, "'s1' has no finite number"),
        ({"columns": {"label": 1, "x": [[1]]}}, "x of 's1' is no plain value"),
        ({"columns": {"label": 1, "boxes": 3}}, "boxes of 's1' is no text"),
        ({"columns": {"label": 1, "split": "all"}}, "'s1' has the split 'all'"),
        ({"columns": {"label": 1, "mask_fake": "grey"}}, "'s1' has the mask_fake 'grey'"),
        ({"columns": {"label": 1, "path": "../x"}}, "path of 's1' leaves its root"),
    ],
)
def test_one_row_that_no_reader_takes_is_named_among_others(change, why):
    good = {"view": 0, "content": "", "columns": {"label": 0, "split": "", "x": 1}}
    rows = [Row(**({"sample_id": f"s{n}"} | good | (change if n == 1 else {}))) for n in range(3)]
    with pytest.raises(ValueError, match=why):
        rows_of(rows)

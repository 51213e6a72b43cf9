"""Paths of another machine: what is left of them stays below a root and keeps its label."""

from hypothesis import given
from hypothesis import strategies as st

from clare.labels import read_label
from clare.pipeline.manifests.prefixes import later_starts, plain_parts


@given(st.text("./\\ab:C", max_size=20))
def test_plain_parts_never_leave_a_root(text):
    parts = plain_parts(text)
    assert not {"", ".", ".."} & set(parts) and not any("/" in p or "\\" in p for p in parts)


@given(st.lists(st.sampled_from(["real", "fake", "a", "b"])), st.integers(0, 1), st.integers(0, 3))
def test_what_is_dropped_is_shared_or_leaves_the_label(folder, label, shared):
    for start in later_starts(folder, label, shared):
        assert 1 <= start <= len(folder)
        assert start <= shared or label in [read_label(part) for part in folder[start:]]

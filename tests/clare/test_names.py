"""Paths from a file: many are told at once to be plain, and none is that one alone refuses."""

from hypothesis import given
from hypothesis import strategies as st

from clare.names import are_clean, path_fault

CHARACTERS = st.text(st.sampled_from("ab./\\:\n\x00é"), max_size=6)


@given(st.lists(CHARACTERS, max_size=4))
def test_many_paths_are_as_each_alone(paths):
    assert not are_clean(paths) or not any(map(path_fault, paths))


def test_plain_paths_are_told_at_once():
    assert are_clean([f"faces/{n:06d}/{n % 20:03d}.png" for n in range(1000)])
    assert not are_clean(["a.png", "b/../c.png"])

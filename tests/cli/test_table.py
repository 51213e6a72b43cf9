"""Tables in terminals of any width: whole words and numbers."""

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from clare.cli.views.table import fold, table

WORDS = st.text("abcdefgh", min_size=1, max_size=14)
NAMES = st.one_of(
    WORDS,
    st.lists(WORDS, min_size=1, max_size=8).map(" ".join),
    st.lists(WORDS, min_size=2, max_size=6).map("/".join),
)
NUMBERS = st.tuples(st.floats(-9, 9), st.floats(-1, 1)).map(lambda x: f"{x[0]:.3f}\n{x[1]:+.3f}")


def lines_of(made, width) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(made, crop=False)
    return out.getvalue().splitlines()


def words_in(text) -> list[str]:
    """What must not be broken: words, and the parts of paths."""
    return [word for word in re.split(r"(?<=/)|\s+", text) if word]


@st.composite
def tables(draw):
    left = draw(st.integers(1, 3))
    numbers = draw(st.integers(0, 8))
    heads = draw(st.lists(NAMES, min_size=left + numbers, max_size=left + numbers))
    row = st.tuples(*[NAMES] * left, *[NUMBERS] * numbers)
    return heads, draw(st.lists(row, min_size=1, max_size=4)), left


@settings(max_examples=50)
@given(tables(), st.sampled_from([30, 60, 80, 100, 120]))
def test_no_word_and_no_number_is_cut_or_folded(made, width):
    heads, rows, left = made
    lines = lines_of(table("title", heads, rows, left=left), width)
    assert all(len(line.rstrip()) <= width for line in lines), "no word is wider than this"
    shown = {word for line in lines for word in words_in(line.replace("│", " ").replace("┃", " "))}
    assert set(words_in(" ".join(heads[left:]))) <= shown
    for row in rows:
        assert set(words_in(" ".join(row))) <= shown


def test_a_table_too_wide_stands_in_parts_that_repeat_the_names():
    heads = ("subset", *(f"figure {n}" for n in range(10)))
    rows = [(name, *["0.1234"] * 10) for name in ("heygen", "simswap")]
    lines = lines_of(table(None, heads, rows), 60)
    assert sum("heygen" in line for line in lines) == sum("subset" in line for line in lines) == 2
    assert sum(line.count("0.1234") for line in lines) == 20
    assert sum("heygen" in line for line in lines_of(table(None, heads, rows), 200)) == 1


def test_a_table_that_no_part_of_fits_is_a_block_a_row():
    rows = [("a/" + "b" * 50 + ".png", "fake", "0.99"), ("c.png", "real", "0.01")]
    assert lines_of(table(None, ("image", "verdict", "p(fake)"), rows, left=2), 40) == [
        "a/",
        "b" * 50 + ".png",
        "  verdict  fake",
        "  p(fake)  0.99",
        "c.png",
        "  verdict  real",
        "  p(fake)  0.01",
    ]


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("a/path/of/parts", 7, ["a/path/", "of/", "parts"]),
        ("unbreakable word", 4, ["unbreakable", "word"]),
        ("", 4, [""]),
    ],
)
def test_a_text_is_folded_between_words_and_after_slashes(text, width, lines):
    assert fold(text, width) == lines

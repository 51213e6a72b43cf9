"""Days and spans of days, as people write them."""

from datetime import date

import pytest

from clare.dates import read_span, span_text


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024", date(2024, 1, 1), date(2024, 12, 31)),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2024-02-05", date(2024, 2, 5), date(2024, 2, 5)),
        ("2023-11/2024", date(2023, 11, 1), date(2024, 12, 31)),
        ("2024-02-05 / 2024-02-05", date(2024, 2, 5), date(2024, 2, 5)),
        ("/2019-01", date.min, date(2019, 1, 31)),
    ],
)
def test_a_span_is_from_its_first_day_to_its_last(text, first, last):
    found = read_span(text)
    assert (found.first, found.last) == (first, last)


@pytest.mark.parametrize(
    "text",
    ["", "24", "2024-13", "2023-02-29", "2024-2", "5.2.2024", "2024/", "/", "0000", "2024-01-01T9"],
)
def test_what_is_no_date_is_one_sentence(text):
    with pytest.raises(ValueError, match="is no date: write 2024") as caught:
        read_span(text)
    assert "\n" not in str(caught.value)


def test_a_span_does_not_end_before_it_begins():
    with pytest.raises(ValueError, match="ends before it begins"):
        read_span("2024/2023")


@pytest.mark.parametrize(
    ("text", "said"),
    [("2024", "2024"), ("2014 / 2021", "2014 to 2021"), ("/2021-03", "by 2021-03")],
)
def test_spans_for_people(text, said):
    assert span_text(text) == said

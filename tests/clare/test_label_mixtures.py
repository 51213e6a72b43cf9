"""Labels of a table as a whole: numbers turned round, and truth values beside words."""

import pytest

from clare.errors import InputError
from clare.labels import Labels


def test_who_names_a_number_for_one_side_means_the_other_number_for_the_other():
    for turned in (Labels(real=("1",)), Labels(fake=("0",))):
        assert [turned.read(text) for text in ("0", "1", "0.0", 1)] == [1, 0, 1, 0]
    assert [Labels(real=("good",)).read(text) for text in ("0", "1")] == [0, 1]


@pytest.mark.parametrize("words", [("true", "fake"), ("real", "False"), ("TRUE", "false", "real")])
def test_truth_values_beside_words_are_refused(words):
    with pytest.raises(InputError, match=r"here: .*not known"):
        Labels().refuse_mixed(words, "here")


@pytest.mark.parametrize("words", [("true", "false"), ("true", "0"), ("real", "fake", "1")])
def test_one_kind_of_words_is_read(words):
    Labels().refuse_mixed(words, "here")


def test_who_names_the_words_has_decided():
    Labels(real=("true",), fake=("fake",)).refuse_mixed(("true", "fake"), "here")

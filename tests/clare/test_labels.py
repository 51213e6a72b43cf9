import pytest
from hypothesis import given
from hypothesis import strategies as st

from clare.errors import InputError
from clare.labels import FAKE_WORDS, REAL_WORDS, Labels, read_label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("0", 0), ("1", 1), (0, 0), (1, 1), (1.0, 1), ("0.0", 0), ("1.000", 1), (True, 1),
        (False, 0),
        ("REAL", 0), ("Fake", 1), (" real ", 0), ("nature", 0), ("AI", 1), ("original", 0),
        ("manipulated", 1), ("true", 1), ("False", 0), ("0_real", 0), ("1_fake", 1), ("1-Fake", 1),
        ("pixart_Real", 0), ("MRAA_Fake", 1), ("DFDCP_FakeB", 1), ("real_celeb", 0), ("fake 3", 1),
        ("realistic_Fake", 1),
        ("bona fide", 0), ("Bona-fide", 0), ("bonafide", 0), ("pristine", 0), ("spoof", 1),
        ("AI-generated", 1), ("deepfake", 1),
        ("1_real", None), ("0_fake", None), ("Fake_from_Celeb-real", None), ("whichisreal", None),
        ("real_fake", None), ("my_real_set", None), ("2", None), ("-1", None), ("", None),
        ("nan", None), ("1e0", None), ("FF-DF", None), ("0 a", None), ("dog", None),
    ],
)  # fmt: skip
def test_one_vocabulary_says_real_or_fake_or_neither(text, label):
    assert read_label(text) == label


@given(st.sampled_from(sorted(REAL_WORDS)), st.sampled_from(sorted(FAKE_WORDS)), st.data())
def test_words_of_both_kinds_together_say_nothing(real, fake, data):
    sign = data.draw(st.sampled_from("_- "))
    case = data.draw(st.sampled_from([str.upper, str.title, str.lower]))
    assert read_label(case(real)) == 0 and read_label(case(f"set{sign}{fake}")) == 1
    assert read_label(case(real + sign + fake)) is None


def test_own_words_come_before_the_vocabulary():
    labels = Labels(real=("bonafide", "1"), fake=("Spoof", "0"))
    found = [labels.read(text) for text in ("Bonafide", "spoof", "0", 1, "real", "other")]
    assert found == [0, 1, 1, 0, 0, None]


@pytest.mark.parametrize("text", ["", " ", "2", "-1", "nan", "0_fake", "dog"])
def test_a_label_that_is_not_known_is_refused_with_its_place(text):
    with pytest.raises(InputError, match=r"^scores\.csv, line 3: the label is ") as refused:
        Labels().require(text, "scores.csv, line 3")
    assert [getattr(one, "name", "") for one in refused.value.advice] == [
        "real_label",
        "fake_label",
    ]
    assert Labels(fake=(text,)).require(text, "here") == 1

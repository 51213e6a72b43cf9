import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ("1_real", None), ("0_fake", None), ("Fake_from_Celeb-real", None), ("whichisreal", None),
        ("real_fake", None), ("my_real_set", None), ("2", None), ("-1", None), ("", None),
        ("nan", None), ("1e0", None), ("FF-DF", None), ("dog", None),
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

"""Who is better, in a sentence."""

import pytest

from clare.bootstrap import Figure
from clare.heads.evaluation.better import NAMED, verdict
from clare.heads.evaluation.comparison import Comparison, Pair

AHEAD, BEHIND, TIED = (
    Figure(0.1, 0.05, 0.15, 9),
    Figure(-0.1, -0.15, -0.05, 9),
    Figure(0.1, -0.05, 0.25, 9),
)


def compared(*differences, mean=None):
    pairs = [Pair({}, {}, {"auc": difference}) for difference in differences]
    return Comparison(
        read_as=("margin", "margin"),
        rows=9,
        only_first=0,
        only_second=0,
        seed=0,
        resamples=1000,
        aside=(),
        alone=(),
        subsets={f"s{number}": pair for number, pair in enumerate(pairs)},
        macro=mean and Pair({}, {}, {"auc": mean}),
    )


@pytest.mark.parametrize(
    ("mean", "said"),
    [(AHEAD, "b leads (+0.1"), (BEHIND, "a leads (-0.1"), (TIED, "neither leads (+0.1")],
)
def test_few_subsets_are_named_with_their_differences(mean, said):
    text = verdict(compared(AHEAD, BEHIND, TIED, mean=mean), ("a", "b"))
    assert "b is better on s0 (+0.100, 95 % +0.050 to +0.150); a is better on s1" in text
    assert "neither is clearly better on s2 (+0.100, 95 % -0.050 to +0.250)" in text
    assert f"in the mean over 3 subsets {said}" in text


def test_without_an_interval_nothing_is_said_of_who_is_better():
    bare = Figure(0.1, None, None, 9)
    text = verdict(compared(TIED, bare, mean=bare), ("a", "b"))
    assert "neither is clearly better on s0 (" in text
    assert "without an interval nothing says who is better on s1 (+0.100); " in text
    assert "in the mean over 2 subsets nothing says who leads, without an interval (+0.1" in text
    text = verdict(compared(*[bare] * (NAMED + 1)), ("a", "b"))
    assert f"nothing says who is better on {NAMED + 1} of {NAMED + 1} subsets." in text


def test_many_subsets_are_counted():
    differences = [AHEAD, *([TIED] * NAMED)]
    text = verdict(compared(*differences, mean=AHEAD), ("a", "b"))
    assert f"b is better on 1 of {NAMED + 1} subsets; " in text
    assert f"neither is clearly better on {NAMED} of {NAMED + 1} subsets; in the mean" in text
    assert "s0" not in text

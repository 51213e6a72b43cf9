"""What would mend an error, worded as a notebook reads it."""

import pickle
from pathlib import Path

import pytest

from clare.advice import LeaveOut, Name, Notice, Run, Set
from clare.errors import InputError, StoreError


@pytest.mark.parametrize(
    ("advice", "words"),
    [
        (Name("a folder", "out"), "out="),
        (Name("a root", "root", "NAME=DIR"), "NAME=DIR"),
        (Set("recode", "jpeg:95"), "recode='jpeg:95'"),
        (Set("store", Path("a")), "store='a'"),
        (Set("lare.draws", 8), "settings={'lare': {'draws': 8}}"),
        (Set("classifier.normalize", True), "classifier_settings={'normalize': True}"),
        (Name("less", "fusion.heads"), "fusion_settings={'heads': …}"),
        (Set("features", ("lare", "clip"), "reads both"), "features=['lare', 'clip'] reads both"),
        (LeaveOut("reals"), "leave reals= out"),
        (LeaveOut("train", "reals", "domains"), "leave train=, reals= and domains= out"),
        (Run("extract", effect="makes one"), "`clare.extract()` makes one"),
        (Run("evaluate", (Path("a"),), {"subset": "x"}), "clare.evaluate('a', subset='x')"),
        (
            Run("extract", settings={"clip.model": "RN50", "clip.layers": [1], "crop": "none"}),
            "clare.extract(settings={'clip': {'model': 'RN50', 'layers': [1]}}, crop='none')",
        ),
        (Run("store.verify", ("a b",), {"repair": True}), "clare store verify 'a b' --repair"),
        (Run("store.drop", (), {"features": {"a": 1, "b": 2}}), "drop --features a=1,b=2"),
        ("free some space", "free some space"),
    ],
)
def test_advice_is_python_where_nobody_says_otherwise(advice, words):
    assert words in str(Notice("something is to be known", advice))


def test_several_names_share_their_verb():
    told = str(InputError("none", Name("a run", "run"), Name("a root", "root", "NAME=DIR")))
    assert told == "none: name a run with run= or a root with root= (as NAME=DIR)"


def test_one_of_several_remedies_is_enough():
    told = str(InputError("both", LeaveOut("reals"), Name("a subset", "train")))
    assert told.startswith("both: ") and ", or " in told
    assert str(InputError("both")) == "both"


def test_an_error_keeps_its_advice_between_processes():
    error = StoreError("there is none", Run("extract"), "or wait")
    again = pickle.loads(pickle.dumps(error))
    assert (again.what, again.advice, str(again)) == (error.what, error.advice, str(error))

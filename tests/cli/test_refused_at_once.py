"""What is refused by its name alone, before anything is loaded."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from clare.cli.app import main
try:
    main()
finally:
    print("torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("train-head --fusion cross_att", "did you mean cross_attn?"),
        ("train-head --classifier foo", "no classifier 'foo': there are cocoop"),
        ("train-head --preset foo", "preset 'foo' is not one of clare"),
        ("train-head --lr -1", "lr can't be -1.0: it is above 0"),
        ("train-head --seed -1", "seed can't be -1: it is 0 or more"),
        ("train-head --fraction 0", "above 0 and at most 1"),
        ("train-head --resume nope", "there is no run at nope"),
        ("sweep --fusion cross_att,lare", "did you mean cross_attn?"),
        ("sweep --vary foo=1", "no setting 'foo'"),
        ("run --real a --fake b --fusion cross_att", "did you mean cross_attn?"),
        ("extract --real a --features foo", "no extractor 'foo': there are clip"),
        ("extract --real a --preset foo", "preset 'foo' is not one of clare"),
        ("extract --real a --margin -1", "margin -1.0 is not between 0 and 10"),
        ("evaluate nope", "there is no run at nope"),
        ("report nope", "there is no run at nope"),
        ("report nope --out file/x.html", "file is a file: name another with --out"),
        ("predict nope a", "there is no run at nope"),
        ("compare nope nope", "there is no run and no CSV of scores at nope"),
    ],
)
def test_it_is_one_sentence_and_torch_is_not_imported(tmp_path, command, said):
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *command.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == "False\n"
    assert done.stderr.count("\n") == 1 and said in done.stderr


def test_what_is_not_installed_is_said_before_torch_is_imported(tmp_path):
    hidden = "import sys, importlib.util as u; f = u.find_spec\n"
    hidden += "u.find_spec = lambda name, *a: None if name == 'tensorboard' else f(name, *a)\n"
    done = subprocess.run(
        [sys.executable, "-c", hidden + SCRIPT, "train-head", "--tensorboard"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "False\n")
    assert "pip install 'clare-features[tensorboard]'" in done.stderr

"""What is refused by its name alone, before anything is loaded."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import contextlib, io, json, sys
from clare.cli.app import main
for line in sys.stdin:
    sys.argv = ["clare", *line.split()]
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, out.getvalue(), said.getvalue(), "torch" in sys.modules]))
"""
"""Commands one after the other, in a process in which none of them may load torch."""

COMMANDS = {
    "train-head --fusion cross_att": "did you mean cross_attn?",
    "train-head --classifier foo": "no classifier 'foo': there are adapter, cocoop",
    "train-head --preset foo": "preset 'foo' is not one of clare",
    "train-head --lr -1": "lr can't be -1.0: it is above 0",
    "train-head --seed -1": "seed can't be -1: it is 0 or more",
    "train-head --fraction 0": "above 0 and at most 1",
    "train-head --resume nope": "there is no run at nope",
    "sweep --fusion cross_att,lare": "did you mean cross_attn?",
    "sweep --vary foo=1": "no setting 'foo'",
    "run --real a --fake b --fusion cross_att": "did you mean cross_attn?",
    "extract --real a --features foo": "no extractor 'foo': there are clip",
    "extract --real a --preset foo": "preset 'foo' is not one of clare",
    "extract --real a --margin -1": "margin -1.0 is not between 0 and 10",
    "bench --seconds nan": "can't take nan seconds: name a number above 0 with --seconds (as 30)",
    "bench --seconds inf": "a trial can't take inf seconds",
    "bench --seconds 0": "a trial can't take 0 seconds",
    "bench --images 0": "images 0 is not 1 or more",
    "bench --size 8": "size 8 is not 16 pixels or more",
    "evaluate nope": "there is no run at nope",
    "report nope": "there is no run at nope",
    "report nope --out file/x.html": "file is a file: name another with --out",
    "predict nope a": "there is no run at nope",
    "compare nope nope": "there is no run and no CSV of scores at nope",
}


def refuse(place, *commands, before=""):
    """Exit code, standard output and error, and whether torch is imported, of each command."""
    done = subprocess.run(
        [sys.executable, "-c", before + SCRIPT],
        input="\n".join(commands),
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(commands, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    place = tmp_path_factory.mktemp("refused")
    (place / "file").touch()
    return refuse(place, *COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_one_sentence_and_torch_is_not_imported(refused, command):
    code, out, said, torch = refused[command]
    assert (code, out, torch) == (1, "", False)
    assert said.count("\n") == 1 and COMMANDS[command] in said


@pytest.mark.parametrize("board", ["tensorboard", "wandb"])
def test_what_is_not_installed_is_said_before_torch_is_imported(tmp_path, board):
    hidden = "import sys, importlib.util as u; f = u.find_spec\n"
    hidden += f"u.find_spec = lambda name, *a: None if name == '{board}' else f(name, *a)\n"
    command = f"train-head --{board}"
    code, out, said, torch = refuse(tmp_path, command, before=hidden)[command]
    assert (code, out, torch) == (1, "", False)
    assert f"pip install 'clare-features[{board}]'" in said

"""The commands as a user types them: what they print, how they fail, what they return."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from typer.main import get_command

from clare.cli import defaults as config
from clare.cli.app import app
from clare.cli.command import AGAIN, commands_below
from clare.cli.views.progress import ExtractView
from clare.errors import InputError
from clare.pipeline.extraction.job import run_job

FOLDERS = ("--backbone", "tiny", "--micro-batch", "8")


def test_folders_go_into_a_store_and_come_out_again(clare, few_pictures):
    folders = ("--real", few_pictures / "real", "--fake", f"toy={few_pictures / 'fake'}")
    code, out, err = clare("extract", *folders, *FOLDERS)
    assert code == 0, err
    assert "8 rows" in out and "0 failed" in out
    assert "mean nothing" in err and "GiB free" in err
    assert "next: clare train-head" in err
    code, out, _ = clare("extract", *folders, *FOLDERS)
    assert code == 0 and "nothing is missing" in out

    code, out, _ = clare("store", "info")
    assert code == 0 and "mean nothing" in out and "lare" in out and "clip_tokens" in out
    code, out, _ = clare("store", "info", "--json")
    found = json.loads(out)
    assert found["subsets"]["toy"]["labels"] == {"1": 4}
    assert found["subsets"]["real"]["features"]["lare"][0]["complete"] == 4

    assert clare("store", "verify")[0] == 0
    code, out, _ = clare("store", "stats")
    assert code == 0 and "clip_cls" in out

    assert clare("store", "export", "--subset", "toy", "--out", "toy.h5")[0] == 0
    assert clare("store", "import", "toy.h5", "--store", "other.zarr")[0] == 0
    code, out, _ = clare("store", "info", "other.zarr", "--json")
    copied = json.loads(out)["subsets"]["toy"]
    assert copied["features"]["clip"][0]["complete"] == 4
    assert clare("store", "verify", "other.zarr")[0] == 0


def test_a_manifest_is_built_and_extracted_by_name(clare, few_pictures):
    code, out, err = clare(
        "manifest", "build", "--subset", "faces", "--real", few_pictures / "real",
        "--fake", few_pictures / "fake", "--out", "data_manifests/faces.csv",
    )  # fmt: skip
    assert code == 0, err
    assert "8 images" in out and str(few_pictures) in out
    code, out, err = clare("extract", "--subset", "faces", "--root", few_pictures, *FOLDERS)
    assert code == 0, err
    assert "8 rows" in out


@pytest.mark.parametrize("left", [0, 1])
def test_a_task_that_leaves_shards_to_others_does_not_say_to_train(
    clare, few_pictures, monkeypatch, left
):
    def leaving(*job):
        return replace(run_job(*job), left=left)

    monkeypatch.setattr("clare.pipeline.extraction.job.run_job", leaving)
    folders = ("--real", few_pictures / "real", "--fake", few_pictures / "fake")
    code, _, err = clare("extract", *folders, "--features", "pixels")
    assert code == 0
    assert ("clare train-head" in err) == (left == 0)


def test_too_many_failures_give_exit_code_3(clare, pictures, tmp_path):
    faces = tmp_path / "faces"
    faces.mkdir()
    for file in sorted((pictures / "real").iterdir())[:9]:
        (faces / file.name).write_bytes(file.read_bytes())
    (faces / "broken.png").write_bytes(b"")
    command = ("extract", "--real", faces, "--features", "pixels", "--store")
    code, out, err = clare(*command, "one")
    assert code == 3 and "broken.png" in out and "1 failed" in out
    assert "exit code 3: 1 of 10 rows failed, more than --max-failures 1% allows" in err
    assert clare(*command, "two", "--max-failures", "10%")[0] == 0
    code, _, err = clare(*command, "three", "--strict")
    assert code == 1 and "broken.png" in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("extract",), "--subset"),
        (("extract", "--subset", "unheard-of"), "clare manifest build"),
        (("extract", "--subset", "PixArt"), "df40_test=DIR"),
        (("manifest", "build", "--subset", "pixart"), "--dataset df40"),
        (("manifest", "check"), "clare manifest build"),
        (("extract", "--real", "nowhere", *FOLDERS), "nowhere"),
        (("extract", "--fake", "./nowhere/t=200", *FOLDERS), "nowhere/t=200 is"),
        (("extract", "--fake", "toy=", *FOLDERS), "NAME=DIR"),
        (("extract", "--fake", "Überblendung=x", *FOLDERS), "'Überblendung' can't be a name"),
        (
            ("extract", "--real", "REALS", "--reals", "x"),
            "leave --reals out, or name them with --real",
        ),
        (("extract", "--real", "REALS", "--root", "REALS", *FOLDERS), "leave --root out"),
        (("extract", "--real", "REALS", "--preset", "nope"), "clare-published"),
        (("extract", "--real", "REALS", "--max-failures", "often"), "1%"),
        (("extract", "--real", "REALS", "--set", "lare"), "PART.SETTING=VALUE"),
        (("extract", "--real", "REALS", "--device", "cuda:99"), "--device cpu"),
        (("extract", "--real", "REALS", "--features", ""), "--features"),
        (("extract", "--real", "REALS", "--features", " , "), "--features"),
        (("store", "info", "absent.zarr"), "absent.zarr"),
        (("store", "verify", "REALS", "--repair"), "no feature store"),
        (("store", "import", "absent.h5"), "absent.h5"),
    ],
)
def test_a_mistake_is_one_sentence(clare, pictures, args, said):
    code, _, err = clare(*(pictures / "real" if part == "REALS" else part for part in args))
    assert code == 1
    assert said in err and "Traceback" not in err and len(err.strip().splitlines()) == 1


def test_absent_weights_name_the_ways_out(clare, pictures):
    code, _, err = clare("extract", "--real", pictures / "real")
    assert code == 1
    assert "hf download" in err and "local folder" in err and "--backbone tiny" in err


def test_nobody_who_took_the_tiny_models_is_sent_to_them(clare, pictures):
    real = ("extract", "--real", pictures / "real", "--backbone", "tiny")
    for setting in (("--clip-model", "ViT-L-14"), ("--sd-model", "sd2.1-base")):
        code, _, err = clare(*real, *setting)
        assert code == 1 and "a setting names it in its place" in err
        assert "--backbone tiny" not in err and "leave --sd-model and --clip-model out" in err


def test_other_settings_beside_each_other_are_told_apart(clare, pictures):
    command = ("extract", "--real", pictures / "real", "--features", "pixels")
    assert clare(*command)[0] == 0
    assert clare(*command, "--resize", "64", "--set", "pixels.size=32")[0] == 0
    _, out, _ = clare("store", "info")
    assert "several settings" in out and "images.resize" in out and "size" in out


def test_clare_toml_fills_in_what_environment_and_options_leave_out(clare, tmp_path, pictures):
    (tmp_path / "clare.toml").write_text('store = "from-file.zarr"\n[roots]\ndf40_test = "/d"\n')
    assert clare("extract", "--real", pictures / "real", "--features", "pixels")[0] == 0
    assert (tmp_path / "from-file.zarr").is_dir()


@pytest.mark.parametrize("text", ["store = 3", "stores = 'x'", "roots = 'x'", "store = "])
def test_a_wrong_clare_toml_is_refused(tmp_path, text):
    file = tmp_path / "clare.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"clare\.toml"):
        config.load_defaults(file)


def test_a_home_folder_in_clare_toml_is_expanded(clare, tmp_path, pictures, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "clare.toml").write_text('store = "~/mine.zarr"\n')
    assert clare("extract", "--real", pictures / "real", "--features", "pixels")[0] == 0
    assert (tmp_path / "home" / "mine.zarr").is_dir() and not (tmp_path / "~").exists()


def test_features_may_stand_apart(clare, pictures):
    code, out, err = clare("extract", "--real", pictures / "real", "--features", "pixels, mask,")
    assert code == 0 and "40 rows" in out, err


def test_a_subset_that_is_not_there_has_no_statistics(clare, pictures):
    assert clare("extract", "--real", pictures / "real", "--features", "pixels")[0] == 0
    code, out, err = clare("store", "stats", "--subset", "nope")
    assert code == 1 and not out and "no subset 'nope'; it has: real" in err


def test_one_problem_is_one(clare, pictures, tmp_path):
    assert clare("extract", "--real", pictures / "real", "--features", "pixels")[0] == 0
    (tmp_path / "features.zarr" / "notes.txt").write_text("x")
    code, out, _ = clare("store", "verify")
    assert code == 1 and "1 problem; mend" in out
    (tmp_path / "features.zarr" / "more.txt").write_text("x")
    assert "2 problems; mend" in clare("store", "verify")[1]


def test_a_bad_file_leaves_no_store_behind(clare, tmp_path):
    (tmp_path / "bad.h5").write_bytes(b"no")
    code, _, err = clare("store", "import", "bad.h5", "--store", "new.zarr")
    assert code == 1 and "bad.h5" in err and not (tmp_path / "new.zarr").exists()


PRESS = """
import atexit, os, signal, sys, threading, time
press = lambda *_, **__: os.kill(os.getpid(), signal.SIGINT)
class Importing:
    def __init__(self, do, name="clare.cli.app"): self.do, self.name = do, name
    def find_spec(self, name, *_):
        if name == self.name: self.name = None; self.do()
class Lost:
    def __del__(self): press()
def wrapped():
    try: press()
    except KeyboardInterrupt as error: raise ImportError("no library") from error
def at(do): sys.meta_path.insert(0, Importing(do))
def waiting():
    threading.main_thread().join()
    while True:  # one that comes just before Python waits for the thread is lost
        press()
        time.sleep(0.1)
"""
"""What the moments of `test_ctrl_c_at_any_moment` are made of."""


@pytest.mark.parametrize(
    "moment",
    {
        "an import": "at(press)",
        "text that is run, as a dataclass is made": "at(lambda: exec('press()'))",
        "an import that fails over it": "at(wrapped)",
        "an object's end": "at(lambda: (Lost() and None, threading.Event().wait(30)))",
        "the command line, read": "at(lambda: None); import typer.core; "
        "typer.core.TyperGroup.make_context = press",
        "Python's end": "at(lambda: atexit.register(press))",
        "a thread that Python waits for": "threading.Thread(target=waiting).start()",
    }.items(),
    ids=lambda moment: moment[0],
)
def test_ctrl_c_at_any_moment_is_one_sentence(moment):
    script = f"{PRESS}\n{moment[1]}\nfrom clare.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "--version"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (130, "clare: stopped\n")


def test_ctrl_c_after_all_is_done_changes_nothing():
    script = f"{PRESS}\nimport typer; typer.lost = Lost()\nfrom clare.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_that_is_ignored_stays_so():
    script = f"{PRESS}\nat(press)\nfrom clare.__main__ import main; main()"
    ignoring = f"trap '' INT; exec {sys.executable} -c {shlex.quote(script)} --version"
    done = subprocess.run(["bash", "-c", ignoring], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""


def test_ctrl_c_keeps_what_is_done(clare, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(ExtractView, "extracting", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    command = ("extract", "--real", pictures / "real", "--features", "pixels", "--views", "3")
    code, _, err = clare(*command)
    assert code == 130 and AGAIN in err
    assert "Traceback" not in err
    assert list(tmp_path.glob("features.zarr/journal/**/*.json"))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("extract",), "[default: 200]"),
        (("extract",), "CLARE_ROOT_NAME."),
        (("manifest", "build"), "CLARE_ROOT_NAME."),
        (("manifest", "protocols"), "[default: all]"),
    ],
)
def test_the_help_shows_defaults_and_names(clare, command, words):
    assert words in clare(*command, "--help")[1]


def test_the_help_shows_every_word_that_is_written(clare):
    def letters(text):
        return re.sub(r"[\s│`]+", "", text)

    tree = get_command(app)
    commands: list[tuple[tuple[str, ...], Any]] = [((), tree), *commands_below(tree)]
    for path, command in commands:
        shown = letters(clare(*path, "--help")[1])
        for text in (command.help, *(getattr(one, "help", None) for one in command.params)):
            assert letters(text or "") in shown, (path, text)
    assert len(commands) > 15

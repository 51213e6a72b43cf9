"""Job scripts: what is typed is checked, quoted and run; signals, limits and queueing again."""

import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest
from typer.main import get_command

from clare.cli.app import app
from clare.cli.command import commands_below
from clare.cli.job_script import JobSettings, job_script
from clare.errors import InputError

COMMANDS = dict(commands_below(get_command(app)))


@pytest.mark.parametrize("name", ["extract", "sweep", "train-head"])
def test_a_script_takes_every_option_of_its_command(name):
    own = {option for one in COMMANDS[name,].params for option in one.opts} - {
        "--cluster",
        "--shared-by",
    }
    assert own <= {option for one in COMMANDS["slurm", name].params for option in one.opts}


def test_what_was_typed_is_run_without_the_options_of_the_job(clare, tmp_path, monkeypatch):
    (tmp_path / "a b").mkdir()
    (tmp_path / "set up.sh").touch()
    monkeypatch.setenv("CLARE_STORE", "it's.zarr")
    job = ("--array", "32%8", "--gpus=1", "--time", "4:00:00", "--setup", "set up.sh")
    words = ("extract", "--real", "a b", "--features", "pixels", "--set", "pixels.size=64")
    code, script, err = clare("slurm", *words[:3], *job, *words[3:], "--account", "A")
    assert code == 0, err
    assert f"\n{shlex.join(['clare', *words])} &\n" in script
    lines = script.splitlines()
    wanted = {"array=0-31%8", "gres=gpu:1", "time=4:00:00", "account=A", "requeue"}
    wanted |= {"open-mode=append", "output=%x_%A_%a.out", "job-name=clare-extract"}
    assert {f"#SBATCH --{one}" for one in wanted} <= set(lines)
    assert f". {shlex.quote(str(tmp_path / 'set up.sh'))} || exit 1" in lines
    assert f"cd -- {tmp_path} || exit 1" in lines
    assert "export CLARE_STORE='it'\"'\"'s.zarr'" in lines
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("extract", "--subset", "nosuch"), "nosuch"),
        (("extract", "--real", ".", "--features", "clop"), "did you mean clip?"),
        (("extract", "--real", ".", "--arrays", "2"), "No such option: --arrays"),
        (("extract", "--real", ".", "--array", "0"), "name one with --array (as 32"),
        (("extract", "--real", ".", "--account", "a; rm"), "is no account for SLURM"),
        (("extract", "--real", ".", "--setup", "nosuch.sh"), "nosuch.sh is no file"),
        (("extract", "--real", ".", "--time", "2"), "120 seconds before the limit of 2 may come"),
        (("extract", "--real", ".", "--time", "3"), "up to a minute early"),
        (("sweep", "--time", "0-0:30", "--notice", "1800"), "name a longer limit with --time"),
        (("extract", "--real", ".", "--restarts", "-1"), "restarts must be at least 0"),
        (("sweep", "--fusion", "clss"), "did you mean cls?"),
        (("train-head", "--array", "2"), "No such option: --array"),
        (("train-head", "--fusion", "clss"), "did you mean cls?"),
        (("train-head",), "name it with --out (as runs/esa)"),
    ],
)
def test_a_typo_is_refused_before_anything_is_queued(clare, words, told):
    code, script, err = clare("slurm", *words)
    assert code in (1, 2) and not script and told in err


def test_a_head_on_one_line_whatever_was_typed():
    words = ["clare", "extract", "a\nb"]
    script = job_script(JobSettings(), words, Path("/x"), {}, ["a\n#SBATCH --x"])
    assert not [line for line in script.splitlines() if line.startswith("#SBATCH --x")]


@pytest.mark.parametrize("value", ["a b", "a\nb", "$(x)", "", "a'b"])
def test_a_directive_holds_plain_words_alone(value):
    with pytest.raises(InputError):
        JobSettings(partition=value)


def test_a_cluster_that_is_none_is_refused_at_once(clare, tmp_path):
    code, _, err = clare("extract", "--real", tmp_path, "--cluster", "nowhere")
    assert code == 1 and "name one with --cluster (as local:2" in err


PROGRAM = """#!/bin/bash
trap 'echo warned; [ -n "$1" ] && exit $1' USR1
[ "$1" = 138 ] && trap - USR1  # it still begins
trap 'echo ended; exit 75' TERM
echo begun
for _ in {1..100}; do sleep 0.05; done
"""


@pytest.fixture
def job(tmp_path):
    """Run a script around a program that heeds signals: (signal, exit code on USR1) -> output."""
    (tmp_path / "bin").mkdir()
    for name, text in (("clare", PROGRAM), ("scontrol", '#!/bin/bash\necho "$@"\n')):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "setup.sh").write_text(f"PATH={tmp_path / 'bin'}:$PATH\n")

    def run(number, code, **environment):
        settings = JobSettings(setup=tmp_path / "setup.sh", restarts=3)
        script = job_script(settings, ["clare", str(code)], tmp_path, {}, [])
        running = subprocess.Popen(
            ["bash", "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ | environment
        )
        assert running.stdout is not None and running.stdout.readline() == "begun\n"
        time.sleep(0.05)
        running.send_signal(number)
        said = running.communicate(timeout=30)[0].split("\n")[:-1]
        return running.returncode, said

    return run


ARRAY = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "2"}


def test_limits_that_leave_time_before_the_notice_are_taken():
    for limit in ("4", "3:01", "0:03:01", "1-0", "0-1", "0-0:04", "0"):
        JobSettings(time=limit)


@pytest.mark.parametrize(
    ("number", "code", "environment", "said"),
    [
        (10, 75, ARRAY, ["warned", "requeue 5_2"]),
        (10, 75, {"SLURM_JOB_ID": "7"}, ["warned", "requeue 7"]),
        (10, 75, {**ARRAY, "SLURM_RESTART_COUNT": "2"}, ["warned", "requeue 5_2"]),
        (10, 75, {**ARRAY, "SLURM_RESTART_COUNT": "3"}, ["warned"]),
        (10, 3, ARRAY, ["warned"]),
        (15, 75, ARRAY, ["ended"]),
    ],
)
def test_a_task_is_queued_again_after_its_limit_alone(job, number, code, environment, said):
    assert job(number, code, **environment) == (code, said)


def test_a_warning_that_kills_a_command_which_still_begins_has_it_queued_again(job):
    assert job(10, 138, **ARRAY) == (75, ["requeue 5_2"])

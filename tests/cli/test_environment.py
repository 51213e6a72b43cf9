"""What the machine refuses is one sentence; an output that nobody takes ends a command quietly."""

import errno
import os
import subprocess
import sys

import pytest

from clare.cli.command import AGAIN
from clare.errors import ClareError, DiskSpaceError, InputError, StoreError
from clare.files import TRACEBACK, environment_error
from clare.heads.training import trainer


@pytest.mark.parametrize("number", sorted(set(errno.errorcode) - {errno.EPIPE}))
def test_no_number_of_the_system_reaches_a_user(number):
    said = environment_error(OSError(number, os.strerror(number), "/a/place"))
    assert said is not None and "Errno" not in str(said)
    full = number in (errno.ENOSPC, errno.EDQUOT)
    assert isinstance(said, DiskSpaceError) == full
    assert "/a/place" in str(said) or number == errno.ENOMEM


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), ClareError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), ClareError),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), ClareError),
        (OSError("Can't write data (errno = 28, error message = 'No space')"), DiskSpaceError),
        (Exception("I/O error: File too large (os error 27)"), StoreError),
        (OSError("I/O error: Os { code: 27, kind: FileTooLarge }"), StoreError),
    ],
)
def test_libraries_that_hide_the_number_are_understood(error, kind):
    assert isinstance(environment_error(error), kind)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("code: 28"),
        RuntimeError("a bug"),
        OSError("a bug"),
        RuntimeError("errno = 28 is not handled"),
        TypeError("expected a path, not 'No space left on device (os error 28)'"),
        AssertionError("(errno = 2, error message = 'No such file')"),
    ],
)
def test_a_bug_stays_a_bug(error):
    assert environment_error(error) is None


@pytest.mark.parametrize("streams", ["> /dev/full", "| true", ">&-", "2>&-", "> /dev/full 2>&1"])
def test_an_output_that_nobody_takes_ends_it_quietly(tmp_path, streams):
    # A whole page of help is more than a pipe that is closed can hold unread.
    command = f"{sys.executable} -m clare train-head --help {streams}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


def fails_with(error, clare, monkeypatch, *command):
    import clare.store.feature_store as opening

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(opening, "open_store", refuse)
    return clare(*command)


@pytest.mark.parametrize(
    "error", [OSError(errno.EFBIG, "x"), MemoryError(), PermissionError(13, "x", "y")]
)
def test_a_command_says_it_in_one_line_and_exits_with_1(clare, monkeypatch, error):
    code, _, err = fails_with(error, clare, monkeypatch, "store", "info", "s")
    assert code == 1
    assert err.startswith("clare: ") and err.count("\n") == 1


@pytest.mark.parametrize("error", [FileNotFoundError(2, "x", "y"), InputError("z is not usable")])
def test_an_error_that_may_be_a_bug_shows_where_it_came_from(clare, monkeypatch, error):
    code, _, err = fails_with(error, clare, monkeypatch, "store", "info", "s")
    assert code == 1 and err.count("\n") == 1
    assert (TRACEBACK in err) == isinstance(error, OSError), "a sentence of ours is no bug"
    monkeypatch.setenv(TRACEBACK, "1")
    code, _, err = fails_with(error, clare, monkeypatch, "store", "info", "s")
    assert code == 1 and f"in refuse\n    raise error\n{type(error).__name__}" in err.replace(
        "clare.errors.", ""
    )
    assert TRACEBACK in " ".join(clare("--help")[1].split())


@pytest.mark.parametrize(
    "command",
    [
        ("manifest", "status", "--manifests", "loop"),
        ("manifest", "build", "--dataset", "celebdf", "--root", "loop"),
        ("extract", "--real", "loop", "--features", "pixels"),
    ],
)
def test_links_that_lead_to_themselves_are_said(clare, tmp_path, command):
    (tmp_path / "loop").symlink_to("loop")
    code, _, err = clare(*command)
    assert code == 1 and "loop" in err and "Too many levels" in err and "Traceback" not in err


def test_a_reader_who_leaves_is_told_nothing(clare, monkeypatch):
    code, out, err = fails_with(BrokenPipeError(), clare, monkeypatch, "store", "info", "s")
    assert (code, out, err) == (1, "", "")


def test_what_would_steer_the_terminal_is_shown_instead(clare, tmp_path):
    _, _, err = clare("store", "info", tmp_path / "a\x1b[2Jb\udcff")
    assert "\x1b" not in err and "\\x1b[2Jb\\udcff" in err


def test_who_stops_a_training_is_told_how_to_go_on(features, clare, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    command = ("train-head", "--store", features, "--epochs", "1", "--out", "run")
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "take_reals", stop)
        code, _, err = clare(*command)
        assert code == 130 and err.endswith("clare: stopped\n"), "nothing was begun"
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_train_together", stop)
        code, _, err = clare(*command)
        assert code == 130
    told = err.splitlines()[-1]
    assert "clare train-head --resume run" in told
    code, _, err = clare(*told.partition("`clare ")[2].partition("`")[0].split())
    assert code == 0, err


def test_who_stops_an_extraction_is_told_that_it_goes_on(clare, pictures, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("clare.pipeline.extraction.job.run_job", stop)
    code, _, err = clare("extract", "--real", pictures / "real", "--features", "pixels")
    assert code == 130 and AGAIN in err


@pytest.mark.parametrize("command", ["extract", "sweep", "predict"])
def test_the_help_says_what_exit_code_3_means(clare, command):
    _, out, _ = clare(command, "--help")
    assert "Exit code 3" in out

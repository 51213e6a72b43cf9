"""The command line in a working folder of its own."""

import sys

import pytest

from clare.cli.app import main


@pytest.fixture
def clare(monkeypatch, tmp_path, capsys):
    """Run a command line in an empty working folder: (exit code, standard output, error)."""
    monkeypatch.chdir(tmp_path)
    for name in ("CLARE_STORE", "CLARE_ROOT", "CLARE_MANIFESTS"):
        # Set first, so that what the command itself sets is undone after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*args) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["clare", *map(str, args)])
        with pytest.raises(SystemExit) as done:
            main()
        captured = capsys.readouterr()
        return int(done.value.code or 0), captured.out, captured.err

    return run

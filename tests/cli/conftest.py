"""The command line in a working folder of its own."""

import os
import sys
from unittest import mock

import pytest

from clare.cli.app import main


@pytest.fixture
def clare(monkeypatch, tmp_path, capsys):
    """Run a command line in an empty working folder: (exit code, standard output, error)."""
    monkeypatch.chdir(tmp_path)

    def run(*args) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["clare", *map(str, args)])
        with pytest.raises(SystemExit) as done:
            main()
        captured = capsys.readouterr()
        return int(done.value.code or 0), captured.out, captured.err

    # What a command itself sets, from clare.toml, is undone after the test.
    with mock.patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith("CLARE_")]:
            del os.environ[name]
        yield run

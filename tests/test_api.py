"""The Python API: what `clare` names is there, documented, typed, and costs nothing to import."""

import ast
import inspect
import subprocess
import sys
import time
from pathlib import Path

import pytest

import clare

SOURCE = Path(clare.__file__).read_text("utf-8")


def run(script):
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("name", clare.__all__)
def test_a_name_is_there_and_says_what_it_is(name):
    found = getattr(clare, name)
    assert name in dir(clare)
    if name != "__version__":
        assert inspect.getdoc(found) and found.__module__.startswith("clare.")


def test_type_checkers_see_the_same_names():
    typed = {
        alias.name
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clare.")
        for alias in node.names
    }
    assert typed == set(clare.__all__)
    assert clare.__all__ == sorted(clare.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="extrakt"):
        clare.extrakt  # noqa: B018


def test_importing_it_takes_no_time_and_brings_nothing_heavy():
    script = (
        "import sys, time; start = time.perf_counter(); import clare;"
        "print(time.perf_counter() - start, *sys.modules)"
    )
    start = time.perf_counter()
    run("pass")
    python = time.perf_counter() - start
    taken, *modules = run(script).split()
    assert not {"numpy", "torch", "zarr", "PIL", "typer", "yaml"} & set(modules)
    assert float(taken) < max(0.1, 2 * python)  # python's own start tells how busy the machine is

"""The house rules that code can break silently: directions of imports, packages, start-up."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("cli", "data_manifests", "heads", "pipeline", "store")
LEAVES = {"errors", "plugins", "settings", "shortcuts", "statistics", "wording"}
MAY_IMPORT = {
    "store": {"errors", "settings", "store"},
    "data_manifests": {"errors", "settings", "data_manifests"},
    "pipeline": {*LEAVES, "store", "data_manifests", "pipeline"},
    "heads": {*LEAVES, "store", "data_manifests", "heads"},
    "cli": {*LEAVES, "store", "data_manifests", "pipeline", "heads", "cli"},
}
HEAVY = {"torch", "diffusers", "transformers", "open_clip", "zarr", "h5py", "dask", "numpy", "PIL"}


def imports_of(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_lies_below_it(room):
    for file in (ROOT / room).rglob("*.py"):
        for name in imports_of(file):
            parts = name.split(".")
            assert parts[0] not in ROOMS, f"{file} imports {name}: write clare.{name}"
            if parts[0] == "clare" and len(parts) > 1 and parts[1] in {*ROOMS, *LEAVES}:
                assert parts[1] in MAY_IMPORT[room], f"{file} imports {name}"


def test_the_store_knows_no_torch_and_no_images():
    for file in (ROOT / "store").rglob("*.py"):
        roots = {name.split(".")[0] for name in imports_of(file)}
        assert not roots & {"torch", "PIL", "diffusers", "open_clip"}, file


def test_every_package_on_disk_is_in_the_wheel():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    on_disk = {
        ".".join(["clare", *init.parent.relative_to(ROOT).parts])
        for room in ROOMS
        for init in (ROOT / room).rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == {"clare", *on_disk}


def test_help_answers_without_heavy_imports():
    script = (
        "import sys; from typer.testing import CliRunner; from clare.cli.app import app;"
        "out = CliRunner().invoke(app, ['--help']); assert out.exit_code == 0, out;"
        "print(' '.join(sys.modules))"
    )
    modules = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not HEAVY & set(modules)

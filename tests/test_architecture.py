"""The house rules that code can break silently: directions of imports, packages, start-up."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("clare", "cli", "data_manifests", "heads", "pipeline", "store")
SHARED = ("clare", "clare.augmentation", "clare.cluster", "clare.models", "data_manifests", "store")
FLOORS = {
    "store": [["store.claims"], ["store.bucket"], ["store"], ["store.maintenance"]],
    "pipeline": [
        ["pipeline.images", "pipeline.models"],
        ["pipeline.manifests", "pipeline.extractor", "pipeline.pair"],
        [
            *("pipeline.datasets", "pipeline.extractors", "pipeline.pairs"),
            *("pipeline.synthetic", "pipeline.video"),
        ],
        [
            *("pipeline.checks", "pipeline.extraction", "pipeline.faces"),
            *("pipeline.official_lists", "pipeline.pairing"),
        ],
        ["pipeline.cluster"],
        ["pipeline.extract"],
    ],
    "heads": [
        ["heads.base", "heads.config", "heads.metrics"],
        ["heads.layers", "heads.linear", "heads.published"],
        ["heads.data", "heads.decoders", "heads.fusion", "heads.model", "heads.text"],
        ["heads.checkpoints", "heads.classifiers", "heads.localizer"],
        ["heads.detector"],
        ["heads.runs", "heads.tokens"],
        ["heads.evaluation", "heads.importing", "heads.training"],
        ["heads.probing", "heads.sweeps"],
        ["heads.report"],
    ],
    "cli": [["cli"], ["cli.views"], ["cli.commands"]],
}
"""The rooms of a folder, the lowest floor first: a room imports rooms below it and what stands
beside it in the same room, never a neighbour of its floor."""

OUTSIDE = {
    "clare": {"data_manifests"},
    "clare.augmentation": {"clare"},
    "clare.cluster": {"clare"},
    "clare.models": {"clare"},
    "clare.experiment": {*SHARED, "pipeline", "heads"},
    "clare.exports": {*SHARED, "clare.inference", "pipeline", "heads"},
    "clare.inference": {*SHARED, "pipeline", "heads"},
    "clare.testing": {*SHARED, "pipeline", "heads"},
    "data_manifests": set(),
    "store": {"clare"},
    "pipeline": set(SHARED),
    "heads": set(SHARED),
    "cli": {*SHARED, "clare.experiment", "clare.exports", "clare.inference", "pipeline", "heads"},
}
"""What a room, or all rooms of a folder, may import of other folders."""

ENTRIES = {
    "clare.__init__": {"clare.exports", "clare.inference", "heads", "pipeline", "store"},
    "clare.__main__": {"cli"},
}
"""Two files with leave of their own: the Python API, and the command."""

PARTS = (
    *("heads.checkpoints", "heads.classifiers", "heads.decoders", "heads.fusion"),
    *("clare.augmentation.recipes", "clare.models.tuning"),
    *("pipeline.extractors", "pipeline.pairs"),
)
"""Folders whose files are found by name, so that a new one needs no other change."""

HEAVY = {
    *("torch", "diffusers", "transformers", "open_clip", "zarr", "h5py", "dask", "numpy", "PIL"),
    *(
        "cv2",
        "onnxruntime",
        "sklearn",
        "scipy",
        "pandas",
        "matplotlib",
        "jinja2",
        "rich",
        "markdown_it",
        "pydantic",
        "yaml",
    ),
}


def name_of(file: Path) -> str:
    """A file's dotted name from the top of the repository: ``heads.runs.record``."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


@cache
def modules() -> dict[str, Path]:
    return {name_of(file): file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")}


def room_of(module: str) -> str:
    rooms = [room for floors in FLOORS.values() for floor in floors for room in floor]
    known = [*rooms, *OUTSIDE]
    fitting = [room for room in known if f"{module}.".startswith(f"{room}.")]
    return max(fitting, key=len)


def imported(file: Path, *, lazily: bool) -> Iterator[str]:
    """What a file imports, as ``a.b.name``.

    Args:
        file: to be read.
        lazily: whether imports inside of functions, and those for types alone, count too.
    """
    nodes: list[ast.AST] = [ast.parse(file.read_text("utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        guarded = isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if lazily or not (guarded or inner):
            nodes += ast.iter_child_nodes(node)


@cache
def own_imports(file: Path, *, lazily: bool) -> set[str]:
    """The product's modules that a file imports."""
    found = set()
    for name in imported(file, lazily=lazily):
        parts = name.split(".")
        assert parts[0] not in FOLDERS or parts[0] == "clare", f"{file}: write clare.{name}"
        if parts[0] != "clare":
            continue
        # `clare.store.spec` stands in store/, `clare.errors` in clare/.
        dotted = ".".join(parts[1:] if parts[1:2] and parts[1] in FOLDERS else parts)
        while dotted not in modules() and f"{dotted}.__init__" not in modules() and dotted:
            dotted = dotted.rpartition(".")[0]
        found.add(dotted if dotted in modules() else f"{dotted}.__init__")
    return found


def may_import(importer: str, target: str) -> bool:
    mine, theirs = room_of(importer), room_of(target)
    folder, other = mine.partition(".")[0], theirs.partition(".")[0]
    if mine == theirs:
        return True
    if importer in ENTRIES and ({theirs, other} & ENTRIES[importer]):
        return True
    if folder == other and folder in FLOORS:
        floor = {room: n for n, rooms in enumerate(FLOORS[folder]) for room in rooms}
        # A folder's own __init__ is a docstring, or names what stands in it.
        return f"{folder}.__init__" in (importer, target) or floor[theirs] < floor[mine]
    allowed = OUTSIDE[mine] if mine in OUTSIDE else OUTSIDE[folder]
    return theirs in allowed or (other in allowed and other != "clare")


def test_every_file_stands_in_a_room_of_the_table():
    for module in modules():
        folder = module.partition(".")[0]
        rooms = [room for rooms in FLOORS.get(folder, []) for room in rooms]
        if rooms and module != f"{folder}.__init__":
            assert room_of(module) in rooms, f"{module} stands in no room: give it a floor"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_room_imports_only_what_lies_below_it(folder):
    wrong = [
        f"{module} imports {target}"
        for module, file in modules().items()
        if module.partition(".")[0] == folder
        for target in own_imports(file, lazily=True)
        if not may_import(module, target)
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_no_file_waits_for_itself():
    graph = {module: own_imports(file, lazily=True) for module, file in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None


@pytest.mark.parametrize("parts", PARTS)
def test_a_part_is_reached_by_its_name_alone(parts):
    for module, file in modules().items():
        for target in own_imports(file, lazily=True):
            room, _, part = target.rpartition(".")
            if room != parts or part == "__init__" or module.startswith(f"{parts}."):
                continue
            assert part.startswith("_"), f"{module} imports the part {target}"


def test_the_store_knows_no_torch_and_no_images():
    for file in (ROOT / "store").rglob("*.py"):
        roots = {name.split(".")[0] for name in imported(file, lazily=True)}
        assert not roots & {"torch", "PIL", "diffusers", "open_clip"}, file


def test_every_package_on_disk_is_in_the_wheel():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    on_disk = set()
    for module in modules():
        package, _, last = module.rpartition(".")
        if last == "__init__":
            on_disk.add(package if package.startswith("clare") else f"clare.{package}")
    assert set(project["tool"]["setuptools"]["packages"]) == on_disk


def test_type_checkers_see_the_same_folders():
    links = {path.name for path in (ROOT / "typings" / "clare").iterdir()} - {"__pycache__"}
    own = {path.name for path in (ROOT / "clare").iterdir() if path.name != "__pycache__"}
    assert links == own | set(FOLDERS) - {"clare"}


def modules_after(*lines: str) -> set[str]:
    """What a fresh Python has imported once it has run some lines after the command's import."""
    script = (
        "import sys\n"
        "from typer.main import get_command\n"
        "from typer.testing import CliRunner\n"
        "from clare.cli.app import app\n"
        "from clare.cli.command import commands_below\n"
        "def say(*words, **environment):\n"
        "    out = CliRunner(env=environment).invoke(app, words, prog_name='clare')\n"
        "    assert out.exit_code == 0, out\n"
        "    return out.output\n"
    )
    lines = (*lines, "print(' '.join(sys.modules))")
    done = subprocess.run(
        [sys.executable, "-c", script + "\n".join(lines)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_list_of_commands_imports_none_of_them():
    own = {name for name in modules_after("say('--help')") if name.partition(".")[0] == "clare"}
    assert not {name for name in own if name.startswith("clare.cli.commands.")}
    assert len(own) < 15


def test_help_and_completion_answer_without_heavy_imports():
    found = modules_after(
        "say('--version')",
        "for path, _ in commands_below(get_command(app)):",
        "    say(*path, '--help')",
        "typed = dict(COMP_WORDS='clare extract --res', COMP_CWORD='2')",
        "assert say(_CLARE_COMPLETE='complete_bash', **typed).split() == ['--resize']",
    )
    assert "clare.cli.commands.extract" in found
    assert not HEAVY & found


def test_a_command_takes_its_defaults_without_a_reader():
    found = modules_after("CliRunner().invoke(app, ['store', 'info'])")
    assert "clare.store.spec" in found
    assert "pydantic" not in found


JUDGES = (
    *("cli.commands.predict", "cli.views.verdicts", "clare.inference.predictor"),
    *("clare.inference.notices", "clare.inference.videos", "heads.runs.run", "heads.detector"),
    *("heads.metrics.predictions", "heads.evaluation.record"),
    *("pipeline.extraction.direct", "pipeline.extraction.rebuild", "pipeline.images.prepare"),
    *("pipeline.extractors.lare", "pipeline.extractors.clip", "clare.models.clip"),
)
"""What judging an image runs through."""

ELSEWHERE = {"dask", "h5py", "jinja2", "matplotlib", "pandas", "scipy", "sklearn", "tensorboard"}
"""What it does not need; figures, tables and masks do."""


def eagerly(module: str) -> set[str]:
    """What is imported with a module, ours and others' by the name of their package."""
    seen: set[str] = set()
    waiting, found = [module], set()
    while waiting:
        if (one := waiting.pop()) in seen or one not in modules():
            continue
        seen.add(one)
        found |= {name.partition(".")[0] for name in imported(modules()[one], lazily=False)}
        waiting += own_imports(modules()[one], lazily=False)
    return found


@pytest.mark.parametrize("module", JUDGES)
def test_judging_imports_no_library_of_figures(module):
    assert not ELSEWHERE & eagerly(module)

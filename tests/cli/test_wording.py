"""What the library advises, as a terminal says it; no advice names an option that is not there."""

import ast
import inspect
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import clare
from clare.advice import LeaveOut, Name, Notice, Run, Set
from clare.cli.app import app
from clare.cli.command import commands_below
from clare.cli.wording import OptionWording, find_parameter
from clare.heads import classifiers, decoders, fusion
from clare.heads.config import Machine, TrainConfig
from clare.pipeline import extractors
from clare.pipeline import pairs as pair_kinds
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.faces.settings import FaceSettings
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.folder_rules import FolderRules
from clare.pipeline.pairing.settings import PairSettings
from clare.plugins import list_parts
from clare.settings import describe

ROOT = Path(__file__).parents[2]
TREE: Any = get_command(app)
COMMANDS = dict(commands_below(TREE))
# Settings of commands that Python has no call for: import-json, import-csv, the tests of a sweep.
IN_A_TERMINAL = {"resplit", "with_reals", "compression", "evaluate"} | {
    *("real_label", "fake_label", "tokens", "cls", "video", "cluster")
}
KINDS = (extractors, fusion, classifiers, decoders, pair_kinds)
PARTS = [name for kind in KINDS for name in list_parts(kind)]


def words(command, *advice):
    return Notice("x", *advice).worded(OptionWording(COMMANDS[command], TREE))


@pytest.mark.parametrize(
    ("command", "advice", "typed"),
    [
        ("extract", Name("another folder", "store"), " --store"),
        ("extract", Set("recode", "jpeg:95"), " --recode jpeg:95"),
        ("extract", Set("strict", True), " --strict"),
        ("extract", Set("thumbnails", False), " --no-thumbnails"),
        ("extract", Set("features", ("lare", "clip")), " --features lare,clip"),
        ("extract", Set("root", ["a=/a", "b=/b c"]), " --root a=/a --root 'b=/b c'"),
        ("extract", Set("lare.model", "sd1.5"), " --sd-model sd1.5"),
        ("extract", Set("lare.draws", 1), " --draws 1"),
        ("extract", Set("pixels.size", 64), " --set pixels.size=64"),
        ("extract", Name("a size", "mask.size"), " --set mask.size="),
        ("train-head", Set("epochs", 3), " --epochs 3"),
        ("train-head", Set("momentum", 0.5), " --momentum 0.5"),
        ("train-head", Set("cross_attn.query", "mean"), " --query mean"),
        ("train-head", Set("esa.heads", 2), " --set esa.heads=2"),
        ("train-head", Set("fields", {"lare": "x"}), " --set 'train.fields={\"lare\": \"x\"}'"),
        ("train-head", Set("features", {"lare": "a", "clip": "b"}), " --features lare=a,clip=b"),
        ("train-head", Set("scope", "full"), " --train-scope full"),
        ("sweep", Set("seed", 1), " --seeds 1"),
        ("evaluate", Name("another run", "runs"), " RUNS"),
        ("evaluate", LeaveOut("reals", "domains"), "leave --reals and --domains out"),
        ("report", Set("backbone", "tiny"), " --backbone tiny"),
    ],
)  # fmt: skip
def test_a_setting_is_an_option_of_the_command(command, advice, typed):
    assert words((command,), advice).endswith(typed)


@pytest.mark.parametrize(
    ("run", "typed"),
    [
        (Run("store.verify", (Path("a b"),), {"repair": True}), "store verify 'a b' --repair"),
        (Run("train_head", (), {"scope": "full"}), "clare train-head --train-scope full"),
        (Run("evaluate", ("a",), {"subset": ["x", "y"]}), "clare evaluate a --subset x,y"),
        (Run("evaluate", (), {"runs": ["a", "b"]}), "clare evaluate a b"),
        (Run("manifest.import_json", ("list.json",)), "clare manifest import-json list.json"),
    ],
)  # fmt: skip
def test_an_operation_is_a_command(run, typed):
    assert f"{typed}`" in words(("extract",), run)


@cache
def advised():
    """Every setting and operation that the library's advice names: file, operation, name."""
    return list(_advised())


def _advised():
    for folder in ("clare", "store", "pipeline", "heads"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text("utf-8")
            if "clare.advice" not in text:
                continue
            tree = ast.parse(text)
            imported = {
                alias.asname or alias.name: alias.name
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom) and node.module == "clare.advice"
                for alias in node.names
            }
            for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
                kind = imported.get(getattr(call.func, "id", ""))
                values = [getattr(one, "value", None) for one in call.args]
                values = [one if isinstance(one, str) else None for one in values]
                where = f"{file.relative_to(ROOT)}:{call.lineno}"
                if kind == "Set" and values[0]:
                    yield where, None, values[0]
                elif kind == "Name" and values[1]:
                    yield where, None, values[1]
                elif kind == "LeaveOut":
                    yield from ((where, None, name) for name in values if name)
                elif kind == "Run" and values[0]:
                    yield where, values[0], None
                    for settings in (one for one in ast.walk(call) if isinstance(one, ast.Dict)):
                        for key in settings.keys:
                            if isinstance(key, ast.Constant):
                                yield where, values[0], key.value


def answers(name, commands):
    part, dot, _ = name.partition(".")
    if dot:
        return part in (*PARTS, "fusion", "classifier", "decoder", "train")
    known = any(find_parameter(command, name) is not None for command in commands)
    return known or name in {one.name for one in describe(TrainConfig)}


def test_the_library_advises_nothing_that_can_not_be_typed():
    missing = []
    for where, operation, name in advised():
        commands = COMMANDS
        if operation is not None:
            path = tuple(word.replace("_", "-") for word in operation.split("."))
            commands = {path: COMMANDS[path]} if path in COMMANDS else {}
        if not commands or (name is not None and not answers(name, commands.values())):
            missing.append(f"{where}: {operation or ''} {name or ''}")
    assert not missing, "\n".join(missing)


@cache
def called_with(function):
    """What a function of the Python API may be given by name."""
    own = set(inspect.signature(function).parameters)
    flat = {
        "extract": (ExtractSettings, ImageSettings, FolderRules),
        "faces": (FaceSettings,),
        "pairs": (PairSettings,),
        "train_head": (TrainConfig, Machine),
    }
    settings = flat.get(function.__name__, ())
    return own | {one.name for kind in settings for one in describe(kind)}


CALLS = {name: getattr(clare, name) for name in clare.__all__}
CALLS = {name: one for name, one in CALLS.items() if inspect.isfunction(one)}


def test_the_library_advises_a_notebook_nothing_that_can_not_be_called():
    missing = []
    for where, operation, name in advised():
        if "." in (operation or name or ""):
            continue  # groups are commands everywhere, and a part's setting has its own test
        functions = CALLS.values() if operation is None else [CALLS.get(operation)]
        known = {one for function in functions if function for one in called_with(function)}
        if None in functions or (name is not None and name not in known | IN_A_TERMINAL):
            missing.append(f"{where}: {operation or ''} {name or ''}")
    assert not missing, "\n".join(missing)


def test_each_command_is_listed_with_the_first_line_of_its_help():
    listed: Any = get_command(app)
    for name, placeholder in listed.commands.items():
        assert " ".join(TREE.load(name).help.split("\n\n")[0].split()) == placeholder.help

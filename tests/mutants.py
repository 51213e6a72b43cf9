"""Plants faults in the core, one at a time, and asks whether a test notices: `make mutants`.

Why not mutmut or cosmic-ray: the first takes a module's name from its path, which the mapped
folders don't have, and the second starts an interpreter a fault, which here costs the import of
torch each time. This forks a process that has imported all of it once, gives one module the code of
a changed syntax tree, and runs the tests that reach the changed line, the fastest first.

    python tests/mutants.py --sample 40 --seed 3 store/journal.py

prints for each file how many faults were planted and found, and every one that no test noticed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import inspect
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
STORE = (
    *("tests/store/test_format.py", "tests/store/test_feature_store.py"),
    *("tests/store/test_places.py", "tests/store/maintenance", "tests/store/test_interleavings.py"),
    *("tests/store/test_export.py", "tests/store/test_statistics.py"),
    *("tests/store/test_hostile.py", "tests/store/test_records_in_their_places.py"),
    "tests/store/test_crashes.py",
)
SUBJECTS = {
    "store/journal.py": STORE,
    "store/reader.py": STORE,
    "store/maintenance/verify.py": STORE,
    "pipeline/extraction/claims.py": (
        "tests/pipeline/extraction/test_extract.py",
        "tests/pipeline/extraction/test_failures.py",
    ),
    "heads/metrics/ranking.py": ("tests/heads/metrics",),
    "heads/metrics/by_subset.py": ("tests/heads/metrics", "tests/heads/evaluation"),
    "heads/data/leakage.py": ("tests/heads/data", "tests/heads/training/test_protocol_guards.py"),
    "pipeline/extractors/lare.py": ("tests/pipeline/extractors",),
}
"""By file, the tests that must notice what is wrong with it."""

OPTIONS = (
    "-q",
    "--assert=plain",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "-p",
    "no:cov",
    "-p",
    "no:randomly",
)
PATIENCE = 10  # seconds, beyond what the tests take while they are watched

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Add,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.USub: ast.UAdd,
    ast.Continue: ast.Break,
    ast.Break: ast.Continue,
}


@dataclass(frozen=True)
class Mutant:
    """One fault: of a file, at a line, in words, and how to plant it in a fresh tree."""

    file: str
    line: int
    what: str
    number: int


# -- Planting ------------------------------------------------------------------------------------


def faults(tree: ast.Module) -> Iterator[tuple[int, str, Callable[[], None]]]:
    """(line, what, plant) of every fault of a tree, always in the same order.

    Texts are left alone, and with them what errors say; so are annotations and docstrings.
    """
    silent = {id(one) for node in ast.walk(tree) for part in _unread(node) for one in _below(part)}
    for node in ast.walk(tree):
        if id(node) in silent:
            continue
        line = getattr(node, "lineno", 0)
        for name, value in ast.iter_fields(node):
            for place, one in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(one, ast.AST) or id(one) in silent:
                    continue
                here = getattr(one, "lineno", line)
                for what, new in _replacements(one):
                    yield here, what, _put(node, name, place, value, new)


def _replacements(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    shown = (ast.unparse(node).splitlines() or [""])[0][:60]
    if swap := SWAPS.get(type(node)):
        yield f"{type(node).__name__} -> {swap.__name__}", swap()
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        other = not node.value if isinstance(node.value, bool) else node.value + 1
        yield f"{shown} -> {other}", ast.Constant(other)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield f"{shown} -> without not", node.operand
    elif isinstance(node, ast.If | ast.While | ast.IfExp) and not _is_typing(node):
        for truth in (True, False):
            if truth and isinstance(node, ast.While):
                continue
            settled = copy.copy(node)
            settled.test = ast.Constant(truth)
            yield f"if {ast.unparse(node.test)[:50]} -> {truth}", settled
    elif isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield f"{shown} -> return None", ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Raise) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield f"{shown} -> pass", ast.Pass()
    elif isinstance(node, ast.comprehension) and node.ifs:
        changed = copy.copy(node)
        changed.ifs = []
        yield f"for {ast.unparse(node.target)} … without if", changed


def _unread(node: ast.AST) -> Iterator[ast.AST]:
    """What of a node decides nothing that a test should hold."""
    if isinstance(node, ast.FunctionDef):
        yield from (a for a in ast.walk(node.args) if isinstance(a, ast.arg))
        yield from [node.returns] if node.returns else []
    if isinstance(node, ast.AnnAssign):
        yield node.annotation
    if isinstance(node, ast.JoinedStr):
        yield node
    if isinstance(node, ast.If) and _is_typing(node):
        yield node


def _is_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _below(node: ast.AST) -> Iterator[ast.AST]:
    return ast.walk(node)


def _put(node: ast.AST, name: str, place: int, value: object, new: ast.AST) -> Callable[[], None]:
    def plant() -> None:
        if isinstance(value, list):
            value[place] = new
        else:
            setattr(node, name, new)

    return plant


def mutants_of(file: str) -> list[Mutant]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    listed = [(line, what) for line, what, _ in faults(tree)]
    return [Mutant(file, line, what, number) for number, (line, what) in enumerate(listed)]


def planted(mutant: Mutant) -> ast.Module:
    tree = ast.parse((ROOT / mutant.file).read_text("utf-8"))
    for number, (_, _, plant) in enumerate(faults(tree)):
        if number == mutant.number:
            plant()
            break
    return ast.fix_missing_locations(tree)


# -- Running -------------------------------------------------------------------------------------


def warm() -> None:
    """Import all, once for all forks."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import dask.array
    import diffusers
    import h5py
    import hypothesis
    import matplotlib.pyplot
    import open_clip
    import safetensors.torch
    import scipy.stats
    import sklearn.metrics
    import torch
    import transformers
    import typer
    import zarr

    del dask, h5py, hypothesis, matplotlib, open_clip, safetensors, scipy, sklearn, typer, zarr
    for library, names in (
        (diffusers, ("AutoencoderKL", "UNet2DConditionModel", "DDPMScheduler")),
        (transformers, ("CLIPTextModel", "CLIPTokenizer")),
    ):
        for name in names:  # each is imported as it is asked for
            getattr(library, name)
    torch.set_num_threads(1)
    for folder in ("clare", "cli", "data_manifests", "heads", "pipeline", "store"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            if not name.endswith(("__init__", "__main__")):
                import_module(name if folder == "clare" else f"clare.{name}")


class Recorder:
    """Which lines of a file each test runs, and how long each takes."""

    def __init__(self, file: str) -> None:
        self.path = str((ROOT / file).resolve())
        self.lines: dict[str, set[int]] = {}
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
        self._now: set[int] = set()

    def pytest_sessionstart(self) -> None:
        known: dict[CodeType, bool] = {}

        def trace(frame, event, argument):
            code = frame.f_code
            if code not in known:
                known[code] = os.path.realpath(code.co_filename) == self.path
            if not known[code]:
                return None
            self._now.add(frame.f_lineno)
            return trace

        import threading

        threading.settrace(trace)
        sys.settrace(trace)

    def pytest_runtest_logreport(self, report):
        if report.failed:  # one that asks how long something takes, while it is watched
            self.failed.add(report.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self._now = self.lines[item.nodeid] = set()
        began = time.perf_counter()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.perf_counter() - began


def in_fork(work: Callable[[], int], seconds: float, said: str = os.devnull) -> int | None:
    """The exit code of work in a fork of this process; None where it took too long."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))
            null = os.open(said, os.O_RDWR | os.O_CREAT)
            for standard in (0, 1, 2):
                os.dup2(null, standard)
            code = work()
        finally:
            os._exit(code)
    until = time.monotonic() + 4 * seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def run_tests(
    tests: Sequence[str], folder: Path, plugins: Sequence[object] = (), *, stop: bool = True
) -> int:
    os.chdir(ROOT)
    options = [*OPTIONS, *(["-x"] if stop else []), "--basetemp", str(folder)]
    return int(pytest.main([*options, *tests], list(plugins)))


def reach(file: str, folder: Path, longest: float) -> Recorder:
    """Run a file's tests once as they are, and note what each of them reaches."""
    note = folder / "reach.json"

    def work() -> int:
        recorder = Recorder(file)
        code = run_tests(SUBJECTS[file], folder / "reach", [recorder], stop=False)
        lines = {
            name: sorted(found)
            for name, found in recorder.lines.items()
            if name not in recorder.failed
        }
        note.write_text(json.dumps([lines, recorder.seconds]), "utf-8")
        return 0 if lines and len(recorder.failed) <= len(lines) / 10 else code

    said = folder / "said"
    if in_fork(work, 1200, str(said)) != 0:
        told = "\n".join(said.read_text("utf-8").splitlines()[-15:])
        raise SystemExit(f"{told}\nthe tests of {file} fail without any fault")
    recorder = Recorder(file)
    lines, recorder.seconds = json.loads(note.read_text("utf-8"))
    taken = {name for name, seconds in recorder.seconds.items() if seconds <= longest}
    recorder.lines = {name: set(found) for name, found in lines.items() if name in taken}
    return recorder


def is_noticed(mutant: Mutant, found: Recorder, folder: Path) -> bool:
    """Whether a test fails, or never ends, with a fault planted."""
    reaching = [name for name, lines in found.lines.items() if mutant.line in lines]
    if not reaching:
        return False
    # The first to run is asked first; a hundred of them tell as much as all.
    tests = sorted(reaching, key=lambda name: found.seconds[name])[:150]
    tree, module = planted(mutant), "clare." + mutant.file.removesuffix(".py").replace("/", ".")

    def work() -> int:
        if not swap_functions(tree, mutant.file, module):
            import_anew(tree, module)
        return run_tests(tests, folder)

    return in_fork(work, PATIENCE + sum(found.seconds[name] for name in tests)) != 0


def swap_functions(tree: ast.Module, file: str, module: str) -> bool:
    """Give the functions of a module that is imported already the code of a changed tree.

    Returns:
        False where the change is outside of functions, or one can't be exchanged.
    """
    path = ROOT / file
    before = functions_of(compile(path.read_text("utf-8"), str(path), "exec"))
    after = functions_of(compile(tree, str(path), "exec"))
    changed = [name for name, code in after.items() if code != before.get(name)]
    for name in changed:
        found: Any = sys.modules[module]
        for part in name.split("."):
            found = vars(found).get(part)
        for inner in ("fget", "func", "__func__", "__wrapped__"):
            found = getattr(found, inner, found)
        try:
            found.__code__ = after[name]
        except (AttributeError, ValueError):  # an object of another kind, or other free variables
            return False
    return bool(changed)


def functions_of(code: CodeType) -> dict[str, CodeType]:
    """The code of functions and methods by name; what is inside of one belongs to it."""
    found = {}
    for one in code.co_consts:
        if isinstance(one, CodeType):
            if one.co_flags & inspect.CO_OPTIMIZED:
                found[one.co_qualname] = one
            else:  # the body of a class
                found |= functions_of(one)
    return found


def import_anew(tree: ast.Module, module: str) -> None:
    """Forget all of CLaRE, and let the next import of a module run a changed tree."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("clare", "tests")]:
        del sys.modules[name]
    original = SourceFileLoader.get_code

    def get_code(self, fullname):
        if fullname == module:
            return compile(tree, self.path, "exec")
        return original(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", default=list(SUBJECTS))
    parser.add_argument("--sample", type=int, help="of so many faults a file; all if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--longest", type=float, default=60, help="leave out tests of more seconds than this"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    warm()
    tried = noticed = 0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for file in given.files:
            found = reach(file, folder, given.longest)
            chosen = mutants_of(file)
            if given.sample is not None and given.sample < len(chosen):
                chosen = random.Random(given.seed).sample(chosen, given.sample)
            places = [folder / f"{number}" for number in range(len(chosen))]
            with ThreadPoolExecutor(given.workers) as pool:
                results = list(pool.map(is_noticed, chosen, [found] * len(chosen), places))
            survivors = [m for m, was in zip(chosen, results, strict=True) if not was]
            tried, noticed = tried + len(chosen), noticed + sum(results)
            share = f"{sum(results)} of {len(chosen)}"
            print(f"{file:36} {share:>12} noticed", flush=True)
            for one in sorted(survivors, key=lambda one: one.line):
                print(f"    {one.file}:{one.line}: {one.what}", flush=True)
    print(f"{noticed} of {tried} faults noticed: {noticed / max(tried, 1):.1%} (seed {given.seed})")


if __name__ == "__main__":
    main()

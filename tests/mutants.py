"""Plants faults in the core, one at a time, and asks whether a test notices: `make mutants`.

Why not mutmut or cosmic-ray: the first takes a module's name from its path, which the mapped
folders don't have, and the second starts an interpreter a fault, which here costs the import of
torch each time. This forks a process that has imported all of it once, gives one module the code of
a changed syntax tree, and runs the tests that reach the changed line, the fastest first.

    python tests/mutants.py --sample 40 --seed 3 store/journal.py

prints every fault that no test noticed, and for each file how many were planted, how many made a
test fail that passes without the fault, and with how many a test never ended. With
TMPDIR=/dev/shm no disk is waited for.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gc
import inspect
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SUBJECTS = {
    "store/journal.py": ("tests/store/test_journal.py",),
    "store/reader.py": ("tests/store/test_reading.py",),
    "store/maintenance/verify.py": ("tests/store/maintenance/test_verify_exactly.py",),
    "pipeline/extraction/claims.py": ("tests/pipeline/extraction/test_claims.py",),
    "heads/metrics/ranking.py": ("tests/heads/metrics",),
    "heads/metrics/by_subset.py": ("tests/heads/metrics/test_by_subset.py",),
    "heads/data/leakage.py": ("tests/heads/data/test_leakage.py",),
    "pipeline/extractors/lare.py": ("tests/pipeline/extractors",),
}
"""By file, the tests that must notice what is wrong with it: those of its own, which are fast."""

OPTIONS = ("-q", "--assert=plain", "-p", "no:cacheprovider")
PATIENCE = 10
"""Seconds that a test may take with a fault, beyond ten times what it takes while it is watched."""
MEMORY = 12 * 2**30
"""Bytes that a process may take: a fault may ask for all there is."""

NOTICED, ENDLESS, SURVIVED = "noticed", "never ended", "survived"

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
    if isinstance(
        node, ast.ClassDef
    ):  # a frozen dataclass, say: who writes to it is mypy's to find
        yield from node.decorator_list
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
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
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
    from hypothesis.internal.conjecture import engine

    del dask, h5py, hypothesis, matplotlib, open_clip, safetensors, scipy, sklearn, typer, zarr
    for library, names in (
        (diffusers, ("AutoencoderKL", "UNet2DConditionModel", "DDPMScheduler")),
        (transformers, ("CLIPTextModel", "CLIPTokenizer")),
    ):
        for name in names:  # each is imported as it is asked for
            getattr(library, name)
    torch.set_num_threads(1)
    engine.MAX_SHRINKS = 0  # that an example fails is enough
    for folder in ("clare", "cli", "data_manifests", "heads", "pipeline", "store"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            if not name.endswith(("__init__", "__main__")):
                import_module(name if folder == "clare" else f"clare.{name}")
    gc.collect()
    gc.freeze()  # else the collections of each fork would look at, and copy, all of it


class Recorder:
    """Which lines of a file each test runs, and how long each takes."""

    def __init__(self, file: str) -> None:
        self.path = str((ROOT / file).resolve())
        self.lines: dict[str, set[int]] = {}
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
        self._now: set[int] = set()
        self._fixtures: dict[tuple[str, str], set[int]] = {}

    def pytest_sessionstart(self) -> None:
        known: dict[str, bool] = {}

        def trace(frame, event, argument):
            name = frame.f_code.co_filename
            if name not in known:
                known[name] = os.path.realpath(name) == self.path
            if not known[name]:
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
    def pytest_fixture_setup(self, fixturedef):
        """What a fixture of many tests runs is run for each of them."""
        outer, place = self._now, (fixturedef.argname, fixturedef.baseid)
        self._now = self._fixtures.setdefault(place, set())
        try:
            return (yield)
        finally:
            outer |= self._now
            self._now = outer

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self._now = self.lines[item.nodeid] = set()
        began = time.perf_counter()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.perf_counter() - began
            for (name, place), lines in self._fixtures.items():
                if name in item.fixturenames and item.nodeid.startswith(place):
                    self.lines[item.nodeid] |= lines


class Watch:
    """Ends the process with SIGALRM where a test takes too long, and notes which one failed."""

    def __init__(self, seconds: dict[str, float], patience: float, note: Path) -> None:
        self.seconds, self.patience, self.note = seconds, patience, note

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        usual = self.seconds.get(item.nodeid, 0)
        signal.setitimer(signal.ITIMER_REAL, self.patience + 10 * usual)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.note.write_text(report.nodeid, "utf-8")


def in_fork(work: Callable[[], int], seconds: float, said: str = os.devnull) -> int | None:
    """The exit code of work in a fork of this process; None where it took too long."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            null = os.open(said, os.O_RDWR | os.O_CREAT)
            for standard in (0, 1, 2):
                os.dup2(null, standard)
            code = work()
        finally:
            os._exit(code)
    until, found = time.monotonic() + seconds, None
    while found is None and time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            found = os.waitstatus_to_exitcode(status)
        else:
            time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it began may outlive it
    if found is None:
        os.waitpid(child, 0)
    return found


def run_tests(
    tests: Sequence[str], folder: Path, plugins: Sequence[object] = (), *, stop: bool = True
) -> int:
    os.chdir(ROOT)
    options = [*OPTIONS, *(["-x"] if stop else []), "--basetemp", str(folder)]
    return int(pytest.main([*options, *tests], list(plugins)))


class Judge:
    """Asks the tests of a file of its faults."""

    def __init__(self, file: str, folder: Path, longest: float) -> None:
        self.file, self.folder = file, folder
        self.found = reach(file, folder, longest)
        tree = compile((ROOT / file).read_text("utf-8"), file, "exec")
        self.inside = {line for code in functions_of(tree).values() for line in lines_of(code)}
        self.noticed: Counter[str] = Counter()
        self.sound: set[str] = set()

    def judge(self, mutant: Mutant) -> str:
        """Whether a test fails that passes without the fault; one that is late is asked twice."""
        with tempfile.TemporaryDirectory(dir=self.folder) as made:
            while True:
                tests = self.reaching(mutant)
                if not tests:
                    return SURVIVED
                code, failed = self.ask(tests, Path(made), mutant, PATIENCE)
                if code in (None, -signal.SIGALRM):
                    code, failed = self.ask(tests, Path(made), mutant, 4 * PATIENCE)
                if code in (None, -signal.SIGALRM):
                    return ENDLESS
                if code == 0:
                    return SURVIVED
                if code == 70:
                    raise SystemExit(f"{mutant} can't be planted")
                if self.is_sound(failed, tests, Path(made)):
                    self.noticed[failed] += 1
                    return NOTICED

    def reaching(self, mutant: Mutant) -> list[str]:
        """The tests that run a fault's line; all of the file's for a line that its import runs."""
        everywhere = mutant.line not in self.inside
        reaching = [
            n for n, lines in self.found.lines.items() if mutant.line in lines or everywhere
        ]
        # A hundred tell as much as all; first those that noticed most so far, then the fastest.
        reaching = sorted(reaching, key=lambda name: self.found.seconds[name])[:150]
        return sorted(reaching, key=lambda name: -self.noticed[name])

    def is_sound(self, failed: str, tests: list[str], made: Path) -> bool:
        """Whether tests up to the one that failed pass without a fault; one that does not is out.

        Where none is named, the module or its tests could not be imported.
        """
        if failed not in self.sound:
            asked = tests[: tests.index(failed) + 1] if failed else tests
            code, unsound = self.ask(asked, made, None, 4 * PATIENCE)
            if code and not (unsound or failed):
                raise SystemExit(f"the tests of {self.file} can't be imported")
            if code:
                self.found.lines.pop(unsound or failed, None)
                return False
            self.sound.add(failed)
        return True

    def ask(
        self, tests: list[str], made: Path, mutant: Mutant | None, patience: float
    ) -> tuple[int | None, str]:
        """(exit code of pytest, name of the test that failed), with a fault or without."""
        note, folder = made / "failed", made / "tests"
        note.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

        def work() -> int:
            if mutant is not None:
                module = "clare." + self.file.removesuffix(".py").replace("/", ".")
                tree = planted(mutant)
                if not swap_functions(tree, self.file, module):
                    import_anew(tree, module)
            return run_tests(tests, folder, [Watch(self.found.seconds, patience, note)])

        code = in_fork(work, 60 + 10 * sum(self.found.seconds[name] for name in tests))
        return code, note.read_text("utf-8") if note.exists() else ""


def reach(file: str, folder: Path, longest: float) -> Recorder:
    """Run a file's tests once as they are, and note what each of them reaches."""
    note = folder / "reach.json"

    def work() -> int:
        recorder = Recorder(file)
        code = run_tests(SUBJECTS[file], folder / "reach", [recorder], stop=False)
        lines = {
            name: sorted(found)
            for name, found in recorder.lines.items()
            if found and name not in recorder.failed
        }
        note.write_text(json.dumps([lines, recorder.seconds]), "utf-8")
        return 0 if lines and len(recorder.failed) <= len(recorder.lines) / 10 else code

    said = folder / "said"
    if in_fork(work, 4800, str(said)) != 0:
        told = "\n".join(said.read_text("utf-8").splitlines()[-15:])
        raise SystemExit(f"{told}\nthe tests of {file} fail without any fault")
    recorder = Recorder(file)
    lines, recorder.seconds = json.loads(note.read_text("utf-8"))
    taken = {name for name, seconds in recorder.seconds.items() if seconds <= longest}
    recorder.lines = {name: set(found) for name, found in lines.items() if name in taken}
    return recorder


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


def lines_of(code: CodeType) -> Iterator[int]:
    """The lines of a function and of what is inside of it."""
    yield from (line for _, _, line in code.co_lines() if line is not None)
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from lines_of(one)


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
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as made:
        for file in given.files:
            began = time.monotonic()
            judge = Judge(file, Path(made), given.longest)
            chosen = mutants_of(file)
            if given.sample is not None and given.sample < len(chosen):
                chosen = random.Random(given.seed).sample(chosen, given.sample)
            chosen.sort(key=lambda one: one.line)
            own: Counter[str] = Counter()
            with ThreadPoolExecutor(given.workers) as pool:
                for one, outcome in zip(chosen, pool.map(judge.judge, chosen), strict=True):
                    own[outcome] += 1
                    if outcome != NOTICED:
                        print(f"    {one.file}:{one.line}: {one.what}: {outcome}", flush=True)
            print(f"{file:32} {told(own)}, {time.monotonic() - began:.0f} s", flush=True)
            counts += own
    print(f"{'all':32} {told(counts)} (seed {given.seed})")


def told(counts: Counter[str]) -> str:
    """How many faults came to what, and the share that a test noticed."""
    planted = counts.total()
    parts = [f"{counts[outcome]} {outcome}" for outcome in (NOTICED, ENDLESS, SURVIVED)]
    return f"{planted} planted: {', '.join(parts)}; {counts[NOTICED] / max(planted, 1):.1%}"


if __name__ == "__main__":
    main()

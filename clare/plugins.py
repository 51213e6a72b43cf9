"""Parts of a kind, one a file: a package's own, an installed package's, or any file by its path.

A part is code. A run or a store that comes from somebody else may name any file, so a file runs
only if this user named it: as a part of a training or an extraction, or through `trust`. Which
files those are is kept in ``$XDG_STATE_HOME/clare/parts`` (``~/.local/state``), each with a hash
of its content: code that changed since is asked for again.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import json
import os
import pkgutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from clare.advice import Run
from clare.errors import InputError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Part = TypeVar("Part")


def list_parts(package: ModuleType) -> list[str]:
    """Names of the parts in a package and of those that others install for it; imports none.

    Args:
        package: named after its parts, as ``fusion`` or ``decoders``. Files whose names start with
            an underscore help the others. An installed package lists parts of its own as entry
            points of the group ``clare.fusions``, ``clare.decoders`` and so on.

    Returns:
        Sorted.
    """
    return sorted({*_own(package), *(point.name for point in _installed(package))})


def find_part(package: ModuleType, name: str, base: type[Part]) -> type[Part]:
    """The class of a part.

    Args:
        package: as in `list_parts`.
        name: one of `list_parts`, or the path of a ``.py`` file that holds one such class.
        base: what the class derives from.

    Raises:
        InputError: there is no such part, there are two, it holds no such class or several, or
            it is a file that the user never named.
    """
    name = resolve_part(package, name)
    if is_path(name):
        file, content = Path(name), Path(name).read_bytes()
        known = {*_named, *_recorded()}
        if _line(file, content) not in known:
            changed = any(line.endswith(f" {_quoted(file)}") for line in known)
            why = "has changed since you named it" if changed else "is code that you never named"
            raise InputError(
                f"{name} {why}",
                Run("trust", (name,), effect="lets it be used, once you have read it"),
            )
        return _only_class(_load(file, content), base, name)
    if name in _own(package):
        where = f"{package.__name__}.{name}"
        return _only_class(importlib.import_module(where), base, where)
    (point,) = (point for point in _installed(package) if point.name == name)
    found = point.load()
    if isinstance(found, ModuleType):
        return _only_class(found, base, point.value)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InputError(f"{_kind(package)} {name} is {point.value}, which is no {base.__name__}")
    return found


def resolve_part(package: ModuleType, name: str) -> str:
    """A part's name as it is recorded: a path becomes absolute. The part itself is not loaded.

    Args:
        package: as in `list_parts`.
        name: as in `find_part`.

    Raises:
        InputError: there is no such part, or there are two.
    """
    kind = _kind(package)
    if is_path(name):
        file = Path(name).expanduser().absolute()
        if not file.is_file():
            raise InputError(f"{kind} {file} is no file: it has to lie there to be used")
        if not part_name(name).isidentifier():
            raise InputError(
                f"{kind} {file.name} needs another name: letters, digits and underscores before .py"
            )
        return str(file)
    if name not in list_parts(package):
        _modules.cache_clear()  # it may have been written or installed since, as from a notebook
        _entry_points.cache_clear()
    places = [f"{package.__name__}.{name}"] * (name in _own(package))
    places += [point.value for point in _installed(package) if point.name == name]
    if len(places) > 1:
        raise InputError(f"{kind} {name} stands in several places: {', '.join(places)}")
    if not places:
        names = list_parts(package)
        near = difflib.get_close_matches(name, names, n=1)
        if Path(f"{name}.py").is_file():
            meant = f"did you mean the file here, ./{name}.py?"
        elif near:
            meant = f"did you mean {near[0]}?"
        else:
            others = (
                "others are named by the path of their file, or come with a package once it is "
            )
            meant = f"there are {', '.join(names)}; {others}installed"
        raise InputError(f"no {kind} {name!r}: {meant}")
    return name


def trust(file: Path | str) -> Path:
    """Let runs and stores that name a file as their part use the code in it, now and later.

    What stands there now is trusted; code that changes is asked for again.

    Args:
        file: a ``.py`` file whose code the user has read, or wrote.

    Returns:
        Its absolute path.

    Raises:
        InputError: there is no such file, or the list of these files can't be written.
    """
    path = trust_here(file)
    line = _line(path, path.read_bytes())
    if line not in _recorded():
        try:
            _trusted().parent.mkdir(parents=True, exist_ok=True)
            with _trusted().open("a", encoding="ascii") as known:
                known.write(f"{line}\n")
        except OSError as error:
            raise InputError(
                f"{_trusted()} can't be written ({error.strerror}), which keeps the files that may "
                "be used as parts"
            ) from error
    return path


def trust_here(file: Path | str) -> Path:
    """`trust` for this process alone: nothing is written."""
    path = Path(file).expanduser().absolute()
    if not (is_path(path.name) and path.is_file()):
        raise InputError(f"{path} is no Python file")
    _named.add(_line(path, path.read_bytes()))
    return path


def trust_named(names: Iterable[object]) -> None:
    """`trust` those of a user's own values that name a part by its file."""
    for name in names:
        if isinstance(name, str) and is_path(name) and Path(name).expanduser().is_file():
            with suppress(InputError):  # of a home that can't be written: for this process alone
                trust(name)


def part_name(name: str) -> str:
    """A part's short name, for folders, tables and settings: ``film`` for ``./my/film.py``."""
    return Path(name).stem if is_path(name) else name


def is_path(name: str) -> bool:
    """Whether a part is named by the path of its file."""
    return name.endswith(".py")


_named: set[str] = set()
"""Files that were named in this process, each as the line that records it."""


def _trusted() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "clare" / "parts"


def _recorded() -> Sequence[str]:
    try:
        return _trusted().read_text("ascii", "replace").splitlines()
    except OSError:
        return ()


def _line(file: Path, content: bytes) -> str:
    """What is recorded of a file: the hash of its content, and its path."""
    return f"{hashlib.sha256(content).hexdigest()} {_quoted(file)}"


def _quoted(file: Path) -> str:
    """A path in ASCII and without line breaks, whatever is in its name."""
    return json.dumps(str(file))


def _own(package: ModuleType) -> Sequence[str]:
    return _modules(tuple(package.__path__))


@cache  # each lookup of a part asks, many times a run
def _modules(path: Sequence[str]) -> Sequence[str]:
    """The modules in some folders, but for those that help the others."""
    names = (module.name for module in pkgutil.iter_modules(path))
    return tuple(name for name in names if not name.startswith("_"))


def _installed(package: ModuleType) -> Sequence[EntryPoint]:
    return _entry_points(tuple(sys.path)).get(f"clare.{_kind(package)}s", ())


@cache  # every installed package's folder is read for it
def _entry_points(_path: Sequence[str]) -> Mapping[str, Sequence[EntryPoint]]:
    """The entry points of all groups of ours, by group."""
    from importlib.metadata import entry_points

    points = entry_points()
    ours = [group for group in points.groups if group.startswith("clare.")]
    return {group: tuple(points.select(group=group)) for group in ours}


def _kind(package: ModuleType) -> str:
    return package.__name__.rpartition(".")[2].removesuffix("s")


def _load(file: Path, content: bytes) -> ModuleType:
    """The module of a file, under a name that only depends on its path; anew once it changed."""
    place = hashlib.sha256(str(file).encode()).hexdigest()[:8]
    name = f"clare_part_{place}.{file.stem}"
    known = sys.modules.get(name)
    if known is not None and known.__dict__["CONTENT"] == content:
        return known
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__dict__["CONTENT"] = content
    sys.modules[name] = module  # dataclasses look their own module up
    try:
        exec(compile(content, file, "exec"), module.__dict__)  # not a cached .pyc, seconds old
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _only_class(module: ModuleType, base: type[Part], where: str) -> type[Part]:
    found = {
        member
        for name, member in vars(module).items()
        if isinstance(member, type)
        and issubclass(member, base)
        and member.__module__ == module.__name__
        and not (inspect.isabstract(member) or name.startswith("_"))
    }
    if len(found) == 1:
        return found.pop()
    names = ", ".join(sorted(cls.__name__ for cls in found))
    many = f"several classes that derive from {base.__name__} ({names})" if found else "no class"
    wanted = "" if found else f" that derives from {base.__name__} and has all of its methods"
    raise InputError(f"{where} holds {many}{wanted}: a part is one class of one file")

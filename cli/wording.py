"""Settings and operations as a terminal spells them: ``out`` is ``--out``.

The names are those of the commands' own parameters, so that there is no second list: a setting
``recode`` is the option whose parameter is ``recode``, and a part's setting ``lare.size`` the one
whose parameter is ``lare_size``, or ``--set lare.size=`` where it has no option.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clare.advice import Notice, Run
from clare.cli.command import commands_below, find_command, running
from clare.errors import ClareError


class OptionWording:
    """How the options of a command are typed.

    Args:
        command: that is spoken to; what it has no option for is looked up in the others.
        root: the group of all commands.
    """

    def __init__(self, command: Any, root: Any) -> None:
        self._command, self._root = command, root

    def setting(self, name: str) -> str:
        """An option, as ``--out``, or the name of an argument, as ``RUNS``."""
        parameter = self._find(name)
        if parameter is not None:
            return spelled(parameter)
        assigned = _assigned(self._command, name)
        return f"--set {assigned}=" if assigned else f"--{_dashed(name)}"

    def assignment(self, name: str, value: Any) -> str:
        """An option with its value, as ``--recode jpeg:95``; quoted as a shell reads it."""
        parameter = self._find(name)
        if parameter is not None:
            return shlex.join(_typed(parameter, value))
        assigned = _assigned(self._command, name)
        if assigned:
            return shlex.join(["--set", f"{assigned}={_json(value)}"])
        return shlex.join([f"--{_dashed(name)}", *([] if value is True else [_text(value)])])

    def operation(self, run: Run) -> str:
        """A command, as ``clare store verify features.zarr --repair``."""
        path = tuple(_dashed(word) for word in run.operation.split("."))
        own = OptionWording(find_command(self._root, path), None)
        words = [shlex.quote(_text(value)) for value in run.arguments]
        words += [own.assignment(name, value) for name, value in run.settings.items()]
        return " ".join(["clare", *path, *words])

    def _find(self, name: str) -> Any:
        parameter = find_parameter(self._command, name)
        if parameter is None and self._root is not None and not _assigned(self._command, name):
            others = (find_parameter(one, name) for _, one in commands_below(self._root))
            parameter = next((one for one in others if one is not None), None)
        return parameter


def worded(said: ClareError | Notice | str) -> str:
    """An error or a notice, in the options of the command that runs or has failed."""
    return said if isinstance(said, str) else said.worded(options())


def options() -> OptionWording:
    """The wording of the command that runs or has failed."""
    context = running()
    return OptionWording(context and context.command, context and context.find_root().command)


def command_line(run: Run) -> str:
    """An operation as the command that does it."""
    context = running()
    return OptionWording(None, context and context.find_root().command).operation(run)


def find_parameter(command: Any, name: str) -> Any:
    """The parameter of a command that a setting is given by; None where it has none.

    A list may be named by its singular: the seeds of a sweep are its settings ``seed``.
    """
    known = {} if command is None else {one.name.rstrip("_"): one for one in command.params}
    plain = name.replace(".", "_")
    forms = (plain, f"{plain}s", plain.removesuffix("s"))
    return next((known[form] for form in forms if form in known), None)


def spelled(parameter: Any) -> str:
    """A parameter as a user knows it: ``--out``, or ``RUNS``."""
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name.upper()
    return str(max(parameter.opts, key=len))


def _assigned(command: Any, name: str) -> str | None:
    """What ``--set`` calls a setting, where a command has this option and the setting."""
    if find_parameter(command, "set") is None:
        return None
    if "." in name:
        return name
    from clare.heads.config import TrainConfig
    from clare.settings import describe

    is_training = find_parameter(command, "fusion") is not None
    known = is_training and name in {one.name for one in describe(TrainConfig)}
    return f"train.{name}" if known else None


def _typed(parameter: Any, value: Any) -> Iterator[str]:
    """The words of a parameter with a value."""
    several = parameter.nargs == -1 or getattr(parameter, "multiple", False)
    values = value if several and isinstance(value, list | tuple) else [value]
    for one in values:
        if parameter.param_type_name == "argument":
            yield _text(one)
        elif getattr(parameter, "is_flag", False):
            off = parameter.secondary_opts
            yield off[0] if one is False and off else spelled(parameter)
        else:
            yield from (spelled(parameter), _text(one))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_text(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    if isinstance(value, Path) and ":/" in str(value):
        from clare.store.bucket.places import place_of

        return str(place_of(value))  # a path of a URL has lost a slash
    return str(value)


def _json(value: Any) -> str:
    """A value of ``--set``: JSON, or plain text."""
    return json.dumps(value) if isinstance(value, Mapping | list | tuple) else _text(value)


def _dashed(name: str) -> str:
    return name.rstrip("_").replace("_", "-").replace(".", "-")

"""Which names and paths from a file are taken: none may lead out of the folder it is meant for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath, PureWindowsPath

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PART = r"(?!\.)[^/\\:\x00-\x1f\x7f]+"
_PATH = rf"(?:{_PART}/)*{_PART}"
_CLEAN = re.compile(_PATH)
_ALL_CLEAN = re.compile(rf"(?:{_PATH}\n)*")
"""Nearly all paths that there are, told at once: an index holds them by the million."""


def is_plain(name: object) -> bool:
    """Whether a name can be that of one file or folder everywhere."""
    return isinstance(name, str) and _PLAIN.fullmatch(name) is not None


def has_control(text: str) -> bool:
    """Whether a text has control characters."""
    return _CONTROL.search(text) is not None


def are_clean(paths: Iterable[str]) -> bool:
    """Whether no path of many has a `path_fault`; False may also mean that one looks unusual."""
    return _ALL_CLEAN.fullmatch("".join(f"{path}\n" for path in paths)) is not None


def path_fault(path: str) -> str | None:
    """What keeps a path from being a plain relative POSIX path; None where nothing does."""
    if _CLEAN.fullmatch(path):
        return None
    if "\\" in path:
        return "has a backslash"
    if path.startswith("/") or PureWindowsPath(path).drive:
        return "is absolute"
    if ".." in path.split("/"):
        return "leaves its root"
    if has_control(path):
        return "has control characters"
    # One file under two spellings would escape the rules on labels and splits.
    if not path or str(PurePosixPath(path)) != path or path == ".":
        return "is not in its shortest form"
    return None

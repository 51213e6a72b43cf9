"""Defaults of the commands: environment variables, and `clare.toml` in the working folder.

``clare.toml`` only fills in what the environment leaves out, so an option wins over the
environment and the environment over the file::

    store = "features.zarr"
    manifests = "data_manifests"
    root = "/data"
    [roots]
    df40_test = "~/DF40"

A leading ``~`` is the home folder, as in a shell.
"""

from __future__ import annotations

import os
from pathlib import Path

from clare.errors import InputError

FILE = Path("clare.toml")
_KEYS = ("store", "manifests", "root", "roots")


def load_defaults(file: Path = FILE) -> None:
    """Put the settings of ``clare.toml``, where it exists, into the environment.

    Raises:
        InputError: the file is not TOML, or sets something that does not exist.
    """
    if not file.exists():
        return
    from clare.foreign import parse_toml, read_text, reading

    with reading(file, "TOML"):
        settings = parse_toml(read_text(file))
    unknown = sorted(set(settings) - set(_KEYS))
    roots = settings.pop("roots", {})
    if unknown or not isinstance(roots, dict):
        raise InputError(
            f"{file} sets {', '.join(unknown) or 'roots'}; it may set {', '.join(_KEYS)}, "
            "and [roots] is a table of NAME = folder"
        )
    values = {f"CLARE_{key.upper()}": value for key, value in settings.items()}
    values |= {f"CLARE_ROOT_{name.upper()}": value for name, value in roots.items()}
    for name, value in values.items():
        if not isinstance(value, str):
            raise InputError(f"{file}: {name.removeprefix('CLARE_').lower()} is not a text")
        if "=" in name or "\0" in name + value:
            what = name.removeprefix("CLARE_").lower()
            raise InputError(f"{file}: {what!r} has a sign that no name and no folder has")
        os.environ.setdefault(name, os.path.expanduser(value))  # noqa: PTH111 - an unknown ~name stays

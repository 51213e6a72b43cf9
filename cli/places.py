"""Where a command writes: looked at before hours of work, not after them."""

from __future__ import annotations

import os
from pathlib import Path

from clare.errors import InputError


def prepare_folder(path: Path, option: str) -> None:
    """Make a folder that will be written to.

    Args:
        path: the folder.
        option: that named it, for the message.

    Raises:
        InputError: it is a file, or can't be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if path.is_file() else error.strerror
        raise InputError(f"{option} {path} can't be a folder to write to: {reason}") from error
    if not os.access(path, os.W_OK):
        raise InputError(f"{option} {path} can't be a folder to write to: permission denied")


def prepare_file(path: Path, option: str) -> None:
    """See that a file can be written, and leave it as it is.

    Args:
        path: the file.
        option: that named it, for the message.

    Raises:
        InputError: it is a folder, or can't be written.
    """
    if path.is_dir():
        raise InputError(f"{option} {path} is a folder; name a file")
    is_new = not path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise InputError(f"{option} {path} can't be written: {error.strerror}") from error

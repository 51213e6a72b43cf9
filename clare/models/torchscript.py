"""The tensors of a TorchScript archive, read as data: nothing of what it brings is run.

`torch.jit.load` runs code of the archive while it loads. Here its pickle, which lays out modules
and where their tensors lie, is read as `clare.models.inert` does, and only what stands for tensors
is looked at.
"""

from __future__ import annotations

import zipfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clare.models.inert import Shell, is_tensor, open_archive

if TYPE_CHECKING:
    import torch

MOST_MEMBERS = 100_000
"""Modules, tensors and others of one model, wherever each stands. Real ones have a few thousand."""

MOST_LETTERS = 1000
"""Of a name, which grows with each module within a module."""


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, as OpenAI's own weights are."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False  # what is wrong with it, if anything, the reader of its own kind says


def read_torchscript(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of an archive's modules by their dotted names.

    Raises:
        ValueError: the archive is of another layout, or damaged.
        zipfile.BadZipFile: the same.
        pickle.UnpicklingError: the same.
    """
    with open_archive(path) as archive:
        return {name: archive.tensor(shell) for name, shell in _walk(archive.root)}


def _walk(root: Any) -> Iterator[tuple[str, Shell]]:
    """The tensors below a module; one that stands in several places is met in each of them."""
    waiting = deque([(root, "")])
    met = 0
    while waiting:
        shell, name = waiting.popleft()
        if not isinstance(shell, Shell) or not isinstance(shell.state, dict):
            continue
        for key, value in shell.state.items():
            met += 1
            if met > MOST_MEMBERS or len(name) > MOST_LETTERS:
                raise ValueError("it has too many modules")
            if isinstance(value, Shell):
                if is_tensor(value):
                    yield f"{name}{key}", value
                else:
                    waiting.append((value, f"{name}{key}."))

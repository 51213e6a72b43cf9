"""The tensors of a TorchScript archive, read as data: nothing of what it brings is run.

`torch.jit.load` runs code of the archive while it loads. The archive is a zip file: ``data.pkl`` is
a pickle that lays out modules and where their tensors lie, and each record below ``data/`` holds
one storage's bytes. Here the pickle's every name becomes an inert shell, and only the shells that
stand for tensors are looked at.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
"""torch's name of a storage, and the type of what it holds."""

MOST_MEMBERS = 100_000
"""Modules, tensors and others of one model, wherever each stands. Real ones have a few thousand."""

MOST_LETTERS = 1000
"""Of a name, which grows with each module within a module."""


class _Shell:
    """What a pickle would have made: its arguments and state, and nothing done with them."""

    name = ""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Items of a mapping: none of them holds a parameter."""


class _Unpickler(pickle.Unpickler):
    """Every name is a shell, so that no opcode has anything to call."""

    def find_class(self, module: str, name: str) -> Any:
        return type("Shell", (_Shell,), {"name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        shell = _Shell(*pid)
        shell.name = "storage"
        return shell


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
    with zipfile.ZipFile(path) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/data.pkl") and n.count("/") == 1)
        root = _Unpickler(io.BytesIO(_record(archive, name))).load()
        folder = name.removesuffix(".pkl")
        storages: dict[str, bytearray] = {}
        found: dict[str, torch.Tensor] = {}
        room = 2 * path.stat().st_size  # tensors may share a storage, as tied weights do; not many
        for dotted, shell in _walk(root):
            view = _tensor(shell, archive, folder, storages)
            room -= view.nbytes
            if room < 0:
                raise ValueError("its tensors are larger than the file")
            found[dotted] = view.contiguous()
        return found


def _record(archive: zipfile.ZipFile, name: str) -> bytes:
    """A record's bytes; torch never compresses, so that none is larger than the file."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    return archive.read(name)


def _walk(root: Any) -> Iterator[tuple[str, _Shell]]:
    """The tensors below a module; one that stands in several places is met in each of them."""
    waiting = deque([(root, "")])
    met = 0
    while waiting:
        shell, name = waiting.popleft()
        if not isinstance(shell, _Shell) or not isinstance(shell.state, dict):
            continue
        for key, value in shell.state.items():
            met += 1
            if met > MOST_MEMBERS or len(name) > MOST_LETTERS:
                raise ValueError("it has too many modules")
            if isinstance(value, _Shell):
                if value.name.startswith("torch._utils._rebuild_"):
                    yield f"{name}{key}", value
                else:
                    waiting.append((value, f"{name}{key}."))


def _tensor(
    shell: _Shell, archive: zipfile.ZipFile, folder: str, storages: dict[str, bytearray]
) -> torch.Tensor:
    import torch

    if shell.name == "torch._utils._rebuild_parameter":
        shell = shell.arguments[0]
    if shell.name != "torch._utils._rebuild_tensor_v2":
        raise ValueError(f"it has a tensor of another kind ({shell.name})")
    storage, offset, size, stride = shell.arguments[:4]
    _, kind, key, _, _ = storage.arguments
    dtype = getattr(torch, _STORAGES[kind.name.removeprefix("torch.")])
    if key not in storages:
        storages[key] = bytearray(_record(archive, f"{folder}/{key}"))
    data = (
        torch.frombuffer(storages[key], dtype=dtype)
        if storages[key]
        else torch.empty(0, dtype=dtype)
    )
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError("a tensor has no shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if (0 not in size and last >= len(data)) or math.prod(size) > len(data):
        raise ValueError("a tensor reaches beyond its storage")
    return data.as_strided(size, stride, offset)

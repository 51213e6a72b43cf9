"""Pickles that hold tensors, read as data: every name in them becomes a shell that does nothing.

PyTorch's files are zip archives: ``data.pkl`` is a pickle that lays out where tensors lie, and
each record below ``data/`` holds one storage's bytes. `torch.load` with ``weights_only`` refuses a
pickle that names anything else, as that of a training's scheduler; here such a name has nothing to
call.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class Shell:
    """What a pickle would have made: its arguments and state, and nothing done with them.

    Attributes:
        name: what the pickle calls, as ``torch._utils._rebuild_tensor_v2``.
        arguments: that it calls it with.
        state: that it gives what it made.
    """

    name = ""
    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Items of a mapping of another kind than `OrderedDict`: none of them holds a parameter."""

    def append(self, value: Any) -> None:
        """Likewise of a list."""


class _Unpickler(pickle._Unpickler):
    """Every name is a shell, so that no opcode has anything to call; but for ordered mappings.

    Python's own unpickler, since the one in C makes room for any place in its memory that a file
    names.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        return type("Shell", (Shell,), {"name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        shell = Shell(*pid)
        shell.name = "storage"
        return shell


class TensorArchive:
    """A zip archive of PyTorch's, opened by `open_archive`.

    Attributes:
        root: what its pickle lays out: plain values, mappings, and shells.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        (name,) = (n for n in archive.namelist() if n.endswith("/data.pkl") and n.count("/") == 1)
        self._archive = archive
        self._folder = name.removesuffix(".pkl")
        self._storages: dict[str, bytearray] = {}
        # Tensors may share a storage, as tied weights do; not many.
        self._room = 2 * size
        self.root: Any = _Unpickler(io.BytesIO(self._record(name))).load()

    def tensor(self, shell: Shell) -> torch.Tensor:
        """The tensor that a shell stands for.

        Raises:
            ValueError: it is of another kind, or damaged.
        """
        view = _tensor(shell, self._storage)
        self._room -= view.nbytes
        if self._room < 0:
            raise ValueError("its tensors are larger than the file")
        return view.contiguous()

    def _storage(self, key: str) -> bytearray:
        if key not in self._storages:
            self._storages[key] = bytearray(self._record(f"{self._folder}/{key}"))
        return self._storages[key]

    def _record(self, name: str) -> bytes:
        """A record's bytes; torch never compresses, so that none is larger than the file."""
        if self._archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed")
        return self._archive.read(name)


@contextmanager
def open_archive(path: Path) -> Iterator[TensorArchive]:
    """Open a file of `torch.save` or a TorchScript archive.

    Raises:
        ValueError: the archive is of another layout, or damaged.
        zipfile.BadZipFile: the same.
        pickle.UnpicklingError: the same.
    """
    with zipfile.ZipFile(path) as archive:
        yield TensorArchive(archive, path.stat().st_size)


def is_tensor(value: Any) -> bool:
    """Whether something of an archive's root stands for a tensor."""
    return isinstance(value, Shell) and value.name.startswith("torch._utils._rebuild_")


def _tensor(shell: Shell, storage_of: Callable[[str], bytearray]) -> torch.Tensor:
    import torch

    if shell.name == "torch._utils._rebuild_parameter":
        shell = shell.arguments[0]
    if shell.name != "torch._utils._rebuild_tensor_v2":
        raise ValueError(f"it has a tensor of another kind ({shell.name})")
    storage, offset, size, stride = shell.arguments[:4]
    _, kind, key, _, _ = storage.arguments
    dtype = getattr(torch, _STORAGES[kind.name.removeprefix("torch.")])
    bytes_ = storage_of(key)
    data = torch.frombuffer(bytes_, dtype=dtype) if bytes_ else torch.empty(0, dtype=dtype)
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError("a tensor has no shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if (0 not in size and last >= len(data)) or math.prod(size) > len(data):
        raise ValueError("a tensor reaches beyond its storage")
    return data.as_strided(size, stride, offset)

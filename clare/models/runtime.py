"""Where and how the models run: device, precision, memory format."""

from __future__ import annotations

import contextlib
import logging
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clare.advice import LeaveOut, Name, Set
from clare.errors import InputError
from clare.slurm import device_of_task

if TYPE_CHECKING:
    import numpy as np
    import torch


Dtype = Literal["float32", "bfloat16", "float16"]
"""The types that models may run in; what is stored does not depend on the choice."""

DTYPES: tuple[Dtype, ...] = typing.get_args(Dtype)

_log = logging.getLogger("clare")

GPU_DTYPE: Dtype = "float16"
"""Three more bits of mantissa than bfloat16 at the same speed; overflow is caught row by row."""


@dataclass(frozen=True)
class Runtime:
    """Where and how the models run. Of all this only `dtype` is in a fingerprint.

    Args:
        device: a torch device, for example ``cuda``.
        dtype: precision of the models.
        compile: pass the models through ``torch.compile``.

    Raises:
        InputError: the dtype is unknown.
    """

    device: str = "cpu"
    dtype: Dtype = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"dtype {self.dtype!r} is unknown: choose one of {', '.join(DTYPES)}")

    @property
    def torch_dtype(self) -> torch.dtype:
        """`dtype` as torch names it."""
        import torch

        return typing.cast("torch.dtype", getattr(torch, self.dtype))

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of image-like tensors."""
        import torch

        on_gpu = self.device.startswith("cuda")
        return torch.channels_last if on_gpu else torch.contiguous_format

    def place(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model, frozen, in evaluation mode, in the runtime's dtype, layout and place.

        Raises:
            InputError: the device's memory is too small.
        """
        model.requires_grad_(False).eval()
        with enough_memory(f"{type(model).__name__} on {self.device}"):
            model = model.to(self.device, self.torch_dtype)
            return model.to(memory_format=self.memory_format)

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """The array on the device; on a GPU the copy does not wait."""
        import torch

        tensor = torch.from_numpy(array)
        if self.device.startswith("cuda"):
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)


def choose_runtime(
    device: str = "auto",
    dtype: Dtype | Literal["auto"] = "auto",
    *,
    compile: bool = False,
    task: int | None = None,
) -> Runtime:
    """Resolve ``auto``: a GPU if there is one, and half precision on it.

    Of several that the tasks of a SLURM job on one node share, each takes its own: it is made the
    process's current one, so that ``cuda`` names it.

    Args:
        device: ``auto`` or a torch device.
        dtype: ``auto`` or one of `DTYPES`.
        compile: pass the models through ``torch.compile``.
        task: number of this process among those that share the devices, where SLURM does not
            tell it.

    Raises:
        InputError: the device is not there, or a name is unknown.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda":
            torch.cuda.set_device(device_of_task(torch.cuda.device_count(), task))
    try:
        torch.empty(1, device=device)
    # What torch raises for a device that is unknown, not built in (CUDA) or without storage (meta).
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device {device} can't be used ({reason})", Set("device", "cpu")
        ) from error
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.backends.cudnn.benchmark = True  # every batch has one shape: search once, gain always
    chosen: Dtype = (GPU_DTYPE if on_gpu else "float32") if dtype == "auto" else dtype
    name = f" ({torch.cuda.get_device_name(device)})" if on_gpu else ""
    _log.info("device %s%s, %s, %d CPU threads", device, name, chosen, torch.get_num_threads())
    if compile:
        require_compiler(device)
    return Runtime(device=device, dtype=chosen, compile=compile)


def require_compiler(device: str) -> None:
    """Refuse ``torch.compile`` where what it writes can't be built, before anything is read.

    A small function is compiled, since it depends on the device what that takes: a C++ compiler, a
    C compiler and Triton, headers of Python.

    Args:
        device: a torch device.

    Raises:
        InputError: it can't; says why.
    """
    import torch

    try:
        torch.compile(lambda one: one + 1)(torch.ones(2, device=device))
    except Exception as error:  # of Dynamo, of a backend, of a compiler's process
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"torch.compile can't build anything for {device} here ({reason})",
            "install a C++ compiler, for example g++",
            LeaveOut("compile"),
        ) from error


@contextlib.contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """One sentence where the memory of the machine or the device is too small for something.

    Raises:
        InputError: it is.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"there is not enough memory for {what}",
            "use a smaller model",
            Set("dtype", "float16"),
            Name("another", "device"),
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether the machine, or the device, had no memory left."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU allocator has no exception class of its own.
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)

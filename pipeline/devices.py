"""Which device and precision a run uses where the user leaves it open."""

from __future__ import annotations

from clare.errors import InputError
from clare.pipeline.extractor import Runtime

GPU_DTYPE = "float16"
"""Three more bits of mantissa than bfloat16 at the same speed; overflow is caught row by row."""


def choose_runtime(device: str = "auto", dtype: str = "auto", *, compile: bool = False) -> Runtime:
    """Resolve ``auto``: the first GPU that there is, and half precision on it.

    Args:
        device: ``auto`` or a torch device.
        dtype: ``auto`` or one of `clare.pipeline.extractor.DTYPES`.
        compile: pass the models through ``torch.compile``.

    Raises:
        InputError: the device is not there, or a name is unknown.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    # What torch raises for a device that is unknown, not built in (CUDA) or without storage (meta).
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {device} can't be used ({reason}); try --device cpu") from error
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.backends.cudnn.benchmark = True  # every batch has one shape: search once, gain always
    if dtype == "auto":
        dtype = GPU_DTYPE if on_gpu else "float32"
    return Runtime(device=device, dtype=dtype, compile=compile)

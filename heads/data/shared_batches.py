"""Batches that workers hand to the main process in shared memory that is used again.

Fresh shared memory costs a page fault every 4 KiB, which takes longer than to copy rows into it. So
a worker keeps its buffers: it fills one with a batch and sends where it lies, and the main process
gives it back once nothing there holds the batch's memory any more. Two facts make that safe:

- A tensor made by `torch.from_numpy` keeps its array alive, and an array the one that it is a part
  of: when the array over the whole buffer is gone, so is every tensor and view of the batch.
- PyTorch takes no memory of an array for shared: what leaves a process in another way is copied.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from math import prod
from multiprocessing.reduction import ForkingPickler
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch

Layout = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Shape and type of a batch's tensors, by name."""

_ALIGNED = 64
"""Tensors start at multiples of it; the first such piece is the buffer's own."""

_KEPT = 8
"""Buffers of a worker: as many batches as usually wait, and some that the main process holds."""


class SharedBatch(dict[str, torch.Tensor]):
    """A batch in a worker's buffer; a plain dictionary once it has come to the main process."""

    def __init__(self, buffer: _Buffer, layout: Layout) -> None:
        super().__init__()
        whole, end = buffer.lend(), 0
        for name, (shape, dtype) in layout.items():
            start = end + _ALIGNED - end % _ALIGNED
            end = start + prod(shape) * dtype.itemsize
            self[name] = torch.from_numpy(whole[start:end].view(dtype).reshape(shape))
        self._buffer: _Buffer | None = buffer

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # a copy is no buffer's batch

    def send(self) -> tuple[Any, ...]:
        """How the process that it is sent to makes the batch; a buffer is lent but once."""
        buffer, self._buffer = self._buffer, None
        if buffer is None:
            return self.__reduce__()
        parts = {name: buffer.place(value) or value for name, value in self.items()}
        if not any(isinstance(part, _Place) for part in parts.values()):
            return self.__reduce__()  # all was replaced, and the buffer may be lent again already
        buffer.flag[0] = 1
        return _receive, (buffer.memory, parts)


class SharedBuffers:
    """The buffers of one worker process, each for a batch at a time; copies start without any."""

    def __init__(self) -> None:
        self._buffers: list[_Buffer] = []
        self._lock = Lock()  # a dataset of one's own may read in threads

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedBuffers, ()

    def take(self, layout: Layout) -> SharedBatch | None:
        """A batch to be filled; None while all buffers are in use."""
        with self._lock:
            return self._take(layout)

    def _take(self, layout: Layout) -> SharedBatch | None:
        size = _ALIGNED + sum(prod(s) * d.itemsize + _ALIGNED for s, d in layout.values())
        free = [buffer for buffer in self._buffers if buffer.is_free()]
        found = next((buffer for buffer in free if len(buffer.memory) >= size), None)
        if found is None:
            if free:  # too small
                self._buffers.remove(free[0])
            if len(self._buffers) == _KEPT:
                return None
            found = _Buffer(size)
            self._buffers.append(found)
        return SharedBatch(found, layout)


class _Place(NamedTuple):
    """Where a tensor lies in a buffer."""

    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    def tensor(self, whole: np.ndarray) -> torch.Tensor:
        """The tensor, which keeps the array alive."""
        end = self.start + prod(self.shape) * self.dtype.itemsize
        return torch.from_numpy(whole[self.start : end]).view(self.dtype).view(self.shape)


class _Buffer:
    """Shared memory; its first byte is 1 while the other process has a batch in it."""

    def __init__(self, size: int) -> None:
        self.memory = torch.zeros(size, dtype=torch.uint8).share_memory_()
        self.flag = self.memory.numpy()[:1]
        self._whole: weakref.ref[np.ndarray] | None = None

    def is_free(self) -> bool:
        """Whether neither process holds anything of its last batch.

        In this order: what is sent is let go here only after the flag is up.
        """
        return (self._whole is None or self._whole() is None) and not self.flag[0]

    def lend(self) -> np.ndarray:
        """All of it; in use here until nothing holds the array."""
        whole = self.memory.numpy()
        self._whole = weakref.ref(whole)
        return whole

    def place(self, value: Any) -> _Place | None:
        """Where a plain tensor lies in the buffer; None of anything else."""
        if type(value) is not torch.Tensor or value.layout is not torch.strided:
            return None
        if value.requires_grad or not value.is_contiguous():
            return None
        start = value.data_ptr() - self.memory.data_ptr()
        inside = 0 <= start < len(self.memory)
        return _Place(start, tuple(value.shape), value.dtype) if inside else None


def _receive(memory: torch.Tensor, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The batch, in the process that it was sent to."""
    whole = memory.numpy()
    ends = weakref.finalize(whole, _give_back, memory.numpy()[:1], os.getpid())
    ends.atexit = False
    return {
        name: part.tensor(whole) if isinstance(part, _Place) else part
        for name, part in parts.items()
    }


def _give_back(flag: np.ndarray, process: int) -> None:
    if os.getpid() == process:  # a forked child loses no more than its view of the batch
        flag[0] = 0


ForkingPickler.register(SharedBatch, SharedBatch.send)

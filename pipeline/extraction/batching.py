"""Micro-batches: padded to one size, halved when memory runs out, fetched one batch behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clare.advice import Name, Set
from clare.errors import InputError
from clare.models.runtime import is_out_of_memory

if TYPE_CHECKING:
    import torch

    from clare.pipeline.extraction.loading import Inputs
    from clare.pipeline.extractor import Extractor

LARGEST_BATCH = {"cuda": 64, "mps": 16, "cpu": 8}
"""Images a micro-batch where memory allows: beyond these no device of its kind gets faster."""


def largest_batch(device: str) -> int:
    """Images a micro-batch on a torch device, where memory allows."""
    return LARGEST_BATCH.get(device.partition(":")[0], LARGEST_BATCH["cpu"])


_log = logging.getLogger("clare")


class BatchTooLargeError(Exception):
    """A micro-batch did not fit; the runner's `micro_batch` is halved already."""


@dataclass
class Launched:
    """A micro-batch on its way: `fetch` waits for it.

    Attributes:
        seconds: that the models' thread spent on it, so far.
        cpu: seconds of that thread's core.
    """

    values: dict[str, torch.Tensor]
    finite: torch.Tensor
    rows: int
    ready: torch.cuda.Event | None
    seconds: float = 0.0
    cpu: float = 0.0

    def fetch(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Wait for the device.

        Returns:
            Field to array ``(rows, *shape)``, and a mask ``(rows,)`` of the rows whose values
            are all finite in the stored type.
        """
        began, cpu = time.perf_counter(), time.thread_time()
        if self.ready is not None:
            self.ready.synchronize()
        self.seconds += time.perf_counter() - began
        self.cpu += time.thread_time() - cpu
        values = {f: v[: self.rows].numpy() for f, v in self.values.items()}
        return values, self.finite[: self.rows].numpy()


class BatchRunner:
    """Runs one extractor over micro-batches of one size.

    Equal batch shapes give equal bits on a CPU, whatever the neighbours (contract between the
    stages), so a short batch is padded with copies of its last row.

    Args:
        extractor: what to run.
        device: the torch device that the extractor's models are on.
        micro_batch: images a batch; None starts at the device's largest and halves as needed.
    """

    def __init__(self, extractor: Extractor, device: str, micro_batch: int | None = None) -> None:
        self.extractor = extractor
        self.micro_batch = micro_batch or largest_batch(device)
        self.seconds = 0.0
        self._device = device
        self.on_gpu = device.partition(":")[0] == "cuda"

    def made_with(self) -> dict[str, Any]:
        """What beside the fingerprint touches the last bits, for the journal."""
        import torch

        return {
            "micro_batch": self.micro_batch,
            "device": self._device,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            **({"card": torch.cuda.get_device_name(self._device)} if self.on_gpu else {}),
        }

    def launch(self, inputs: Sequence[Inputs]) -> Launched:
        """Start one micro-batch of at most `micro_batch` rows; on a GPU this does not wait.

        Raises:
            BatchTooLargeError: it does not fit; split it by the new `micro_batch` and go on.
            InputError: not even one image fits, or the extractor breaks the promise of its fields.
        """
        began, cpu = time.perf_counter(), time.thread_time()
        padded = [*inputs, *[inputs[-1]] * (self.micro_batch - len(inputs))]
        stacked = {k: np.stack([row[k] for row in padded]) for k in padded[0]}
        try:
            launched = self._forward(stacked, len(inputs))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self._halve()
            raise BatchTooLargeError from error
        launched.seconds = time.perf_counter() - began
        launched.cpu = time.thread_time() - cpu
        self.seconds += launched.seconds
        return launched

    def cost(self, launched: Launched) -> tuple[float, float]:
        """What a fetched batch took: seconds of the models' lane, and of all cores.

        On a CPU others take cores from the models, which makes them no dearer: time of the core
        counts, and every thread of torch has as much.
        """
        import torch

        if self._device != "cpu":
            return launched.seconds, launched.cpu
        return launched.cpu, launched.cpu * torch.get_num_threads()

    def fit(self, inputs: Inputs) -> None:
        """Find the micro-batch that fits a GPU, before it is told; a CPU finds it as it works.

        Args:
            inputs: what the extractor's `prepare` made of any image.
        """
        while self.on_gpu:
            with suppress(BatchTooLargeError):
                self.launch([inputs] * self.micro_batch).fetch()
                break
        self.seconds = 0.0

    def _forward(self, stacked: dict[str, np.ndarray], rows: int) -> Launched:
        import torch

        with torch.inference_mode():
            values = self.extractor.forward(stacked)
            self._check(values)
            finite = torch.stack(
                [torch.isfinite(v).flatten(1).all(1) for v in values.values()]
            ).all(0)
            if not self.on_gpu:
                return Launched(values, finite, rows, None)
            # Page-locked copies let the device go on to the next batch meanwhile.
            host = {f: _to_host(v) for f, v in values.items()}
            launched = Launched(host, _to_host(finite), rows, torch.cuda.Event())
            launched.ready.record()  # type: ignore[union-attr]
            return launched

    def _check(self, values: Mapping[str, torch.Tensor]) -> None:
        """Refuse what would be stored as zeros, spread over a row or rounded without a word."""
        promised = {
            spec.field: f"{spec.dtype} {(self.micro_batch, *spec.shape)}"
            for spec in self.extractor.fields
        }
        returned = {
            field: f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
            for field, value in values.items()
        }
        for field in {**promised, **returned}:
            if (found := returned.get(field)) != (wanted := promised.get(field)):
                raise InputError(
                    f"extractor {self.extractor.label} does not keep to its fields: of {field!r} "
                    f"they say {wanted or 'nothing'}, and forward returned {found or 'nothing'}"
                )

    def _halve(self) -> None:
        if self.micro_batch == 1:
            raise InputError(
                f"{self.extractor.label}: not even one image fits into the memory of the device",
                "use a smaller model",
                Set("dtype", "float16"),
                Name("another", "device"),
            )
        self.micro_batch //= 2
        _log.warning(
            "%s: out of memory, going on with micro-batches of %d",
            self.extractor.label,
            self.micro_batch,
        )


def _to_host(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)

"""Full-size models with random weights: speed, arithmetic, precision, and where the time goes.

    python -m benchmarks.full [--folder DIR]

Writes the models in their real formats (7 GB), loads them through the extractors, and prints for
each extractor and type: images per second and hour, GPU memory at its peak, TFLOP an image, share
of the device's matrix-unit peak, relative error of bfloat16 and float16 against float32, and a
profile.

A CPU has no fast float16 (a LaRE map takes minutes). There its error is that of float32 models
whose weights and whose modules' inputs and outputs are rounded, products summed in float32, as a
GPU does it; the same is done for bfloat16, beside the real one, to show what the stand-in is worth.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.arithmetic import count_tflop, product_tflops
from benchmarks.full_models import draw_pictures, write_full_models
from benchmarks.rounding import rounding
from benchmarks.rounds import Facts
from benchmarks.script import Parts, Script, main
from clare.models.runtime import Runtime, choose_runtime
from clare.pipeline.extractor import Extractor
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.settings import ImageSettings

PEAK_TFLOPS = {"H100": 989, "H200": 989, "A100": 312, "L40S": 362, "L4": 121, "RTX 4090": 165}
"""Dense half-precision peak of a device's matrix units, from the makers' data sheets."""

GPU_DTYPES = ("float32", "bfloat16", "float16")
CPU_DTYPES = ("float32", "bfloat16", "rounded:bfloat16", "rounded:float16")

RESIDUAL = 0.4
"""Deviation of a trained model's noise error at step 200: published maps lie near its square."""

Inputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Sizes:
    """Zero, or nothing, leaves it to the device."""

    device: str = "auto"
    images: int = 0
    micro_batch: int = 0
    dtypes: str = ""
    compile: int = 0


def parts(sizes: Sizes, folder: Path) -> Parts:
    """The first type is what the others are compared with."""
    runtime = choose_runtime(sizes.device, "float32", compile=bool(sizes.compile))
    on_gpu = runtime.device.startswith("cuda")
    images = sizes.images or (2048 if on_gpu else 4)
    batch = min(sizes.micro_batch or (32 if on_gpu else 4), images)
    usual = GPU_DTYPES if on_gpu else CPU_DTYPES
    dtypes = tuple(sizes.dtypes.split(",")) if sizes.dtypes else usual
    prepared = draw_pictures(batch)
    for name, settings in write_full_models(folder).items():
        exact: dict[str, torch.Tensor] = {}
        tflop = 0.0
        for dtype in dtypes:
            rounded = dtype.startswith("rounded:")
            if on_gpu:
                torch.cuda.reset_peak_memory_stats(runtime.device)
            plain = "float32" if rounded else dtype
            running = Runtime(runtime.device, plain, runtime.compile)  # type: ignore[arg-type]
            began = time.perf_counter()
            extractor = create_extractor(name, settings, ImageSettings(), running)
            row = {"load, s": time.perf_counter() - began}
            rows = [extractor.prepare(image) for image in prepared]
            inputs = {key: np.stack([r[key] for r in rows]) for key in rows[0]}
            with rounding(dtype.removeprefix("rounded:")) if rounded else nullcontext():
                values = _first_prediction(extractor, inputs)
            exact = exact or values
            tflop = tflop or count_tflop(partial(extractor.forward, inputs)) / batch
            if not rounded:
                speed = _speed(extractor, inputs, batch, images)
                row |= _rates(speed, tflop, runtime.device, dtype)
            yield Facts(f"{name}, {dtype}: speed", {f"{name}, {dtype}": row})
            yield Facts(f"{name}, {dtype}: relative error a row", _errors(values, exact))
            if not rounded:
                profile = _profile(extractor, inputs, runtime.device)
                shares = {key[:60]: {"share": share} for key, share in profile.items()}
                yield Facts(f"{name}, {dtype}: where the time goes", shares)
            del extractor
            gc.collect()


def _rates(speed: float, tflop: float, device: str, dtype: str) -> dict[str, float]:
    row = {"images/s": speed, "images/hour": 3600 * speed, "TFLOP an image": tflop}
    on_gpu = device.startswith("cuda")
    row["TFLOP/s"] = speed * tflop
    product = product_tflops(device, dtype, 8192 if on_gpu else 2048)
    row["of one product"] = speed * tflop / product
    if on_gpu:
        row["GPU memory, GiB"] = torch.cuda.max_memory_allocated(device) / 2**30
        card = torch.cuda.get_device_name(device)
        peak = next((p for key, p in PEAK_TFLOPS.items() if key in card), None)
        if peak is not None and dtype != "float32":
            row["of the peak"] = speed * tflop / peak
    return row


def _errors(
    values: Mapping[str, torch.Tensor], exact: Mapping[str, torch.Tensor]
) -> dict[str, dict[str, float]]:
    found = {name: _relative(value, exact[name]) for name, value in values.items()}
    if "prediction" in found:
        # For a normal error e of deviation r, a change d of the prediction moves the map e^2
        # by 2 e d, relative to its own length by 2 / sqrt(3) * d / r.
        trained = 2 / 3**0.5 * found["prediction"]["mean"] / RESIDUAL
        found[f"a map where a trained model's noise error is {RESIDUAL}"] = {"mean": trained}
    return found


def _first_prediction(extractor: Extractor, inputs: Inputs) -> dict[str, torch.Tensor]:
    """All fields, and what the UNet said on the way: what precision costs before the square."""
    seen: dict[str, torch.Tensor] = {}

    def keep(module: torch.nn.Module, inputs: object, output: Any) -> None:
        seen["prediction"] = output.sample

    unet = getattr(extractor, "_unet", None)
    hook = unet.register_forward_hook(keep) if unet is not None else None
    values = {**extractor.forward(inputs), **seen}
    if hook is not None:
        hook.remove()
    return {name: value.double().cpu() for name, value in values.items()}


def _relative(found: torch.Tensor, exact: torch.Tensor) -> dict[str, float]:
    """Relative error a row: mean and largest."""
    found, exact = found.flatten(1), exact.flatten(1)
    errors = (found - exact).norm(dim=1) / exact.norm(dim=1)
    return {"mean": errors.mean().item(), "max": errors.max().item()}


def _speed(extractor: Extractor, inputs: Inputs, batch: int, images: int) -> float:
    """Images a second of the forward pass, transfers included, after a warm-up on a GPU."""
    if torch.cuda.is_available():
        for _ in range(3):
            _fetch(extractor.forward(inputs))
    rounds = max(1, images // batch)
    began = time.perf_counter()
    waiting: dict[str, torch.Tensor] = {}
    for _ in range(rounds):
        launched = extractor.forward(inputs)
        _fetch(waiting)
        waiting = launched
    _fetch(waiting)
    return rounds * batch / (time.perf_counter() - began)


def _fetch(values: Mapping[str, torch.Tensor]) -> None:
    for value in values.values():
        value.cpu()


def _profile(extractor: Extractor, inputs: Inputs, device: str) -> dict[str, float]:
    """Share of the time by operation, the largest twelve."""
    from torch.profiler import ProfilerActivity, profile

    on_gpu = device.startswith("cuda")
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities) as recorded:
        extractor.forward(inputs)
        if on_gpu:
            torch.cuda.synchronize()
    kind = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    times = {event.key: float(getattr(event, kind)) for event in recorded.key_averages()}
    total = sum(times.values()) or 1.0
    largest = sorted(times, key=lambda key: -times[key])[:12]
    return {key: times[key] / total for key in largest}


SCRIPT = Script("full", __doc__, parts, Sizes(), toy=Sizes(images=1, micro_batch=1), full=Sizes())

if __name__ == "__main__":
    main(SCRIPT)

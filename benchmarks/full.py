"""Full-size models with random weights: speed, arithmetic, precision, and where the time goes.

    python benchmarks/full.py [--images N] [--device DEVICE] [--micro-batch N] [--dtypes A,B]
                              [--folder DIR] [--compile] [--json]

Writes the models in their real formats (7 GB, kept if --folder names a place), loads them through
the extractors, and prints for each extractor: images per second and hour, GPU memory at its peak,
TFLOP an image, share of the device's matrix-unit peak, relative error of bfloat16 and float16
against float32, and a profile.

A CPU has no fast float16 (a LaRE map takes minutes). There its error is that of float32 models
whose weights and whose modules' inputs and outputs are rounded, products summed in float32, as a
GPU does it; the same is done for bfloat16, beside the real one, to show what the stand-in is worth.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from full_models import (  # type: ignore[import-not-found]  # stands beside this script
    write_full_clip,
    write_full_diffusion,
)
from PIL import Image
from rich.console import Console
from rich.table import Table
from rounding import rounding  # type: ignore[import-not-found]
from torch.utils.flop_counter import FlopCounterMode

from clare.models.runtime import Runtime, choose_runtime
from clare.pipeline.extractor import Extractor
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.prepare import PreparedImage, load_views
from clare.pipeline.images.settings import ImageSettings
from clare.wording import size

PEAK_TFLOPS = {"H100": 989, "H200": 989, "A100": 312, "L40S": 362, "L4": 121, "RTX 4090": 165}
"""Dense half-precision peak of a device's matrix units, from the makers' data sheets."""

GPU_DTYPES = ("float32", "bfloat16", "float16")
CPU_DTYPES = ("float32", "bfloat16", "rounded:bfloat16", "rounded:float16")

RESIDUAL = 0.4
"""Deviation of a trained model's noise error at step 200: published maps lie near its square."""

Inputs = Mapping[str, np.ndarray]


def main() -> None:
    options = _options()
    runtime = choose_runtime(options.device, "float32", compile=options.compile)
    on_gpu = runtime.device.startswith("cuda")
    images = options.images or (2048 if on_gpu else 4)
    dtypes = options.dtypes or (GPU_DTYPES if on_gpu else CPU_DTYPES)
    batch = min(options.micro_batch or (32 if on_gpu else 4), images)
    with _place(options.folder) as folder:
        models = _write(folder)
        report: dict[str, Any] = {"device": _name(runtime), "micro_batch": batch, "images": images}
        for name, settings in models.items():
            report[name] = _measure(name, settings, runtime, dtypes, images, batch)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        _show(report)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--images", type=int, help="default: 4 on a CPU, 2048 on a GPU")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--micro-batch", type=int, help="default: 4 on a CPU, 32 on a GPU")
    parser.add_argument(
        "--dtypes",
        type=lambda text: text.split(","),
        help="the first is what the others are compared with; rounded:TYPE stands in for TYPE",
    )
    parser.add_argument("--folder", type=Path, help="where the models are, or will be kept")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="clare-full-") as scratch:
        yield Path(scratch)


def _write(folder: Path) -> dict[str, dict[str, Any]]:
    """Extractor name to the settings that make it use the full-size models."""
    for name, write in (("diffusion", write_full_diffusion), ("clip", write_full_clip)):
        if not (folder / name).is_dir():
            write(folder / name)
            gc.collect()
    return {"lare": {"model": str(folder / "diffusion")}, "clip": {"model": str(folder / "clip")}}


def _measure(
    name: str,
    settings: Mapping[str, Any],
    runtime: Runtime,
    dtypes: Sequence[str],
    images: int,
    batch: int,
) -> dict[str, Any]:
    prepared = _pictures(batch)
    result: dict[str, Any] = {}
    exact: dict[str, torch.Tensor] = {}
    for dtype in dtypes:
        rounded = dtype.startswith("rounded:")
        began = time.perf_counter()
        on_gpu = runtime.device.startswith("cuda")
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(runtime.device)
        extractor = create_extractor(
            name,
            settings,
            ImageSettings(),
            Runtime(
                runtime.device,
                "float32" if rounded else dtype,  # type: ignore[arg-type]
                runtime.compile,
            ),
        )
        row: dict[str, Any] = {"load_seconds": time.perf_counter() - began}
        rows = [extractor.prepare(image) for image in prepared]
        inputs = {key: np.stack([r[key] for r in rows]) for key in rows[0]}
        with rounding(dtype.removeprefix("rounded:")) if rounded else nullcontext():
            values = _first_prediction(extractor, inputs)
        if not result:
            exact = values
            row["tflop_an_image"] = _count_flop(extractor, inputs) / batch
        row["error"] = {k: _relative(v, exact[k]) for k, v in values.items()}
        if not rounded:
            row["images_a_second"] = _speed(extractor, inputs, batch, images)
            if on_gpu:
                row["gpu_bytes"] = torch.cuda.max_memory_allocated(runtime.device)
            row["matmul_tflops"] = _matmul_tflops(runtime.device, dtype)
            row["profile"] = _profile(extractor, inputs, runtime.device)
        result[dtype] = row
        del extractor
        gc.collect()
    return result


def _pictures(count: int) -> list[PreparedImage]:
    """Smooth random colours at the size of a face crop."""
    images = []
    for seed in range(count):
        grid = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(grid).resize((256, 256), Image.Resampling.BICUBIC).save(file, "PNG")
        images += load_views(file.getvalue(), ImageSettings(), [0], content=f"{seed:064x}")
    return images


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


def _count_flop(extractor: Extractor, inputs: Inputs) -> float:
    # The fused attention of torch's own layer is one operation that the counter does not know.
    torch.backends.mha.set_fastpath_enabled(False)
    with FlopCounterMode(display=False) as counter:
        extractor.forward(inputs)
    torch.backends.mha.set_fastpath_enabled(True)
    return counter.get_total_flops() / 1e12


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


def _matmul_tflops(device: str, dtype: str) -> float:
    """What one large product reaches on this device: the practical peak."""
    side = 8192 if device.startswith("cuda") else 2048
    matrix = torch.randn(side, side).to(device, getattr(torch, dtype))
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        (matrix @ matrix)[:1].cpu()
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best / 1e12


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


def _name(runtime: Runtime) -> str:
    if runtime.device.startswith("cuda"):
        return torch.cuda.get_device_name(runtime.device)
    return f"{runtime.device}, {torch.get_num_threads()} threads"


def _show(report: Mapping[str, Any]) -> None:
    console = Console()
    peak = next((p for key, p in PEAK_TFLOPS.items() if key in report["device"]), None)
    console.print(
        f"{report['device']}, micro-batch {report['micro_batch']}, {report['images']} images, "
        "random weights: the errors show rounding, not what training does to it"
    )
    names = ("images/s", "images/hour", "GPU memory", "TFLOP/s", "of one product", "of the peak")
    speed = Table("extractor", "dtype", *names)
    errors = Table("relative error a row", "dtype", "mean", "largest")
    for name in ("lare", "clip"):
        flop = next(iter(report[name].values()))["tflop_an_image"]
        console.print(f"{name}: {flop:.3f} TFLOP an image")
        for dtype, row in report[name].items():
            if "images_a_second" in row:
                rate = row["images_a_second"] * flop
                share = f"{rate / peak:.0%}" if peak and dtype != "float32" else "-"
                product = f"{rate / row['matmul_tflops']:.0%}"
                memory = size(row["gpu_bytes"]) if "gpu_bytes" in row else "-"
                images = row["images_a_second"]
                rates = (f"{images:.3g}", f"{3600 * images:,.0f}", memory, f"{rate:.3g}")
                speed.add_row(name, dtype, *rates, product, share)
            for field, error in row["error"].items():
                errors.add_row(field, dtype, f"{error['mean']:.3%}", f"{error['max']:.3%}")
    console.print(speed, errors)
    for dtype, row in report["lare"].items():
        # For a normal error e of deviation r, a change d of the prediction moves the map e^2
        # by 2 e d, relative to its own length by 2 / sqrt(3) * d / r.
        trained = 2 / 3**0.5 * row["error"]["prediction"]["mean"] / RESIDUAL
        console.print(
            f"{dtype}: error of a map where a trained model's noise error is "
            f"{RESIDUAL}: {trained:.2%}"
        )
    for name in ("lare", "clip"):
        shares = {d: row["profile"] for d, row in report[name].items() if "profile" in row}
        profile = Table(f"{name}: where the time goes", *shares)
        for key in list(shares.values())[-1]:
            cells = (f"{s[key]:.1%}" if key in s else "" for s in shares.values())
            profile.add_row(key[:60], *cells)
        console.print(profile)


if __name__ == "__main__":
    main()

"""All that is to be known of a GPU, in one call of at most eight minutes.

    python -m benchmarks.gpu          # --toy: small models on a CPU, to see that it runs

Models are those of Stable Diffusion 2.1-base and CLIP ViT-L/14 in full size, their weights random:
nothing is fetched. What it measures, the most telling first:

- images a second of LaRE (256 px, 4 draws) and ViT-L/14, with float16 and bfloat16, channels last
  or not, against a plain batched bfloat16 script, against the published loop's shape (one image at
  a time, the text encoder for each, float32), and against the matrix units' limit: operations are
  counted, and the limit is what a large product of matrices reaches in the same run;
- a cold run from drawn images to the report, its extraction against its slowest stage;
- training steps of each head, and epochs from the device's memory, the host's and the disk;
- micro-batches with the memory they take, and `--compile`.

What there was no time for is named. Without a GPU nothing is measured.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.arithmetic import count_tflop, product_tflops
from benchmarks.full_models import draw_pictures, write_full_models
from benchmarks.gpu_run import cold_run
from benchmarks.gpu_training import epochs, training_steps
from benchmarks.gpu_ways import Contiguous, Work, ours, published, stack
from benchmarks.gpu_ways import plain as plain_script
from benchmarks.rounds import Facts, Race, Ratio
from benchmarks.script import Parts, Script, main, waiter
from clare.models.runtime import Dtype, Runtime, choose_runtime
from clare.models.tiny import tiny_overrides

HALF: Dtype = "float16"
BRAIN: Dtype = "bfloat16"
LAYOUT, COMPILED = "not channels last", "float16, compiled"
PUBLISHED, PLAIN, LIMIT = "published loop", "plain bfloat16 script", "limit of the matrix units"


Races = Callable[[], Iterator[Race]]


@dataclass(frozen=True)
class Sizes:
    models: str = "full"
    device: str = "cuda"
    images: int = 256
    batch: int = 64
    few: int = 8
    batches: str = "16,32,64,128"
    product: int = 8192
    run_images: int = 1024
    epoch_rows: int = 8192
    compile: int = 1
    seconds: int = 470


TOY = Sizes("tiny", "cpu", 4, 2, 1, "1,2", 64, 48, 64, 0, 3600)


def parts(sizes: Sizes, folder: Path) -> Parts:
    if sizes.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("not measured: there is no GPU (--toy rehearses it on the CPU)")
    began = time.perf_counter()

    def left() -> float:
        return sizes.seconds - (time.perf_counter() - began)

    device = choose_runtime(sizes.device).device
    full = sizes.models == "full"
    models = write_full_models(folder) if full else tiny_overrides(folder)
    pictures = draw_pictures(sizes.images)
    works = [
        Work(name, models[name], pictures, sizes.batch, device, sizes.few)
        for name in ("lare", "clip")
    ]
    limits = {dtype: product_tflops(device, dtype, sizes.product) for dtype in (HALF, BRAIN)}
    yield Facts("limit", {dtype: {"TFLOP/s": one} for dtype, one in limits.items()})
    alone: dict[str, float] = {}
    for work in works:
        race = images(work, limits[HALF])
        yield race
        alone[work.name] = sorted(race.seconds[HALF])[len(race.seconds[HALF]) // 2]
        del race
        _free()
    later: dict[str, tuple[float, Races]] = {
        "a cold run": (
            90,
            lambda: cold_run(folder, models, sizes.run_images, device, alone, full=full),
        ),
        "training steps": (30, lambda: training_steps(device, full=full)),
        "epochs": (60, lambda: epochs(folder, sizes.epoch_rows, device, full=full)),
        "micro-batches": (30, lambda: (sweep(work, sizes.batches) for work in works)),
    }
    if sizes.compile:
        later |= {f"{work.name}, compiled": (75, partial(map, compiled, [work])) for work in works}
    for name, (needed, races) in later.items():
        if left() < needed:
            yield Facts("not measured, for lack of time", {name: {"needs, s": needed}})
            continue
        yield from races()
        _free()


def images(work: Work, limit: float) -> Race:
    """One extractor's ways, interleaved; the limit is what its operations take at `limit`."""
    extractor = work.extractor(Runtime(work.device, BRAIN))
    some = stack(work.inputs(extractor)[: work.batch])
    tflop = count_tflop(partial(extractor.forward, some)) / len(some["pixels"])
    ways = {
        HALF: ours(work, HALF, Runtime(work.device, HALF)),
        BRAIN: ours(work, BRAIN, Runtime(work.device, BRAIN)),
        LAYOUT: ours(work, LAYOUT, Contiguous(work.device, HALF)),
        PLAIN: plain_script(work, PLAIN),
        PUBLISHED: published(work, PUBLISHED),
    }
    aims = {PUBLISHED: 20.0, PLAIN: 1.5, LIMIT: 0.5, BRAIN: None, LAYOUT: None}
    return Race(
        f"{work.name}, images",
        ways,
        [Ratio(HALF, other, aim) for other, aim in aims.items()],
        share=0.12,
        derive=lambda _: {LIMIT: tflop / limit},
        rate=(1, "images/s"),
        wait=waiter(work.device),
        facts=lambda: {"TFLOP an image": tflop, **_memory(work)},
    )


def sweep(work: Work, batches: str) -> Race:
    """Micro-batches of several sizes, and the most memory that each took."""
    peaks: dict[str, float] = {}
    on_gpu = work.device.startswith("cuda")

    def measured(name: str, batch: int) -> Callable[[], dict[str, float]]:
        turn = ours(work, name, Runtime(work.device, HALF), batch)

        def with_peak() -> dict[str, float]:
            if on_gpu:
                torch.cuda.reset_peak_memory_stats(work.device)
            found = dict(turn())
            peaks.update({f"{name}: {what}": one for what, one in _memory(work).items()})
            return found

        return with_peak

    sizes = {f"micro-batch {size}": int(size) for size in batches.split(",")}
    ways = {name: measured(name, size) for name, size in sizes.items()}
    title = f"{work.name}, micro-batches"
    rate = (1.0, "images/s")
    wait = waiter(work.device)
    return Race(title, ways, share=0.04, rate=rate, wait=wait, facts=lambda: peaks)


def compiled(work: Work) -> Race:
    """With and without `--compile`; compiling falls into the round that warms up."""
    ways = {
        COMPILED: ours(work, COMPILED, Runtime(work.device, HALF, compile=True)),
        HALF: ours(work, HALF, Runtime(work.device, HALF)),
    }
    ratios, rate, wait = [Ratio(COMPILED, HALF)], (1.0, "images/s"), waiter(work.device)
    return Race(f"{work.name}, compiled", ways, ratios, share=0.05, rate=rate, wait=wait)


def _memory(work: Work) -> dict[str, float]:
    if not work.device.startswith("cuda"):
        return {}
    return {"peak, GiB": torch.cuda.max_memory_allocated(work.device) / 2**30}


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


SCRIPT = Script(
    "gpu", __doc__, parts, Sizes(), toy=TOY, full=Sizes(epoch_rows=41_000, seconds=1800)
)

if __name__ == "__main__":
    main(SCRIPT)

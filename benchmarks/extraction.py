"""Extraction, end to end, against its own stages and against two plain ways of doing it.

    python -m benchmarks.extraction

All run in this process, on the same toy pictures. Tokens have the size of real ones (256x1024) and
come, as LaRE does, from small models, which make the loop's own cost show most. The limit is what
the stages (decode, each forward pass, write) allow when each is measured alone in the same round:
on a CPU, where they share the cores, the sum of their times; on a GPU the slowest of them. The two
plain ways run on every eighth picture.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPTextModel

from benchmarks.rounds import Race, Ratio
from benchmarks.script import Parts, Script, main
from clare.models.runtime import Dtype, choose_runtime
from clare.models.tiny import tiny_overrides, write_tiny_clip
from clare.pipeline.datasets.select import select_manifests
from clare.pipeline.extraction.batching import BatchRunner
from clare.pipeline.extraction.claims import open_features
from clare.pipeline.extraction.loading import LoadedShard, Loader, gather
from clare.pipeline.extraction.loop import extract_subset
from clare.pipeline.extraction.store_rows import rows_of_samples
from clare.pipeline.extractor import Extractor
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest
from clare.pipeline.synthetic.toys import draw_faces
from clare.store.feature_store import create_store
from clare.store.spec import SHARD_ROWS

SUBSET = "pictures"

WIDE = {"image_size": 224, "patch_size": 14, "width": 1024, "layers": 1, "mlp_ratio": 0.25}
"""A tower of one thin layer whose tokens are as large as those of ViT-L/14."""

PLAIN_EVERY = 8

STAGES = ("decode", "forward", "head", "write")
OURS, LIMIT = "end to end", "limit of the stages"
PUBLISHED, PLAIN = "published way", "plain bf16 batches"


@dataclass
class Bench:
    """What all contestants share."""

    manifest: Manifest
    roots: Roots
    extractors: list[Extractor]
    float32: list[Extractor]
    bf16: list[Extractor]
    text_encoder: Any
    scratch: Path
    device: str
    micro_batch: int

    @property
    def few(self) -> list[Path]:
        return [self.roots.resolve(sample) for sample in self.manifest.samples[::PLAIN_EVERY]]

    def new_folder(self) -> Path:
        folder = self.scratch / "round"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def runners(self) -> dict[str, BatchRunner]:
        return {e.name: BatchRunner(e, self.device, self.micro_batch) for e in self.extractors}


def end_to_end(bench: Bench) -> dict[str, float]:
    """The product's loop; slots are assigned before the clock starts, as for the others."""
    store = create_store(bench.new_folder() / "store")
    rows = store.assign_rows(SUBSET, rows_of_samples(bench.manifest.samples, bench.roots, []))
    features = open_features(store, SUBSET, bench.extractors)
    loader = Loader(bench.roots, ImageSettings())
    began = time.perf_counter()
    extract_subset(store, SUBSET, [row.slot for row in rows], features, bench.runners(), loader)
    seconds = time.perf_counter() - began
    loader.close()
    return {OURS: seconds / len(rows)}


def stages_alone(bench: Bench) -> dict[str, float]:
    """Decode, then each forward pass, then write: each over all images, one after another."""
    store = create_store(bench.new_folder() / "store")
    rows = store.assign_rows(SUBSET, rows_of_samples(bench.manifest.samples, bench.roots, []))
    features = open_features(store, SUBSET, bench.extractors)
    loader = Loader(bench.roots, ImageSettings())
    seconds: dict[str, float] = {}

    began = time.perf_counter()
    shards: list[LoadedShard] = []
    for first in range(0, len(rows), SHARD_ROWS):
        part = dict(enumerate(rows[first : first + SHARD_ROWS]))
        shards.append(gather(loader.start(part, bench.extractors)))
    seconds["decode"] = time.perf_counter() - began
    loader.close()

    values: dict[str, list[dict[str, np.ndarray]]] = {}
    for name, runner in bench.runners().items():
        began = time.perf_counter()
        batches = []
        for shard in shards:
            inputs = [shard.inputs[offset][name] for offset in sorted(shard.inputs)]
            for i in range(0, len(inputs), runner.micro_batch):
                batches.append(runner.launch(inputs[i : i + runner.micro_batch]).fetch()[0])
        seconds[f"forward {name}"] = time.perf_counter() - began
        values[name] = batches

    ready = {name: _shards_of(batches) for name, batches in values.items()}
    began = time.perf_counter()
    for name, feature in features.items():
        for number, arrays in enumerate(ready[name]):
            feature.claim(number)
            feature.write_shard(number, arrays, {}, {})
            feature.release(number)
    seconds["write"] = time.perf_counter() - began
    return {stage: spent / len(rows) for stage, spent in seconds.items()}


def _shards_of(batches: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    joined = {field: np.concatenate([b[field] for b in batches]) for field in batches[0]}
    rows = len(next(iter(joined.values())))
    padded = {
        field: np.concatenate([v, np.zeros((-rows % SHARD_ROWS, *v.shape[1:]), v.dtype)])
        for field, v in joined.items()
    }
    return [
        {field: v[first : first + SHARD_ROWS] for field, v in padded.items()}
        for first in range(0, rows, SHARD_ROWS)
    ]


def published_way(bench: Bench) -> dict[str, float]:
    """One image at a time, the text encoder for each, float32, one ``.pt`` per image and field."""
    folder = bench.new_folder()
    tokens = torch.zeros((1, 77), dtype=torch.long, device=bench.device)
    began = time.perf_counter()
    for number, path in enumerate(bench.few):
        (image,) = load_views(path.read_bytes(), ImageSettings(), [0], content=f"{number:064x}")
        with torch.inference_mode():
            bench.text_encoder(tokens)
        for extractor in bench.float32:
            inputs = {k: np.stack([v]) for k, v in extractor.prepare(image).items()}
            for field, value in extractor.forward(inputs).items():
                torch.save(value[0].cpu(), folder / f"{field}-{number}.pt")
    return {PUBLISHED: (time.perf_counter() - began) / len(bench.few)}


def plain_batches(bench: Bench) -> dict[str, float]:
    """A DataLoader with workers, batches, bfloat16, results kept in memory: no store."""
    began = time.perf_counter()
    loader = DataLoader(
        Pictures(bench.few, bench.bf16),
        batch_size=bench.micro_batch,
        num_workers=os.cpu_count() or 1,
        collate_fn=list,
    )
    kept = []
    for images in loader:
        for extractor in bench.bf16:
            prepared = [image[extractor.name] for image in images]
            inputs = {k: np.stack([p[k] for p in prepared]) for k in prepared[0]}
            kept.append({f: v.cpu() for f, v in extractor.forward(inputs).items()})
    return {PLAIN: (time.perf_counter() - began) / len(bench.few)}


class Pictures(Dataset[dict[str, Any]]):
    """One picture an item, prepared for each extractor."""

    def __init__(self, paths: list[Path], extractors: list[Extractor]) -> None:
        self.paths = paths
        self.prepare = {extractor.name: extractor.prepare for extractor in extractors}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        data = self.paths[index].read_bytes()
        (image,) = load_views(data, ImageSettings(), [0], content=f"{index:064x}")
        return {name: prepare(image) for name, prepare in self.prepare.items()}


@dataclass(frozen=True)
class Sizes:
    images: int = 256


def parts(sizes: Sizes, folder: Path) -> Parts:
    bench = _prepare(folder, sizes.images)
    ways = {
        OURS: end_to_end,
        "stages": stages_alone,
        PUBLISHED: published_way,
        PLAIN: plain_batches,
    }
    ratios = [Ratio(OURS, LIMIT, 0.9), Ratio(OURS, PUBLISHED), Ratio(OURS, PLAIN)]
    turns = {name: partial(way, bench) for name, way in ways.items()}
    limit = partial(limit_of_stages, bench.device)
    yield Race("images", turns, ratios, rate=(1, "images/s"), derive=limit)


def limit_of_stages(device: str, seconds: Mapping[str, float]) -> dict[str, float]:
    """What the stages allow: they share a CPU's cores, and not those of a GPU."""
    alone = [spent for name, spent in seconds.items() if name.startswith(STAGES)]
    return {LIMIT: sum(alone) if device == "cpu" else max(alone)}


def _prepare(scratch: Path, count: int) -> Bench:
    for kind in ("real", "fake"):
        draw_faces(scratch / "pictures" / kind, count // 2, seed=0, kind=kind)
    pictures = scratch / "pictures"
    ((manifest, roots),) = select_manifests(
        SUBSET, [], scratch, [], [pictures / "real"], [str(pictures / "fake")]
    )
    overrides = tiny_overrides(scratch)
    write_tiny_clip(scratch / "wide", sizes=WIDE)
    overrides["clip"]["model"] = str(scratch / "wide")
    runtime = choose_runtime()

    def extractors_in(dtype: Dtype) -> list[Extractor]:
        chosen = replace(runtime, dtype=dtype)
        names = ("lare", "clip")
        return [create_extractor(n, overrides[n], ImageSettings(), chosen) for n in names]

    text_encoder = CLIPTextModel.from_pretrained(
        overrides["lare"]["model"], subfolder="text_encoder"
    )
    return Bench(
        manifest,
        roots,
        extractors_in(runtime.dtype),
        extractors_in("float32"),
        extractors_in("bfloat16"),
        text_encoder.to(runtime.device),
        scratch,
        runtime.device,
        64 if runtime.device != "cpu" else 8,
    )


SCRIPT = Script("extraction", __doc__, parts, Sizes(), toy=Sizes(16), full=Sizes(2048))

if __name__ == "__main__":
    main(SCRIPT)

"""What stage two takes of a GPU: a step of each head, and epochs from each kind of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.transformer import QuickGELU, TextTransformer

from benchmarks.rounds import Race, Ratio
from benchmarks.script import waiter
from benchmarks.training import make_store
from clare.heads import classifiers, decoders, fusion
from clare.heads.config import DetectorConfig, Memory, TrainConfig, create_config
from clare.heads.data.table import FeatureTable, load_fields, plan_memory
from clare.heads.detector import needs_text
from clare.heads.text.facts import TowerFacts
from clare.heads.text.tower import TextTower
from clare.heads.training.learner import Learner
from clare.heads.training.prepare import create_detector
from clare.plugins import list_parts
from clare.store.spec import FeatureSpec

EPOCH = 41_000
"""Images of an epoch of a large data set."""

ESA = TrainConfig(DetectorConfig("esa", "linear"))


@dataclass(frozen=True)
class Head:
    """Sizes of cached features and of the text tower: ViT-L/14's and SD 2.1's, or small ones.

    LaRE has so many noise steps.
    """

    cls: int
    tokens: tuple[int, int]
    side: int
    text: tuple[int, int]
    batch: int
    steps: int = 1

    @property
    def specs(self) -> dict[str, FeatureSpec]:
        found = (
            FeatureSpec("clip_cls", (self.cls,), "float32"),
            FeatureSpec("clip_tokens", self.tokens, "float16"),
            FeatureSpec(
                "lare", (self.steps, 4, 4, self.side, self.side), "float16", channel_axis=-3
            ),
            FeatureSpec("face_parts", (5, 4), "float32"),
            FeatureSpec("mask", (8 * self.side, 8 * self.side), "uint8"),
        )
        return {spec.field: spec for spec in found}


LARGE = Head(768, (256, 1024), 32, (768, 12), 64)
SMALL = Head(24, (16, 20), 8, (24, 1), 4)


def training_steps(device: str, *, full: bool) -> Iterator[Race]:
    """A step of each fusion and classifier, and of each decoder; `knn` takes none."""
    sizes = LARGE if full else SMALL
    heads: dict[str, dict[str, Any]] = {
        f"{name} + linear": {"fusion": name, "classifier": "linear"} for name in list_parts(fusion)
    }
    for name in list_parts(classifiers):
        if name not in ("linear", "knn"):
            heads[f"cross_attn + {name}"] = {"fusion": "cross_attn", "classifier": name}
    several = replace(sizes, steps=2)  # fusions over noise steps need more than one
    ways = {name: step_of(own, several, device) for name, own in heads.items()}
    rate = (sizes.batch, "images/s")
    wait = waiter(device)
    yield Race("training steps of detectors", ways, share=0.06, rate=rate, wait=wait)
    names = list_parts(decoders) if full else ["linear", "attention"]
    ways = {name: step_of({"decoder": name}, sizes, device) for name in names}
    yield Race("training steps of decoders", ways, share=0.06, rate=rate, wait=wait)


def step_of(settings: dict[str, Any], sizes: Head, device: str) -> Callable[[], None]:
    """A training step on one batch that lies on the device."""
    decoder = "decoder" in settings
    config = create_config({"select": "iou", **settings} if decoder else settings)
    text = random_text(*sizes.text, sizes.cls).to(device) if needs_text(config.detector) else None
    specs = sizes.specs
    shapes = {name: spec.shape for name, spec in specs.items()}
    detector = create_detector(config, shapes, text).to(device)
    batch = {
        name: (torch.rand(sizes.batch, *specs[name].shape) * 255)
        .to(getattr(torch, specs[name].dtype))
        .to(device)
        for name in [*detector.fields, *(["mask"] if decoder else [])]
    }
    labels = torch.arange(sizes.batch) % 2
    detector.fit_statistics([batch])
    learner = Learner([detector], [config], labels)
    taken = labels.to(device)[None]

    def step() -> None:
        with torch.no_grad():
            inputs = detector.inputs(batch)
        learner.step(inputs, taken, [1e-4])

    return step


def epochs(folder: Path, rows: int, device: str, *, full: bool) -> Iterator[Race]:
    """`esa` with `linear`, batch after batch, the features held near or far."""
    sizes = LARGE if full else SMALL
    specs = [spec for name, spec in sizes.specs.items() if name not in ("face_parts", "mask")]
    store = make_store(folder / "epochs.zarr", rows, specs)
    shapes = {spec.field: spec.shape for spec in specs}
    config = replace(ESA, batch=sizes.batch)
    detector = create_detector(config, shapes, None).to(device)
    labels = torch.arange(sizes.batch) % 2
    learner = Learner([detector], [config], labels)
    taken = labels.to(device)[None]
    rng = np.random.default_rng(0)

    def epoch(memory: Memory) -> Callable[[], None]:
        place = torch.device(device)
        table = FeatureTable(store, detector.fields, ["all"], "train", {}, place)
        plans = plan_memory([table], detector.fields, memory, place)
        load_fields([table], plans, lambda done, total: None)
        whole = len(table) // sizes.batch

        def turn() -> None:
            order = rng.permutation(len(table))[: whole * sizes.batch].reshape(whole, -1)
            for batch in table.batches(list(order), detector.fields):
                with torch.no_grad():
                    inputs = detector.inputs(batch)
                learner.step(inputs, taken, [1e-4])

        return turn

    places: tuple[Memory, ...] = ("device", "host", "disk")
    ways = {f"from {place}": epoch(place) for place in places}
    trained = rows * 6 // 7
    ratios = [Ratio(f"from {place}", "from device") for place in places[1:]]
    title = f"an epoch of esa + linear, {rows} rows"
    rate, wait = (trained, "images/s"), waiter(device)
    race = Race(title, ways, ratios, share=0.15, rate=rate, wait=wait)
    race.facts = lambda: {
        f"{way}: {EPOCH} images, s": EPOCH / trained * sorted(found)[len(found) // 2]
        for way, found in race.seconds.items()
    }
    yield race


def random_text(width: int, layers: int, embed: int) -> TextTower:
    """A text tower, its weights as they start."""
    sizes: dict[str, Any] = {
        "context_length": 77,
        "width": width,
        "heads": max(1, width // 64),
        "layers": layers,
    }
    tower = TextTransformer(**sizes, output_dim=embed, act_layer=QuickGELU)
    tensors = {**tower.state_dict(), "logit_scale": torch.tensor(100.0).log()}
    return TextTower(tensors, TowerFacts(sizes, embed, True, 77, "SimpleTokenizer"))

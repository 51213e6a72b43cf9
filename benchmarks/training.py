"""Training from the store, and sweeps, side by side with what they are measured against.

    python -m benchmarks.training

Feeding: images a second of `esa` + `linear` at ViT-L/14's sizes, batch 64: streamed from disk (in
the page cache), gathered from memory, and the same step on one batch that is held. Sweep, whole:
so many configurations of `cls` + `linear` (seeds and rates) as ``--runs`` says, five epochs over
the store's images, in one `train_runs`, against a call each, all costs counted: reading, training,
figures with intervals, pictures. Sweep, steps: their steps together against one after another,
`coop` and `cocoop` with a text tower of 12 blocks, 768 wide; where stacking is no gain a sweep does
not stack, and the ratio is what it would be. Weights and features are random.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.transformer import QuickGELU, TextTransformer

from benchmarks.rounds import Race, Ratio
from benchmarks.script import Parts, Script, main, waiter
from clare.heads.base import Inputs
from clare.heads.config import DetectorConfig, Machine, TrainConfig
from clare.heads.data.table import FeatureTable, load_fields, plan_memory
from clare.heads.text.facts import TowerFacts
from clare.heads.text.tower import TextTower
from clare.heads.training.learner import Learner, can_stack
from clare.heads.training.prepare import create_detector
from clare.heads.training.trainer import train_runs
from clare.store.feature_store import FeatureStore, create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

BATCH = 64
CLS = FeatureSpec("clip_cls", (768,), "float32")
TOKENS = FeatureSpec("clip_tokens", (256, 1024), "float16")
LARE = FeatureSpec("lare", (1, 4, 4, 32, 32), "float16", channel_axis=-3)
LINEAR = TrainConfig(DetectorConfig("cls", "linear"), epochs=5, batch=BATCH)
ALONE, TOGETHER = "alone", "together"


@dataclass(frozen=True)
class Sizes:
    rows: int = 6_000
    runs: int = 4
    coop_batch: int = 32
    cocoop_batch: int = 2
    device: str = "cpu"


def parts(sizes: Sizes, folder: Path) -> Parts:
    torch.manual_seed(0)
    device = torch.device(sizes.device)
    yield feeding(folder, device)
    yield whole_sweep(folder, sizes)
    batches = {"linear": BATCH, "coop": sizes.coop_batch, "cocoop": sizes.cocoop_batch}
    for name, batch in batches.items():
        yield steps(name, batch, sizes.runs, device)


def feeding(folder: Path, device: torch.device) -> Race:
    """5 steps, by where their batches come from."""
    store = make_store(folder / "tokens.zarr", 512, [CLS, TOKENS, LARE])
    config = replace(LINEAR, detector=DetectorConfig("esa", "linear"))
    specs = {spec.field: spec.shape for spec in (CLS, TOKENS, LARE)}
    detector = create_detector(config, specs, None).to(device)
    streamed, held = (
        FeatureTable(store, detector.fields, ["all"], "train", {}, device) for _ in range(2)
    )
    plans = plan_memory([held], detector.fields, "auto", device)
    load_fields([held], plans, lambda done, total: None)
    labels = torch.from_numpy(np.arange(BATCH) % 2)[None].to(device)
    learner = Learner([detector], [config], labels[0].cpu())
    one = next(held.batches([np.arange(BATCH)], detector.fields))
    rng = np.random.default_rng(0)

    def over(batches: Iterator[dict[str, torch.Tensor]]) -> None:
        for batch in batches:
            with torch.no_grad():
                inputs = detector.inputs(batch)
            learner.step(inputs, labels, [1e-4])

    def order() -> list[np.ndarray]:
        return list(rng.permutation(len(held))[: 5 * BATCH].reshape(-1, BATCH))

    limit = "one batch held"
    return Race(
        "feeding",
        {
            limit: lambda: over(iter([one] * 5)),
            "memory": lambda: over(held.batches(order(), detector.fields)),
            "streamed": lambda: over(streamed.batches(order(), detector.fields)),
        },
        [Ratio("memory", limit, 0.9), Ratio("streamed", limit, 0.9)],
        share=0.2,
        rate=(5 * BATCH, "images/s"),
        wait=waiter(str(device)),
    )


def whole_sweep(folder: Path, sizes: Sizes) -> Race:
    """Runs one after another and together; the aim is that of 16."""
    store = make_store(folder / "cls.zarr", sizes.rows, [CLS])
    configs = [
        replace(LINEAR, seed=seed, lr=lr) for seed in range(4) for lr in (1e-2, 3e-3, 1e-3, 3e-4)
    ][: sizes.runs]
    number = 0

    def folders() -> list[Path]:
        nonlocal number
        number += sizes.runs
        return [folder / f"runs/{number + k}" for k in range(sizes.runs)]

    def alone() -> None:
        for config, out in zip(configs, folders(), strict=True):
            train_runs([config], store.path, [out], Machine(sizes.device))

    def together() -> None:
        train_runs(configs, store.path, folders(), Machine(sizes.device))

    ways = {ALONE: alone, TOGETHER: together}
    # Two rounds, and none to warm up: a turn is several runs, and the first warms up the others.
    return Race(
        "sweep, whole: linear",
        ways,
        [Ratio(TOGETHER, ALONE, 4 if sizes.runs >= 16 else None)],
        rounds=2,
        warm=False,
    )


def steps(name: str, batch: int, runs: int, device: torch.device) -> Race:
    """One step of some runs, one after another and stacked."""
    config = replace(LINEAR, detector=DetectorConfig("cls", name))
    text = None if name == "linear" else random_tower().to(device)
    configs = [replace(config, seed=seed) for seed in range(runs)]
    detectors = [create_detector(c, {"clip_cls": CLS.shape}, text).to(device) for c in configs]
    labels = torch.arange(batch, device=device) % 2
    pairs = zip(detectors, configs, strict=True)
    alone = [Learner([one], [own], labels.cpu()) for one, own in pairs]
    stacked = Learner(detectors, configs, labels.cpu())
    inputs: Inputs = {"cls": torch.randn(batch, 768, device=device)}
    times = 50 if name == "linear" else 1

    def one_by_one() -> None:
        for learner in alone * times:
            learner.step(inputs, labels[None], [1e-4])

    def at_once() -> None:
        for _ in range(times):
            stacked.step(inputs, labels.expand(runs, -1), [1e-4] * runs)

    kind = TOGETHER if can_stack(detectors[0], config) else "stacked (a sweep does not)"
    return Race(
        f"sweep, steps: {name}",
        {ALONE: one_by_one, kind: at_once},
        [Ratio(kind, ALONE)],
        share=0.15,
        wait=waiter(str(device)),
    )


def make_store(path: Path, rows: int, specs: Sequence[FeatureSpec]) -> FeatureStore:
    """Rows of either label in one subset, a seventh of them for validation."""
    store = create_store(path)
    rng = np.random.default_rng(0)
    columns = [
        {"label": n % 2, "split": "val" if n % 14 > 11 else "train", "subset": "all"}
        for n in range(rows)
    ]
    named = [
        Row(sample_id=str(n), view=0, content=f"{n:064x}", columns=own)
        for n, own in enumerate(columns)
    ]
    store.assign_rows("all", named)
    fingerprint = Fingerprint("clip", 1, "random")
    store.declare(fingerprint, list(specs))
    feature = store.feature("all", "clip", fingerprint.digest)
    for shard in feature.pending():
        assert feature.claim(shard)
        values = {
            spec.field: rng.standard_normal((SHARD_ROWS, *spec.shape), "f4").astype(spec.dtype)
            for spec in specs
        }
        feature.write_shard(shard, values, {}, {})
        feature.release(shard)
    return store


def random_tower() -> TextTower:
    """ViT-L/14's text tower, its weights as they start."""
    sizes: dict[str, Any] = {"context_length": 77, "width": 768, "heads": 12, "layers": 12}
    tower = TextTransformer(**sizes, output_dim=768, act_layer=QuickGELU)
    tensors = {**tower.state_dict(), "logit_scale": torch.tensor(100.0).log()}
    return TextTower(tensors, TowerFacts(sizes, 768, True, 77, "SimpleTokenizer"))


SCRIPT = Script(
    "training",
    __doc__,
    parts,
    Sizes(),
    toy=Sizes(rows=128, runs=2, coop_batch=2, cocoop_batch=2),
    full=Sizes(rows=48_000, runs=16, coop_batch=64, cocoop_batch=4),
)

if __name__ == "__main__":
    main(SCRIPT)

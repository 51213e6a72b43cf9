"""Training from the store, and sweeps, side by side with what they are measured against.

    python benchmarks/training.py [--rounds N] [--threads N] [--folder DIR] [--device NAME] [--json]

Feeding: images a second of `esa` + `linear` at ViT-L/14's sizes, batch 64: streamed from disk (in
the page cache), gathered from memory, and the same step on one batch that is held. Sweep, whole:
16 configurations of `cls` + `linear` (seeds and rates), five epochs over 41,000 images, in one
`train_runs`, against 16 calls, all costs counted: reading, training, figures with intervals,
pictures. Sweep, steps: 16 runs' steps together against one after another, `coop` and `cocoop` with
a text tower of 12 blocks, 768 wide; where stacking is no gain a sweep does not stack, and the
ratio is what it would be. Each round every way has one turn, in a new order; ratios are medians of
the rounds' own ratios. Weights and features are random.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.transformer import QuickGELU, TextTransformer
from rich.console import Console
from rich.table import Table

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

RUNS = 16
BATCH = 64
CLS = FeatureSpec("clip_cls", (768,), "float32")
TOKENS = FeatureSpec("clip_tokens", (256, 1024), "float16")
LARE = FeatureSpec("lare", (1, 4, 4, 32, 32), "float16", channel_axis=-3)
LINEAR = TrainConfig(DetectorConfig("cls", "linear"), epochs=5, batch=BATCH)
AIMS = {"streamed": 0.9, "memory": 0.9, "sweep, whole: linear": 4.0}

Way = Callable[[], None]


def main() -> None:
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        seconds = {
            "feeding": feeding(Path(folder), options.rounds, device),
            "sweep, whole: linear": whole_sweep(Path(folder), options.rounds, options.device),
            **{
                f"sweep, steps: {name}": steps(name, batch, options.rounds, device)
                for name, batch in (("linear", BATCH), ("coop", BATCH), ("cocoop", 4))
            },
        }
    report = {
        "rounds": options.rounds,
        "seconds": {
            what: {way: statistics.median(found) for way, found in ways.items()}
            for what, ways in seconds.items()
        },
        "ratios": _ratios(seconds),
        "aims": AIMS,
    }
    print(json.dumps(report, indent=2)) if options.json else show(report)


def feeding(folder: Path, rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of 5 steps, by where their batches come from."""
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

    return race(
        {
            "one batch held": lambda: over(iter([one] * 5)),
            "memory": lambda: over(held.batches(order(), detector.fields)),
            "streamed": lambda: over(streamed.batches(order(), detector.fields)),
        },
        rounds,
        device,
    )


def whole_sweep(folder: Path, rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of 16 runs, one after another and together."""
    store = make_store(folder / "cls.zarr", 48_000, [CLS])
    configs = [
        replace(LINEAR, seed=seed, lr=lr) for seed in range(4) for lr in (1e-2, 3e-3, 1e-3, 3e-4)
    ]
    number = 0

    def folders() -> list[Path]:
        nonlocal number
        number += RUNS
        return [folder / f"runs/{number + k}" for k in range(RUNS)]

    def alone() -> None:
        for config, out in zip(configs, folders(), strict=True):
            train_runs([config], store.path, [out], Machine(device))

    def together() -> None:
        train_runs(configs, store.path, folders(), Machine(device))

    return race({"alone": alone, "together": together}, min(rounds, 2), torch.device(device))


def steps(name: str, batch: int, rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of one step of 16 runs, one after another and stacked."""
    config = replace(LINEAR, detector=DetectorConfig("cls", name))
    text = None if name == "linear" else random_tower().to(device)
    configs = [replace(config, seed=seed) for seed in range(RUNS)]
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
            stacked.step(inputs, labels.expand(RUNS, -1), [1e-4] * RUNS)

    kind = "together" if can_stack(detectors[0], config) else "stacked (a sweep does not)"
    return race({"alone": one_by_one, kind: at_once}, min(rounds, 5), device)


def race(ways: Mapping[str, Way], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of every way in every round."""
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(rounds + 1):
        for number in rng.permutation(len(ways)):
            way = list(ways)[number]
            _wait(device)
            began = time.perf_counter()
            ways[way]()
            _wait(device)
            if turn:  # the first round warms up
                found[way].append(time.perf_counter() - began)
    return found


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
            spec.field: rng.normal(size=(SHARD_ROWS, *spec.shape)).astype(spec.dtype)
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


def show(report: Mapping[str, Any]) -> None:
    console = Console()
    table = Table(title="seconds, medians", title_justify="left")
    for column in ("what", "way", "seconds"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for what, ways in report["seconds"].items():
        for way, seconds in ways.items():
            table.add_row(what, way, f"{seconds:.3f}")
    console.print(table)
    table = Table(title="ratios: median, lowest and highest of the rounds", title_justify="left")
    for column in ("what", "ratio", "lowest", "highest", "aim"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, (middle, low, high) in report["ratios"].items():
        aim = report["aims"].get(what)
        shown = "-" if aim is None else f"{aim:g}"
        table.add_row(what, f"{middle:.2f}", f"{low:.2f}", f"{high:.2f}", shown)
    console.print(table)


def _ratios(seconds: Mapping[str, Mapping[str, list[float]]]) -> dict[str, list[float]]:
    """Speed against the first way of each measurement: feeding by source, sweeps by name."""
    found = {}
    for what, ways in seconds.items():
        (_, base), *others = ways.items()
        for way, mine in others:
            name = way if what == "feeding" else what
            found[name] = _spread([b / m for b, m in zip(base, mine, strict=True)])
    return found


def _spread(values: Sequence[float]) -> list[float]:
    return [statistics.median(values), min(values), max(values)]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 leaves it")
    parser.add_argument("--folder", type=Path, default=None, help="where the stores are made")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()

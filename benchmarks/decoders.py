"""A training step of a decoder from cached tokens against the published one, side by side.

    python -m benchmarks.decoders

Sizes are ViT-L/14's, weights random and the same for both. Ours: a batch of tokens (256 x 1024,
float16) and masks (256 x 256) is read from a store on disk, in the page cache, and our `Learner`
takes a step. Published: ViT-L/14 of open_clip's configuration sees the images, without a gradient;
a decoder of plain torch modules takes its tokens after block 20, with binary cross entropy and
torch's AdamW; IoU, F1 and AP of every image follow. The store holds the tokens that the tower makes
of the same images. Both steps run in ``--precision``.

Reading is a share of our step and is timed by itself: a training reads ahead while it steps. Apart:
the relative difference of the two losses at the first step.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.transformer import QuickGELU, VisionTransformer
from sklearn.metrics import average_precision_score, precision_recall_curve
from torch import nn
from torch.nn import functional

from benchmarks.rounds import Race, Ratio
from benchmarks.script import Parts, Script, main, waiter
from clare.heads.config import TrainConfig, create_config
from clare.heads.data.table import FeatureTable
from clare.heads.localizer import Localizer
from clare.heads.training.learner import Learner
from clare.heads.training.prepare import create_detector
from clare.store.feature_store import FeatureStore, create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

AIMS = {"linear": 50.0, "conv_4": 2.5, "conv_20": 1.5}
"""The decoders, and the ratio aimed at."""

LAYER, SIDE, WIDTH, MAP = 20, 16, 1024, 256
BATCHES = 8
SPECS = {
    "clip": FeatureSpec("clip_tokens", (SIDE**2, WIDTH), "float16"),
    "mask": FeatureSpec("mask", (MAP, MAP), "uint8"),
}
RATE = 1e-3


@dataclass(frozen=True)
class Sizes:
    batch: int = 1
    device: str = "cpu"
    precision: str = "float32"


def parts(sizes: Sizes, folder: Path) -> Parts:
    torch.manual_seed(0)
    device = torch.device(sizes.device)
    tower = make_tower().to(device)
    images = torch.randn(sizes.batch, 3, 224, 224).to(device)
    masks = draw_masks(sizes.batch)
    tokens = tokens_of(tower, images).cpu().numpy()
    store = make_store(folder / "features.zarr", tokens, masks)
    for name in AIMS:
        yield race(name, store, tower, (images, masks), sizes)


def race(
    name: str,
    store: FeatureStore,
    tower: nn.Module,
    shown: tuple[torch.Tensor, NDArray[np.uint8]],
    sizes: Sizes,
) -> Race:
    """Both ways' steps of one decoder, from the same weights."""
    config = create_config(
        {
            "decoder": name,
            "decoder_settings": {"start": "declip"},
            "standardize": False,
            "clip": None,
            "weight_decay": 0.0,
            "precision": sizes.precision,
        }
    )
    device = torch.device(sizes.device)
    model = create_detector(config, {one.field: one.shape for one in SPECS.values()}, None)
    assert isinstance(model, Localizer)
    model.to(device)
    published = Published(name, tower, model, config.precision)
    ours = Ours(config, model, store, sizes.batch, device)
    truth = torch.from_numpy(shown[1]).to(device) / 255
    losses: dict[str, list[float]] = {"ours": [], "published": []}

    def facts() -> dict[str, float]:
        apart = abs(losses["ours"][0] / losses["published"][0] - 1)
        return {"reading, of our step": statistics.median(ours.reading), "losses apart": apart}

    return Race(
        name,
        {
            "ours": lambda: losses["ours"].append(ours.step()),
            "published": lambda: losses["published"].append(published.step(shown[0], truth)),
        },
        [Ratio("ours", "published", AIMS[name])],
        share=0.3,
        wait=waiter(sizes.device),
        facts=facts,
    )


class Ours:
    """Batches from a store, and our learner.

    Attributes:
        reading: share of each step that reading took.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: Localizer,
        store: FeatureStore,
        batch: int,
        device: torch.device,
    ) -> None:
        self._model, self._wait = model, waiter(str(device))
        self._fields = [one.field for one in SPECS.values()]
        self._table = FeatureTable(store, self._fields, ["all"], "train", {}, device)
        self._labels = torch.ones(1, batch, dtype=torch.int64, device=device)
        self._learner = Learner([model], [config], self._labels[0].cpu())
        places = np.arange(len(self._table)).reshape(-1, batch)
        self._order: Iterator[NDArray[np.int64]] = (
            places[number % len(places)] for number in range(10**9)
        )
        self.reading: list[float] = []

    def step(self) -> float:
        """Read a batch and learn from it."""
        began = time.perf_counter()
        batch = next(self._table.batches([next(self._order)], self._fields))
        self._wait()
        reading = time.perf_counter() - began
        with torch.no_grad():
            inputs = self._model.inputs(batch)
        loss = float(self._learner.step(inputs, self._labels, [RATE])[0])
        self.reading.append(reading / (time.perf_counter() - began))
        return loss


class Published:
    """The tower on images, a decoder of plain modules, torch's optimiser, figures every step."""

    def __init__(self, name: str, tower: nn.Module, model: Localizer, precision: str) -> None:
        self._tower, self._precision = tower, precision
        device = next(model.parameters()).device
        self._decoder = plain_decoder(name).to(device)
        own = {key.removeprefix("fc."): one for key, one in model.decoder.state_dict().items()}
        self._decoder.load_state_dict(own)
        self._optimizer = torch.optim.AdamW(self._decoder.parameters(), RATE, weight_decay=0.0)
        self._kind = device.type

    def step(self, images: torch.Tensor, truth: torch.Tensor) -> float:
        """Learn from images (B, 3, 224, 224) and masks (B, 256, 256) of 0 to 1."""
        half = self._precision == "bfloat16"
        with torch.autocast(self._kind, torch.bfloat16, enabled=half):
            tokens = tokens_of(self._tower, images)
            maps = plain_maps(self._decoder, tokens)
            loss = functional.binary_cross_entropy_with_logits(maps, truth)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        figures(maps.detach().float().sigmoid().cpu().numpy(), truth.cpu().numpy())
        return loss.item()


def make_tower() -> VisionTransformer:
    """CLIP ViT-L/14's image tower, its weights as they start."""
    config: Any = open_clip.get_model_config("ViT-L-14-quickgelu")
    vision = config["vision_cfg"]
    tower = VisionTransformer(
        **vision,
        heads=vision["width"] // 64,
        mlp_ratio=4.0,
        output_dim=config["embed_dim"],
        act_layer=QuickGELU,
    )
    return tower.eval().requires_grad_(False)


@torch.no_grad()
def tokens_of(tower: Any, images: torch.Tensor) -> torch.Tensor:
    """The patches' tokens (B, 256, 1024) after a block; the whole tower runs, as published."""
    found = []
    hook = tower.transformer.resblocks[LAYER].register_forward_hook(
        lambda _module, _inputs, output: found.append(output)
    )
    tower(images)
    hook.remove()
    (tokens,) = found
    return tokens[:, 1:].float()


def plain_decoder(name: str) -> nn.Sequential:
    """DeCLIP's decoder of plain modules: a linear layer, or four stages of convolutions."""
    if name == "linear":
        return nn.Sequential(nn.Linear(WIDTH, 1))
    layers: list[nn.Module] = []
    before = WIDTH
    for width in (512, 256, 128, 64):
        for _ in range(int(name.partition("_")[2]) // 4):
            layers += [nn.Conv2d(before, width, 5, padding=2), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        layers.append(nn.Upsample(scale_factor=2, mode="bilinear"))
    return nn.Sequential(*layers, nn.Conv2d(before, 1, 5, padding=2))


def plain_maps(decoder: nn.Sequential, tokens: torch.Tensor) -> torch.Tensor:
    """Logits (B, 256, 256) of tokens (B, 256, 1024)."""
    if isinstance(decoder[0], nn.Linear):
        grid = decoder(tokens).mT.unflatten(2, (SIDE, SIDE))
        return functional.interpolate(grid, size=(MAP, MAP), mode="bicubic")[:, 0]
    maps: torch.Tensor = decoder(tokens.mT.unflatten(2, (SIDE, SIDE)))
    return maps[:, 0]


def figures(maps: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.float64]:
    """IoU, F1 at 0.5, the best F1 and AP of every image, (B, 4)."""
    found = []
    for values, marked in zip(maps.reshape(len(maps), -1), truth > 0.5, strict=True):
        called, fake = values > 0.5, marked.ravel()
        both = (called & fake).sum()
        precision, recall, _ = precision_recall_curve(fake, values)
        best = (2 * precision * recall / np.maximum(precision + recall, 1e-9)).max()
        found.append(
            (
                both / max(1, (called | fake).sum()),
                2 * both / max(1, called.sum() + fake.sum()),
                best,
                average_precision_score(fake, values),
            )
        )
    return np.array(found)


def draw_masks(count: int) -> NDArray[np.uint8]:
    """A fake ellipse an image, uint8 (count, 256, 256)."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:MAP, :MAP]
    middles, radii = rng.uniform(80, 176, (count, 2, 1, 1)), rng.uniform(30, 70, (count, 2, 1, 1))
    inside = ((down - middles[:, 0]) / radii[:, 0]) ** 2 + (
        (across - middles[:, 1]) / radii[:, 1]
    ) ** 2
    return ((inside < 1) * 255).astype(np.uint8)


def make_store(path: Path, tokens: NDArray, masks: NDArray[np.uint8]) -> FeatureStore:
    """A few batches of the same images, one after another in the store."""
    store = create_store(path)
    count = len(tokens)
    columns = {"label": 1, "split": "train", "subset": "all", "mask_path": "a.png"}
    rows = [
        Row(sample_id=f"{n:06d}", view=0, content=f"{n:064x}", columns=columns)
        for n in range(BATCHES * count)
    ]
    assigned = store.assign_rows("all", rows)
    for (extractor, spec), own in zip(SPECS.items(), (tokens, masks), strict=True):
        fingerprint = Fingerprint(extractor, 1, "random")
        store.declare(fingerprint, [spec])
        feature = store.feature("all", extractor, fingerprint.digest)
        for shard in feature.pending():
            assert feature.claim(shard)
            values = np.zeros((SHARD_ROWS, *spec.shape), spec.dtype)
            for row in assigned:
                if row.slot // SHARD_ROWS == shard:
                    values[row.slot % SHARD_ROWS] = own[int(row.sample_id) % count]
            feature.write_shard(shard, {spec.field: values}, {}, {})
            feature.release(shard)
    return store


SCRIPT = Script("decoders", __doc__, parts, Sizes(), toy=Sizes(1), full=Sizes(4))

if __name__ == "__main__":
    main(SCRIPT)

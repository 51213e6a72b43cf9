"""A training step that moves the image tower, against the plain way without a store.

    python -m benchmarks.tuning

Plain: worker processes decode JPEG files and augment them (torchvision, Pillow), open_clip's tower
and a linear layer take a step, all parameters learn by torch's AdamW. Ours: `clare.train_head` on a
store of the same images. ``ln`` moves the LayerNorms and draws views of the stored pixels while the
step before runs; ``blocks`` moves the later half of the blocks, from what the block before made.
All but ``blocks``, whose stored tokens can not be augmented, draw by GenD's recipe; all begin with
the same random weights.

Towers are as wide as ViT-B/32 and ViT-L/14, with as many blocks as ``--base-blocks`` and
``--large-blocks`` say: a tower of few blocks spends more of its time before and behind them. A
training runs in a thread of its own, and takes a step when its turn comes; views for later steps
are drawn in the same turn. Waiting is the share of our turns in which no batch was at hand.
"""

from __future__ import annotations

import io
import json
import os
import queue
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import clare
from benchmarks.rounds import Race, Ratio
from benchmarks.script import ROUNDS, Parts, Script, main, waiter
from clare.heads.training.trainer import Observer
from clare.models.runtime import Runtime
from clare.pipeline.extractor import Extractor
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.synthetic.toys import draw_faces
from clare.store.feature_store import FeatureStore, create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS

PLAIN, LN = "plain", "ln"
RATE, RECIPE, SIDE = 8e-5, "gend", 224
VALIDATED = 4
"""Images of validation, which is no part of a step."""

TOWERS = {
    "ViT-B/32": {"patch_size": 32, "width": 768, "head_width": 64},
    "ViT-L/14": {"patch_size": 14, "width": 1024, "head_width": 64},
}


@dataclass(frozen=True)
class Sizes:
    batch: int = 32
    base_blocks: int = 2
    large_batch: int = 8
    large_blocks: int = 2
    device: str = "cpu"


def parts(sizes: Sizes, folder: Path) -> Parts:
    given = ((sizes.base_blocks, sizes.batch), (sizes.large_blocks, sizes.large_batch))
    for (name, tower), (blocks, batch) in zip(TOWERS.items(), given, strict=True):
        here = folder / name.replace("/", "-")
        model = write_model(here / "model", {**tower, "layers": blocks, "image_size": SIDE})
        paths = draw_pictures(here / "pictures", batch * (ROUNDS + 1) + VALIDATED)
        store = make_store(here / "features.zarr", model, paths, blocks - blocks // 2 - 1)
        # Its workers are forked before a training's thread begins.
        plain = Plain(model, paths[VALIDATED:], batch, sizes.device)
        half = f"blocks:{blocks // 2}"
        settings = {LN: {"tune": "ln", "augment": RECIPE}, half: {"tune": half, "augment": ""}}
        ours = {
            way: Training(store, here / "runs" / str(number), model, sizes.device, batch, own)
            for number, (way, own) in enumerate(settings.items())
        }

        def facts(ours: dict[str, Training] = ours) -> dict[str, float]:
            return {f"waiting, of a step of {way}": one.waiting for way, one in ours.items()}

        ways: dict[str, Callable[[], None]] = {PLAIN: plain.step}
        try:
            yield Race(
                f"{name} of {blocks} blocks, batch {batch}",
                ways | {way: one.step for way, one in ours.items()},
                [Ratio(LN, PLAIN, 1.3), Ratio(half, PLAIN, 2)],
                share=0.5,
                wait=waiter(sizes.device),
                facts=facts,
            )
        finally:
            for one in ours.values():
                one.stop()


class Plain:
    """Decode, augment, forward and backward through everything, AdamW over everything.

    Args:
        model: folder of the tower.
        paths: JPEG files.
        batch: images a step.
        device: where it runs.
    """

    def __init__(self, model: Path, paths: list[Path], batch: int, device: str) -> None:
        clip = open_clip.CLIP(**_config(model))
        clip.load_state_dict(load_file(model / WEIGHTS))
        visual: Any = clip.visual
        visual.proj = None
        width = visual.ln_post.normalized_shape[0]
        self._model = nn.Sequential(visual, nn.Linear(width, 2)).to(device).train()
        self._optimizer = torch.optim.AdamW(self._model.parameters(), RATE, weight_decay=0.0)
        self._device = device
        loader = DataLoader(
            Pictures(paths),
            batch,
            shuffle=True,
            num_workers=os.cpu_count() or 1,
            persistent_workers=True,
        )
        self._batches = _again(loader)
        next(self._batches)

    def step(self) -> None:
        """Learn from a batch."""
        images, labels = (one.to(self._device) for one in next(self._batches))
        loss = functional.cross_entropy(self._model(images), labels)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()


def _again(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
    while True:
        yield from loader


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """A picture an item, augmented as GenD does it, normalised, and its label."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._prepare = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomAffine(10, (0.1, 0.1), (0.9, 1.1)),
                transforms.RandomApply([transforms.GaussianBlur(7, (0.1, 2.0))], 0.1),
                transforms.ColorJitter(0.1, 0.1),
                _encode_again,
                transforms.Resize((SIDE, SIDE), transforms.InterpolationMode.BICUBIC),
                transforms.ToTensor(),
                transforms.Normalize(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path = self._paths[index]
        return self._prepare(Image.open(path).convert("RGB")), int(path.parent.name == "fake")


def _encode_again(image: Image.Image) -> Image.Image:
    """JPEG of quality 40 to 100."""
    encoded = io.BytesIO()
    image.save(encoded, "jpeg", quality=random.randint(40, 100))
    return Image.open(encoded).convert("RGB")


class _StoppedError(Exception):
    """The race is over."""


class Training(Observer):
    """`clare.train_head` in a thread of its own, which goes on by one step at a time.

    Args:
        store: of features.
        out: the run's folder.
        model: folder of the tower.
        device: where it runs.
        batch: rows a step.
        settings: of the training.

    Attributes:
        waiting: share of the steps that had to wait for their batch, the middle one.
    """

    def __init__(
        self,
        store: FeatureStore,
        out: Path,
        model: Path,
        device: str,
        batch: int,
        settings: dict[str, Any],
    ) -> None:
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._go = threading.Semaphore(0)
        self._stopped, self._waited, self._shares = False, 0.0, [0.0]

        def train() -> None:
            self._go.acquire()
            try:
                self._pause()
                clare.train_head(
                    store,
                    out,
                    preset="gend-ln",
                    observer=self,
                    epochs=1_000_000,
                    batch=batch,
                    device=device,
                    settings={"clip": {"model": str(model), "weights": None}},
                    **settings,
                )
            except BaseException as error:  # handed to whoever waits for the step
                self._done.put(error)

        self._thread = threading.Thread(target=train, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> float:
        """The first step is not counted: it waits for all that lies before it."""
        return statistics.median(self._shares[1:] or self._shares)

    def step(self) -> None:
        """Wait until a step is taken."""
        began, self._waited = time.perf_counter(), 0.0
        self._go.release()
        if (error := self._done.get()) is not None:
            raise error
        self._shares.append(self._waited / (time.perf_counter() - began))

    def stop(self) -> None:
        """End the training."""
        self._stopped = True
        self._go.release()
        self._thread.join()

    def waited(self, seconds: float) -> None:
        """A batch was waited for."""
        self._waited += seconds

    def trained(self, done: int, total: int) -> None:
        """A step is taken."""
        self._done.put(None)
        self._go.acquire()
        self._pause()

    def _pause(self) -> None:
        if self._stopped:
            raise _StoppedError


WEIGHTS = "open_clip_model.safetensors"


def write_model(folder: Path, vision: dict[str, Any]) -> Path:
    """A CLIP of open_clip's format with random weights and next to no text tower."""
    folder.mkdir(parents=True)
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": 512, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    torch.manual_seed(0)
    clip = open_clip.CLIP(**_config(folder))
    tensors = {name: value.contiguous() for name, value in clip.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)
    return folder


def _config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    return found


def draw_pictures(folder: Path, count: int) -> list[Path]:
    """Faces of 256 pixels, real and fake in turn."""
    real, fake = (draw_faces(folder / kind, count // 2, 0, kind) for kind in ("real", "fake"))
    return [path for pair in zip(real, fake, strict=True) for path in pair]


def make_store(path: Path, model: Path, paths: list[Path], after: int) -> FeatureStore:
    """The pictures' pixels, and random values of the tower's fields, of which no step depends.

    Args:
        path: of the store.
        model: folder of the tower.
        paths: the pictures, those of validation first.
        after: the block whose patches and class token are stored.
    """
    images, runtime = ImageSettings(), Runtime()
    given = {"model": str(model), "weights": None, "layers": (after,), "class_layers": True}
    tower = create_extractor("clip", given, images, runtime)
    seen = tower.pixel_model()
    assert seen is not None
    pixels = create_extractor("pixels", {"size": seen.size}, images, runtime)
    store = create_store(path)
    rows = [
        Row(
            sample_id=str(number),
            view=0,
            content=f"{number:064x}",
            columns={
                "label": int(one.parent.name == "fake"),
                "split": "val" if number < VALIDATED else "train",
                "subset": "all",
            },
        )
        for number, one in enumerate(paths)
    ]
    slots = {row.slot: int(row.sample_id) for row in store.assign_rows("all", rows)}
    rng = np.random.default_rng(0)

    def look(number: int) -> dict[str, Any]:
        data = paths[number].read_bytes()
        (image,) = load_views(data, images, [0], content=f"{number:064x}")
        return pixels.prepare(image)

    def draw(number: int) -> dict[str, Any]:
        return {one.field: rng.standard_normal(one.shape, "f4") for one in tower.fields}

    _fill(store, pixels, slots, look)
    _fill(store, tower, slots, draw)
    store.write_assets(tower.fingerprint.key, tower.assets())
    return store


def _fill(
    store: FeatureStore,
    extractor: Extractor,
    slots: dict[int, int],
    values_of: Callable[[int], dict[str, Any]],
) -> None:
    """Give every row its values, by the number of its picture."""
    store.declare(extractor.fingerprint, list(extractor.fields))
    feature = store.feature("all", extractor.name, extractor.fingerprint.digest)
    for shard in feature.pending():
        assert feature.claim(shard)
        values = {
            one.field: np.zeros((SHARD_ROWS, *one.shape), one.dtype) for one in extractor.fields
        }
        for place in range(SHARD_ROWS):
            if (number := slots.get(shard * SHARD_ROWS + place)) is not None:
                for field, value in values_of(number).items():
                    values[field][place] = value
        feature.write_shard(shard, values, {}, {})
        feature.release(shard)


SCRIPT = Script(
    "tuning",
    __doc__,
    parts,
    Sizes(),
    toy=Sizes(batch=2, base_blocks=2, large_batch=2, large_blocks=2),
    full=Sizes(base_blocks=12, large_batch=32, large_blocks=4),
)

if __name__ == "__main__":
    main(SCRIPT)

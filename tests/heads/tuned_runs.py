"""What tests of tuned runs share: two configurations, and steps taken without a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from clare.heads.config import Machine, create_config
from clare.heads.data.dataset import FeatureDataset
from clare.heads.detector import create_model
from clare.heads.runs.record import extractor_record
from clare.heads.runs.tower import rebuild_tower
from clare.heads.training.learner import Learner

LN = create_config(
    {
        "fusion": "cls",
        "classifier": "linear",
        "fields": {"cls": "clip_cls_pre"},
        "classifier_settings": {"normalize": True},
        "tune": "ln",
        "lr": 3e-3,
        "schedule": "constant",
        "warmup_epochs": 0,
        "epochs": 3,
        "batch": 8,
        "clip": None,
        "balance": False,
    }
)
LARE2 = create_config(
    {
        "fusion": "esa",
        "fusion_settings": {"dropout": 0.0},
        "classifier": "linear",
        "tune": "full",
        "standardize": False,
        "optimizer": "adamw",
        "lr": 1e-4,
        "weight_decay": 0.0,
        "clip": 5.0,
        "balance": False,
        "batch": 8,
        "epochs": 2,
    }
)


def places(store):
    """Where the store's tower lies, which is a folder of a user's own."""
    return {name: {"model": str(store.path.with_name("model"))} for name in ("clip", "tower")}


def machine(store, **settings):
    return Machine(settings=places(store), **settings)


def fresh(store, config, fields: Sequence[str] = ("pixels", "lare")) -> tuple[Any, Any, Any]:
    """A detector, the fields of the rows that train it, and their labels."""
    data = FeatureDataset(store, fields, subsets=["all"], split="train")
    (key,) = (key for key in store.extractor_keys() if key.startswith(("clip-", "tower-")))
    tower = rebuild_tower(extractor_record(store, key), places(store)[key.split("-")[0]])
    specs = {n: s.shape for k in store.extractor_keys() for n, s in store.extractor(k)[1].items()}
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        detector = create_model(config.detector, specs, None, tower)
    read = data.read(range(len(data)))
    return detector, {name: read[name] for name in data.fields}, torch.from_numpy(data.labels)


def steps_of(detector, config, batch, labels, count=10, **how):
    """Losses of the learner's steps, each on the next eight rows."""
    learner = Learner([detector], [config], labels, **how)
    losses = []
    for step in range(count):
        picked = (torch.arange(8) + 8 * step) % len(labels)
        inputs = detector.inputs({name: value[picked] for name, value in batch.items()})
        losses.append(learner.step(inputs, labels[None, picked], [config.lr]).item())
    return losses, learner.write_back(0, learner.snapshot(0))

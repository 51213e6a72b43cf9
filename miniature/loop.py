"""One training loop for all scripts here: resumable, with an average of the weights."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

LINE_SECONDS = 20.0


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    Args:
        steps: optimiser steps in all.
        rate: highest learning rate; it warms up and falls as a cosine to a twentieth.
        seed: of the weights and of every step's batch and noise.
        decay: of the average of the weights.
        save: steps between checkpoints.
    """

    steps: int
    rate: float
    seed: int = 0
    decay: float = 0.998
    save: int = 200


def train(
    models: nn.ModuleDict,
    loss: Callable[[torch.Generator], dict[str, torch.Tensor]],
    plan: Plan,
    folder: Path,
) -> nn.ModuleDict:
    """Train, or go on where the folder's checkpoint stands; return the averaged models.

    A step depends on the weights and its number alone, so a run that was killed ends as one that
    was not.

    Args:
        models: what is trained; changed in place.
        loss: from a step's generator to ``loss`` and whatever else is worth a line.
        plan: how long and how fast.
        folder: gets ``checkpoint.pt`` and ``history.jsonl``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    average = copy.deepcopy(models).requires_grad_(False)
    optimizer = torch.optim.AdamW(models.parameters(), plan.rate, (0.9, 0.99), weight_decay=0.01)
    file, first = folder / "checkpoint.pt", 0
    if file.is_file():
        state = torch.load(file, weights_only=True)
        models.load_state_dict(state["models"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    begun = told = time.monotonic()
    for step in range(first, plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * _share(step, plan.steps)
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        with sdpa_kernel(SDPBackend.MATH):  # the fused one is slow backwards on so few positions
            values = loss(generator)
        optimizer.zero_grad(set_to_none=True)
        values["loss"].backward()
        nn.utils.clip_grad_norm_(models.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            decay = min(plan.decay, (step + 1) / (step + 10))
            torch._foreach_lerp_(list(average.parameters()), list(models.parameters()), 1 - decay)
        done = step + 1
        if done % plan.save == 0 or done == plan.steps:
            _save(file, models, average, optimizer, done)
        if time.monotonic() - told > LINE_SECONDS or done == plan.steps:
            told = time.monotonic()
            line = {k: round(v.item(), 5) for k, v in values.items()}
            left = (told - begun) / (done - first) * (plan.steps - done) / 60
            record = json.dumps({"step": done, "minutes_left": round(left, 1), **line})
            print(record, flush=True)
            with (folder / "history.jsonl").open("a", encoding="utf-8") as history:
                history.write(record + "\n")
    return average


def _share(step: int, steps: int) -> float:
    warm = min(200, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _save(
    file: Path,
    models: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    state = {
        "models": models.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
    }
    partial = file.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(file)

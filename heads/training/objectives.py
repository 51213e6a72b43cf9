"""What a head learns, and what is judged of each row of validation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from clare.bootstrap import Resampling
from clare.heads.base import Inputs
from clare.heads.config import TrainConfig
from clare.heads.detector import Detector
from clare.heads.localizer import Localizer
from clare.heads.metrics.measure import best_threshold, measure
from clare.heads.metrics.predictions import Predictions
from clare.heads.model import Model
from clare.heads.runs.record import Epoch
from clare.heads.training.losses import (
    alignment,
    class_weights,
    cross_entropy,
    pair_ranking,
    slerp_within_class,
    uniformity,
)


class Objective(nn.Module, ABC):
    """The loss of a head on a batch, or what is judged of its rows.

    Attributes:
        judged: names of what `judge` gives of each row, the margin first.
    """

    judged: ClassVar[tuple[str, ...]] = ("margin",)

    def forward(
        self,
        inputs: Inputs,
        labels: torch.Tensor | None = None,
        uniform: torch.Tensor | None = None,
        groups: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """A scalar; what `judge` gives where there are no labels.

        Args:
            inputs: of the head's parts.
            labels: (B,).
            uniform: (2, B) random numbers for slerp.
            groups: (B,) equal for rows of one pair, for the pair loss.
        """
        return self.judge(inputs) if labels is None else self.loss(inputs, labels, uniform, groups)

    @abstractmethod
    def loss(
        self,
        inputs: Inputs,
        labels: torch.Tensor,
        uniform: torch.Tensor | None,
        groups: torch.Tensor | None,
    ) -> torch.Tensor:
        """A scalar."""

    @abstractmethod
    def judge(self, inputs: Inputs) -> torch.Tensor:
        """(B, judged) float64."""


class DetectorObjective(Objective):
    """Cross entropy of real and fake, with the losses that a configuration adds."""

    weights: torch.Tensor | None

    def __init__(self, detector: Detector, config: TrainConfig, labels: torch.Tensor) -> None:
        super().__init__()
        self.fusion, self.classifier = detector.fusion, detector.classifier
        self.config = config
        # A buffer follows the objective to its device.
        self.register_buffer("weights", class_weights(labels) if config.balance else None)

    def loss(
        self,
        inputs: Inputs,
        labels: torch.Tensor,
        uniform: torch.Tensor | None,
        groups: torch.Tensor | None,
    ) -> torch.Tensor:
        """A scalar."""
        config, vectors = self.config, self.fusion(inputs)
        if uniform is not None:
            vectors = slerp_within_class(vectors, labels, uniform)
        logits = self.classifier(vectors)
        loss = cross_entropy(logits, labels, self.weights, config.label_smoothing)
        if config.alignment:
            loss = loss + config.alignment * alignment(vectors, labels)
        if config.uniformity:
            loss = loss + config.uniformity * uniformity(vectors)
        if groups is not None:
            loss = loss + config.pair_loss * pair_ranking(
                logits, labels, groups, config.pair_margin
            )
        return loss

    def judge(self, inputs: Inputs) -> torch.Tensor:
        """Margins, (B, 1)."""
        logits = self.classifier(self.fusion(inputs)).double()
        return logits[:, 1:] - logits[:, :1]


class MaskObjective(Objective):
    """Binary cross entropy of every pixel (DeCLIP), or of each image's score.

    As DeCLIP trains from labels, the score is the mean logit.

    What is judged is the margin, the loss, and the IoU at 0.5 of the map and the mask, both at
    256 x 256; NaN where the batch has no masks, or the mask is empty.
    """

    judged = ("margin", "loss", "iou")

    def __init__(self, localizer: Localizer, config: TrainConfig) -> None:
        super().__init__()
        self.decoder = localizer.decoder
        self._score = localizer.score
        self.by_mask = config.supervision == "mask"

    def loss(
        self,
        inputs: Inputs,
        labels: torch.Tensor,
        uniform: torch.Tensor | None,
        groups: torch.Tensor | None,
    ) -> torch.Tensor:
        """A scalar."""
        maps = self.decoder(inputs)
        if self.by_mask:
            return functional.binary_cross_entropy_with_logits(maps, inputs["mask"])
        score = self._score(maps)
        return functional.binary_cross_entropy_with_logits(score, labels.to(score.dtype)).float()

    def judge(self, inputs: Inputs) -> torch.Tensor:
        """Margin, loss and IoU, (B, 3)."""
        maps = self.decoder(inputs)
        margin = self._score(maps)
        nothing = torch.full_like(margin, torch.nan)
        if "mask" not in inputs:
            return torch.stack([margin, nothing, nothing], 1)
        mask = inputs["mask"]
        loss = functional.binary_cross_entropy_with_logits(maps, mask, reduction="none")
        found, marked = maps.flatten(1) > 0, mask.flatten(1) > 0.5
        both, either = (found & marked).sum(1), (found | marked).sum(1)
        iou = torch.where(marked.any(1), both.double() / either.clamp(min=1), nothing)
        return torch.stack([margin, loss.flatten(1).mean(1).double(), iou], 1)


def create_objective(model: Model, config: TrainConfig, labels: torch.Tensor) -> Objective:
    """What a head learns.

    Args:
        model: the head.
        config: its training.
        labels: (N,) of all training rows, for the balance of the classes.
    """
    if isinstance(model, Localizer):
        return MaskObjective(model, config)
    assert isinstance(model, Detector)
    return DetectorObjective(model, config, labels).to(_device(model))


def figures_of(model: Model, config: TrainConfig, judged: NDArray, labels: NDArray) -> Epoch:
    """Validation's figures of one epoch.

    Args:
        model: the head.
        config: its training.
        judged: (n, judged) as the head's objective has them.
        labels: (n,).
    """
    found: Epoch = {}
    margins = judged[:, 0]
    if isinstance(model, Localizer) and config.needs_masks("val"):
        found["val_iou"] = float(np.nanmean(judged[:, 2]))  # `RunState.add` saw that one is known
    if isinstance(model, Localizer) and config.supervision == "mask":
        found["val_loss"] = float(judged[:, 1].mean())
    else:
        found["val_loss"] = float(
            np.logaddexp(0.0, np.where(labels == 1, -margins, margins)).mean()
        )
    if len(set(labels.tolist())) == 2:
        count = np.arange(len(labels)).astype(str)
        empty = np.full(len(labels), "")
        rows = Predictions(count, empty, empty, labels, margins, empty, count)
        measured = measure(rows, best_threshold(margins, labels), Resampling(0))
        for name in ("auc", "balanced_accuracy"):
            value = measured[name].value
            assert value is not None  # validation has both labels
            found[f"val_{name}"] = value
    return found


def _device(model: Model) -> torch.device:
    return next(iter(model.state_dict().values())).device
